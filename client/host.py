"""Hostname and IP addresses of this host, found without sending a packet."""

import contextlib
import ipaddress
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import psutil
from attrs import frozen

from contract import IpAddresses

__all__ = ["HostFacts", "host_facts", "interface_addresses", "source_addresses"]

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Interfaces = Mapping[str, Iterable[Any]]

# Addresses reserved for documentation: the default route leads to them, and nobody has them.
_PROBE_TARGETS = (
    (socket.AF_INET, ("192.0.2.1", 9)),
    (socket.AF_INET6, ("2001:db8::1", 9)),
)


@frozen(kw_only=True)
class HostFacts:
    """
    Name and addresses of a host.

    Attributes:
        hostname: The name of the host; never empty. Source: `socket.gethostname()`.
        ip_addresses: `primary` is the source address of the default route, for IPv4 if there is
            one, otherwise for IPv6; without a route it is the first of all addresses.
            `all` begins with `primary`. Then come the other IPv4 addresses and then the IPv6
            ones, each in numerical order, and link-local IPv4 addresses at the end.
            `all` lacks link-local IPv6 addresses, which are useless without a zone, and
            loopback addresses. A host without a network has only 127.0.0.1.
    """

    hostname: str
    ip_addresses: IpAddresses


def interface_addresses(ask: Callable[[], Interfaces] = psutil.net_if_addrs) -> list[str]:
    """
    The IPv4 and IPv6 addresses of all network interfaces of this host, loopback included.

    Empty when the system call fails. `ask` returns the interfaces in the form of psutil.
    """
    with contextlib.suppress(OSError, psutil.Error):
        interfaces = ask().values()
        families = {family for family, _ in _PROBE_TARGETS}
        return [each.address for some in interfaces for each in some if each.family in families]
    return []


def source_addresses() -> list[str]:
    """
    The source addresses of this host's default routes: first that for IPv4, then that for IPv6.

    If there is no default route for IPv4 or IPv6, its address is left out.
    """
    return list(_source_addresses())


def host_facts(
    *,
    hostname: Callable[[], str] = socket.gethostname,
    sources: Callable[[], Iterable[str]] = source_addresses,
    interfaces: Callable[[], Iterable[str]] = interface_addresses,
) -> HostFacts:
    """
    Find the hostname and the IP addresses of this host; 127.0.0.1 when it has no other address.

    Args:
        hostname: Returns the hostname.
        sources: Returns the addresses from which this host sends to the internet, the
            preferred one first.
        interfaces: Returns the addresses of all interfaces.
    """
    routed = _usable(sources())
    attached = sorted(_usable(interfaces()), key=_rank)
    # `dict.fromkeys` removes duplicates and keeps the order.
    found = dict.fromkeys([*routed[:1], *attached, *routed[1:]])
    addresses = tuple(map(str, found)) or ("127.0.0.1",)
    return HostFacts(
        hostname=_storable(hostname()) or "localhost",
        ip_addresses=IpAddresses(primary=addresses[0], all=addresses),
    )


def _source_addresses() -> Iterator[str]:
    for family, target in _PROBE_TARGETS:
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            # Connecting a UDP socket chooses a route and sends no packet.
            probe.connect(target)
            yield probe.getsockname()[0]


def _usable(texts: Iterable[str]) -> list[Address]:
    addresses = (_address(text) for text in texts)
    return [each for each in addresses if each is not None and _is_usable(each)]


def _address(text: str) -> Address | None:
    try:
        return ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None


def _is_usable(address: Address) -> bool:
    if address.is_loopback or address.is_unspecified:
        return False
    return not (address.version == 6 and address.is_link_local)


def _rank(address: Address) -> tuple[bool, int, int]:
    return address.is_link_local, address.version, int(address)


def _storable(text: str) -> str:
    """The hostname with a `?` for each byte that is not valid UTF-8."""
    return text.encode(errors="replace").decode()

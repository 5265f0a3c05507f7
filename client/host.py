"""What a host knows about itself, found without sending a packet."""

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

# Reserved for documentation: routed like any address abroad, and nobody's.
_ABROAD = (
    (socket.AF_INET, ("192.0.2.1", 9)),
    (socket.AF_INET6, ("2001:db8::1", 9)),
)


@frozen(kw_only=True)
class HostFacts:
    """
    Who and where a host is.

    Attributes:
        hostname: Never empty. Source: `socket.gethostname()`.
        ip_addresses: `primary` is the source address of the default route, that of
            IPv4 before that of IPv6; without a route the first of all addresses.
            `all` begins with it; then come IPv4 and IPv6, each in order, and IPv4
            addresses that are link-local last. Left out are loopback, which is there
            alone when there is no network, and link-local IPv6, which leads nowhere
            without the zone of its host.
    """

    hostname: str
    ip_addresses: IpAddresses


def interface_addresses(ask: Callable[[], Interfaces] = psutil.net_if_addrs) -> list[str]:
    """The addresses of all interfaces, of both families; none when the system tells none."""
    with contextlib.suppress(OSError, psutil.Error):
        interfaces = ask().values()
        families = {family for family, _ in _ABROAD}
        return [each.address for some in interfaces for each in some if each.family in families]
    return []


def source_addresses() -> list[str]:
    """The addresses from which this host would speak to one abroad: IPv4, then IPv6."""
    return list(_source_addresses())


def host_facts(
    *,
    hostname: Callable[[], str] = socket.gethostname,
    sources: Callable[[], Iterable[str]] = source_addresses,
    interfaces: Callable[[], Iterable[str]] = interface_addresses,
) -> HostFacts:
    """Gather the facts. An odd host gets fewer of them, and no error."""
    routed = _usable(sources())
    attached = sorted(_usable(interfaces()), key=_rank)
    # A dictionary drops what comes twice, and keeps the order.
    found = dict.fromkeys([*routed[:1], *attached, *routed[1:]])
    addresses = tuple(map(str, found)) or ("127.0.0.1",)
    return HostFacts(
        hostname=_storable(hostname()) or "localhost",
        ip_addresses=IpAddresses(primary=addresses[0], all=addresses),
    )


def _source_addresses() -> Iterator[str]:
    for family, abroad in _ABROAD:
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            # Connecting a datagram socket chooses a route, and sends nothing.
            probe.connect(abroad)
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
    """The text with a `?` for each byte of a name that is no Unicode."""
    return text.encode(errors="replace").decode()

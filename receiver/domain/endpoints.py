"""
The allow list for addresses that are passed on to programs which will connect to them.

An Odoo server reports its own address, and whoever holds a key that may send messages can report
any address. A program that reads addresses from the receiver, such as Prometheus, connects to them
from its own network, which the holder of the key may not be able to reach; that is a server-side
request forgery. So the receiver passes on only addresses on an allow list. Special addresses are
loopback, link-local and multicast addresses, and the metadata services of clouds, which give out
credentials. Wide entries such as `*` or `0.0.0.0/0` do not include them; they need narrow entries
of their own.

Host names are compared as text and never resolved, because a name may resolve to another address a
moment later, or on another machine.
"""

import re
import socket
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from fnmatch import translate
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Any

from attrs import field, frozen

__all__ = ["DEFAULT_ENDPOINTS", "Endpoints"]

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

DEFAULT_ENDPOINTS = "*,0.0.0.0/0,::/0"
"""The default allow list: all host names and addresses, except the special ones."""


@frozen
class Endpoints:
    """
    An allow list of hosts whose addresses may be passed on to programs.

    Attributes:
        names: Patterns for host names, in lower case, in which `*` and `?` mean what they do in
            `fnmatch`.
        networks: IP networks; a single address is a network with one address.
    """

    names: tuple[str, ...]
    networks: tuple[Network, ...]
    _is_listed: Callable[[str], object] = field(init=False, eq=False, repr=False)
    _is_specially_listed: Callable[[str], object] = field(init=False, eq=False, repr=False)

    @_is_listed.default
    def _any_name(self) -> Callable[[str], object]:
        return _matcher(self.names)

    @_is_specially_listed.default
    def _any_special_name(self) -> Callable[[str], object]:
        return _matcher(each for each in self.names if _is_metadata(each) or _is_loopback(each))

    @classmethod
    def of(cls, text: str) -> "Endpoints":
        """
        Read an allow list such as `*.example.com, 10.0.0.0/8`.

        Each entry is a host name, which may contain `*`, an IP network, or an IP address in its
        usual spelling: not 127.1 or 0x7f.1, for instance. Raises ValueError if an entry is none of
        these; its argument is the first such entry.
        """
        names: list[str] = []
        networks: list[Network] = []
        for entry in (each.strip() for each in text.split(",")):
            name = _plain(entry)
            if (network := _network(entry)) is not None:
                networks.append(network)
            elif _PATTERN.fullmatch(name) and not any(_addresses(name)):
                names.append(name)
            else:
                raise ValueError(entry)
        return cls(tuple(names), tuple(networks))

    def include(self, host: str, *, with_loopback: bool) -> bool:
        """
        Whether the address of a host may be passed on.

        Args:
            host: A host name or an IP address, which may be in brackets and in any spelling that
                some client understands, such as 0x7f.1 for 127.0.0.1.
            with_loopback: Whether loopback names and addresses need no entry of their own, so
                that a wide entry such as `*` or `0.0.0.0/0` includes them.
        """
        plain = _plain(host)
        addresses = [*_addresses(plain)]
        if not addresses:
            return self._has_name(plain, with_loopback=with_loopback)
        return all(self._has_address(each, with_loopback=with_loopback) for each in addresses)

    def _has_address(self, address: Address, *, with_loopback: bool) -> bool:
        listed = [each for each in self.networks if address in each]
        special = None if with_loopback and address.is_loopback else _special_network(address)
        return any(special is None or _is_within(each, special) for each in listed)

    def _has_name(self, name: str, *, with_loopback: bool) -> bool:
        is_special = _is_metadata(name) or (_is_loopback(name) and not with_loopback)
        return bool((self._is_specially_listed if is_special else self._is_listed)(name))


def _matcher(patterns: Iterable[str]) -> Callable[[str], object]:
    """A function that tells whether a name matches any of the patterns, as in `fnmatch`."""
    return re.compile("|".join(map(translate, patterns)) or _NOTHING).match


def _network(text: str) -> Network | None:
    try:
        return ip_network(text)
    except ValueError:
        return None


def _plain(host: str) -> str:
    """
    Normalise a host: without brackets, in lower case, and without a dot at its end.

    Characters that most clients read as ASCII are replaced by it, such as ① by 1.
    """
    plain = host if host.isascii() else unicodedata.normalize("NFKC", host)
    plain = plain.lower().replace("\u3002", ".")
    return plain.removeprefix("[").removesuffix("]").rstrip(".")


def _addresses(host: str) -> Iterator[Address]:
    """
    Every IP address to which a client may connect for a host; empty if the host is a name.

    Clients disagree about 010.0.0.1, whose first number may be octal; and a connection to an IPv6
    address that embeds an IPv4 address may go to the latter.
    """
    if ":" in host:
        yield from _contained(IPv6Address(host))
    elif _NUMBERS.fullmatch(host):
        with suppress(OSError):
            yield IPv4Address(socket.inet_aton(host))
        if _FOUR_NUMBERS.fullmatch(host):
            with suppress(ValueError):
                yield IPv4Address(".".join(str(int(each)) for each in host.split(".")))


def _contained(address: IPv6Address) -> Iterator[Address]:
    """An IPv6 address and the IPv4 addresses in it; of `::ffff:a.b.c.d` the IPv4 address only."""
    if address.ipv4_mapped is not None:
        yield address.ipv4_mapped
        return
    yield address
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo
    is_plain = address.is_loopback or address.is_unspecified
    if not is_plain and any(address in each for each in _ENDING_WITH_IPV4):
        yield IPv4Address(int(address) & 0xFFFF_FFFF)


def _special_network(address: Address) -> Network | None:
    """The network of `_SPECIAL` that contains an address; None for an ordinary address."""
    return next((each for each in _SPECIAL if address in each), None)


def _is_within(network: Network, other: Any) -> bool:
    return network.subnet_of(other)


_PATTERN = re.compile(r"\*|[\w*?.-]*[^\W\d_][\w*?.-]*")
_NOTHING = r"(?!)"
_NUMBERS = re.compile(r"[0-9a-fx.]+")
_FOUR_NUMBERS = re.compile(r"[0-9]+(?:\.[0-9]+){3}")

_ENDING_WITH_IPV4 = [ip_network(each) for each in ("::/96", "64:ff9b::/96", "64:ff9b:1::/48")]
_SPECIAL = [
    ip_network(each)
    for each in (
        # Loopback.
        "127.0.0.0/8",
        "::1/128",
        # Unspecified address, and "this network": many systems connect to the machine itself.
        "0.0.0.0/8",
        "::/128",
        # Link-local, with the metadata service of most clouds: 169.254.169.254.
        "169.254.0.0/16",
        "fe80::/10",
        # Metadata services of AWS and Google over IPv6, of Alibaba, Azure and Oracle.
        "fd00:ec2::254/128",
        "fd20:ce::254/128",
        "100.100.100.200/32",
        "168.63.129.16/32",
        "192.0.0.192/32",
        # Multicast, and reserved networks.
        "224.0.0.0/4",
        "ff00::/8",
        "240.0.0.0/4",
    )
]
_is_metadata = re.compile(
    r"metadata|metadata\.goog|metadata\.google\.internal|metadata\.tencentyun\.com"
    r"|instance-data|instance-data\.ec2\.internal"
).fullmatch
_is_loopback = re.compile(
    r"(?:.+\.)?localhost|localhost[46]?(?:\.localdomain[46]?)?|ip6-(?:localhost|loopback)"
).fullmatch

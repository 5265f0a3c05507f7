"""
Which addresses of servers are handed on to programs that will connect to them.

A server says of itself where it is, and whoever holds an agent's key may say anything. A program
that reads addresses from the receiver, such as Prometheus, connects to them from where it runs:
perhaps inside of a network that the holder of the key cannot reach. So the receiver hands on an
address only if it is listed, and some only if they are listed expressly: those at which a machine
reaches itself, its neighbours on the wire, or the service that tells its secrets in a cloud.

Names are compared as they are written, and never resolved: what a name leads to may be another
address a moment later, and elsewhere.
"""

import re
import socket
import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from fnmatch import fnmatchcase
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Any

from attrs import frozen

__all__ = ["DEFAULT_ENDPOINTS", "Endpoints"]

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

DEFAULT_ENDPOINTS = "*,0.0.0.0/0,::/0"
"""All names and addresses, but those that have to be listed expressly."""


@frozen
class Endpoints:
    """
    The hosts whose addresses may be handed on.

    Attributes:
        names: Patterns for names, in lower case, as in `fnmatch`.
        networks: Networks of addresses.
    """

    names: tuple[str, ...]
    networks: tuple[Network, ...]

    @classmethod
    def of(cls, text: str) -> "Endpoints":
        """
        Read a list such as `*.example.com, 10.0.0.0/8`.

        Raises ValueError, whose argument is the entry that is neither a name, which may hold `*`,
        nor a network, nor an address as it is usually written.
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
        Whether an address may be handed on.

        Args:
            host: A name or an IP address, which may be in brackets and in any spelling that
                some client understands, such as 0x7f.1 for 127.0.0.1.
            with_loopback: Whether the addresses at which a machine reaches itself need not be
                listed expressly.
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
        listed = [each for each in self.names if fnmatchcase(name, each)]
        if _is_metadata(name) or (_is_loopback(name) and not with_loopback):
            listed = [each for each in listed if _is_metadata(each) or _is_loopback(each)]
        return bool(listed)


def _network(text: str) -> Network | None:
    try:
        return ip_network(text)
    except ValueError:
        return None


def _plain(host: str) -> str:
    """
    A host without brackets, in lower case, and without a dot at its end.

    Its characters are those of ASCII that clients take them for: ① is 1 to most of them.
    """
    plain = unicodedata.normalize("NFKC", host).lower().replace("\u3002", ".")
    return plain.removeprefix("[").removesuffix("]").rstrip(".")


def _addresses(host: str) -> Iterator[Address]:
    """
    Every IP address that a client may take a host for; none if it is a name.

    Clients disagree about 010.0.0.1, whose first number may be octal; and an address of IPv6 may
    lead to one of IPv4 that it contains.
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
    """The address of IPv4 that an address of IPv6 is another spelling of, or else itself first."""
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
    """The network of an address that has to be listed expressly; None for any other address."""
    return next((each for each in _SPECIAL if address in each), None)


def _is_within(network: Network, other: Any) -> bool:
    return network.subnet_of(other)


_PATTERN = re.compile(r"\*|[\w*?.-]*[^\W\d_][\w*?.-]*")
_NUMBERS = re.compile(r"[0-9a-fx.]+")
_FOUR_NUMBERS = re.compile(r"[0-9]+(?:\.[0-9]+){3}")

_ENDING_WITH_IPV4 = [ip_network(each) for each in ("::/96", "64:ff9b::/96", "64:ff9b:1::/48")]
_SPECIAL = [
    ip_network(each)
    for each in (
        # The machine itself.
        "127.0.0.0/8",
        "::1/128",
        # No address, or this network: many systems connect to the machine itself.
        "0.0.0.0/8",
        "::/128",
        # The link, with the metadata of most clouds: 169.254.169.254.
        "169.254.0.0/16",
        "fe80::/10",
        # The metadata of AWS and Google by IPv6, Alibaba, Azure and Oracle.
        "fd00:ec2::254/128",
        "fd20:ce::254/128",
        "100.100.100.200/32",
        "168.63.129.16/32",
        "192.0.0.192/32",
        # Many machines at once, and what is reserved.
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

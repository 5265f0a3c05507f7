"""Comparing IP addresses and URLs, of which each has several spellings."""

from ipaddress import ip_address
from urllib.parse import urlsplit

from contract.messages import IpAddresses

__all__ = ["canonical_addresses", "canonical_url"]

_DEFAULT_PORTS = {"http": 80, "https": 443}


def canonical_addresses(addresses: IpAddresses) -> tuple[object, frozenset[object]]:
    """A value that is equal for equal addresses: `FE80::1` is `fe80::1`, `all` in any order."""
    return ip_address(addresses.primary), frozenset(map(ip_address, addresses.all))


def canonical_url(url: str) -> tuple[object, ...]:
    """A value that is equal for equal URLs: `https://e` is `https://E:443/` (RFC 3986, 6.2)."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    return (
        parts.scheme,
        ip_address(host) if ":" in host else host,
        parts.port or _DEFAULT_PORTS[parts.scheme],
        parts.path or "/",
        parts.query,
        parts.fragment,
    )

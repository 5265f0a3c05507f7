"""Comparing IP addresses and URLs, which may be spelled in several ways."""

from ipaddress import ip_address
from urllib.parse import urlsplit

from contract.messages import IpAddresses

__all__ = ["canonical_addresses", "canonical_url"]

_DEFAULT_PORTS = {"http": 80, "https": 443}


def canonical_addresses(addresses: IpAddresses) -> tuple[object, frozenset[object]]:
    """
    A value that is the same for all `IpAddresses` that hold the same addresses.

    `FE80::1` and `fe80::1` are the same address, and the order of the addresses in `all` does not
    matter.
    """
    return ip_address(addresses.primary), frozenset(map(ip_address, addresses.all))


def canonical_url(url: str) -> tuple[object, ...]:
    """A value that is the same for all spellings of a URL: `https://e` and `https://E:443/`."""
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

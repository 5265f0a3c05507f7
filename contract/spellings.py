"""
Comparing IP addresses and URLs, which may be spelled in several ways.

Each function returns a value that serves only to be compared with another value of the same
function: the two are equal if their arguments mean the same.
"""

from ipaddress import ip_address
from urllib.parse import urlsplit

from contract.messages import IpAddresses

__all__ = ["canonical_addresses", "canonical_url"]

_DEFAULT_PORTS = {"http": 80, "https": 443}


def canonical_addresses(addresses: IpAddresses) -> tuple[object, frozenset[object]]:
    """
    Return a value that is equal for two `IpAddresses` with the same addresses and the same primary.

    The order of the addresses in `all` does not matter, nor does the spelling of an address:
    `FE80::1` and `fe80::1` are the same.
    """
    return ip_address(addresses.primary), frozenset(map(ip_address, addresses.all))


def canonical_url(url: str) -> tuple[object, ...]:
    """
    Return a value that is equal for two spellings of one http or https URL.

    `https://e` and `https://E:443/` are such spellings: the case of scheme and host, the default
    port and an empty path make no difference.
    """
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

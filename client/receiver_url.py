"""Where a receiver is, out of what a person configured."""

from ipaddress import IPv6Address, ip_address

import httpx

from client.errors import InvalidUrl

__all__ = ["is_exposed", "parse"]

_CALLS = ("/register", "/heartbeats", "/heartbeat")


def parse(text: str) -> httpx.URL:
    """
    A receiver's base URL: http or https, no slash at its end, its path prefix kept.

    Spaces around it, slashes at its end and the name of one call, as in
    `https://host/fleet/register`, are taken off. A name and a password stay in it.

    Raises InvalidUrl, which shows nothing of a URL that may hold a password.
    """
    url = _split(text.strip())
    if url.scheme not in {"http", "https"}:
        raise InvalidUrl("The receiver's URL must begin with http:// or https://.")
    if not url.host or "%" in url.host:
        raise InvalidUrl("The receiver's URL must name a host.")
    if url.port is not None and not 1 <= url.port <= 65535:
        raise InvalidUrl(f"The receiver's URL names the port {url.port}, which cannot be.")
    if url.query or url.fragment:
        raise InvalidUrl("The receiver's URL must end with its path, without ? and #.")
    return url.copy_with(raw_path=_base(url.raw_path.decode("ascii")).encode("ascii"))


def is_exposed(url: httpx.URL) -> bool:
    """Whether others can read what is sent there: it leaves this machine, and in the clear."""
    return url.scheme == "http" and not _is_loopback(url.host.rstrip("."))


def _is_loopback(host: str) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    if isinstance(address, IPv6Address):
        address = address.ipv4_mapped or address
    return address.is_loopback


def _split(text: str) -> httpx.URL:
    try:
        return httpx.URL(text)
    except httpx.InvalidURL:
        # Not "from" it: the cause quotes the URL, and a piece of a password with it.
        raise InvalidUrl("The receiver's URL cannot be read as a URL.") from None


def _base(path: str) -> str:
    path = path.rstrip("/")
    for call in _CALLS:
        if path.endswith(call):
            return path.removesuffix(call).rstrip("/")
    return path

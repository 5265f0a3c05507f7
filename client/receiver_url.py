"""Parsing the URL of a receiver that somebody has configured."""

from ipaddress import IPv6Address, ip_address

import httpx

from client.errors import InvalidUrl

__all__ = ["is_exposed", "parse"]

_CALLS = ("/register", "/heartbeats", "/heartbeat")


def parse(text: str) -> httpx.URL:
    """
    Parse the base URL of a receiver, http or https.

    Removes surrounding spaces, trailing slashes, and the path of a receiver's endpoint at the
    end, such as `/register` in `https://host/fleet/register`. Keeps the rest of the path, and
    user and password.

    Raises InvalidUrl for any other text. The error does not quote the URL, because the URL may hold
    a password.
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
    """Whether requests to the URL leave this machine unencrypted: by http, but not to loopback."""
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
        # `from None`: the error of httpx quotes the URL, and so part of a password.
        raise InvalidUrl("The receiver's URL cannot be read as a URL.") from None


def _base(path: str) -> str:
    path = path.rstrip("/")
    for call in _CALLS:
        if path.endswith(call):
            return path.removesuffix(call).rstrip("/")
    return path

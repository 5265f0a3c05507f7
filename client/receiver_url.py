"""Where a receiver is, out of what a person configured."""

import httpx

from client.errors import InvalidUrl

__all__ = ["parse"]

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

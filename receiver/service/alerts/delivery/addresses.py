"""The addresses of channels: which ones are refused, and what may be shown of the others."""

import re
from collections.abc import Iterator
from urllib.parse import quote, unquote, urlsplit

from receiver.domain.endpoints import Endpoints

__all__ = ["LOCAL_SCHEMES", "host_of_webhook", "redacted", "scheme_of"]

LOCAL_SCHEMES = frozenset(
    {
        *("dbus", "kde", "qt"),
        *("gio", "glib"),
        *("blink1", "gnome", "macosx", "syslog", "windows"),
    }
)
"""
The schemes of Apprise whose services are not reached over the network.

They use the desktop, the log, a device or a command of the receiver's own machine, in ways that an
audit hook of Python does not see.
"""


def scheme_of(url: str, allowed: Endpoints) -> str:
    """
    The scheme of a URL for Apprise, in lower case, such as `mailtos`.

    Raises ValueError, whose argument does not quote the URL, for a service of this machine, and for
    a host to which no message may be sent. Not all such hosts are found: in the place of the host,
    many services have something else. So the process that sends a message checks it again.
    """
    scheme = url.partition("://")[0].lower()
    if scheme in LOCAL_SCHEMES:
        raise ValueError(f"{scheme}:// is a service of the receiver's own machine, not one to tell")
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        host = ""
    any_name = Endpoints(("*", *allowed.names), allowed.networks)
    is_host = "." in host or ":" in host or host[:1].isalpha()
    if is_host and not is_allowed(host, any_name):
        raise ValueError(_not_allowed(host))
    return scheme


def _not_allowed(host: str) -> str:
    return f"messages to {host} are not allowed: see FLEET_ALERT_ADDRESSES"


def host_of_webhook(url: str, allowed: Endpoints) -> str:
    """
    The host of the URL of a webhook.

    Raises ValueError, whose argument does not quote the URL, for a text that is no http or https
    URL in ASCII, for a URL with a name or password, and for a host to which no message may be sent.
    """
    if not url.isascii():
        raise ValueError("write the URL in ASCII: a host as xn--, and a path with % and digits")
    try:
        parts = urlsplit(url)
        scheme, host, port = parts.scheme, parts.hostname, parts.port
    except ValueError:
        scheme, host, port = "", None, None
    if scheme not in {"http", "https"} or not host or port == 0:
        raise ValueError("expected the URL of a webhook, such as https://example.com/hook")
    if parts.username is not None or parts.password is not None:
        raise ValueError("a webhook takes no name and password in its URL; messages are signed")
    if not is_allowed(host, allowed):
        raise ValueError(_not_allowed(host))
    return host


def is_allowed(host: str, allowed: Endpoints) -> bool:
    """Whether a host name or IP address is on an allow list; False for any other text."""
    try:
        return allowed.include(host, with_loopback=False)
    except ValueError:  # it has a colon and is no IPv6 address
        return False


def redacted(text: str, url: str) -> str:
    """
    Replace in a text all that may be a secret of a URL by `***`.

    That is every part of the URL but its scheme, the host if it has a dot, and what is shorter than
    four characters.
    """
    forms = {form for part in _parts(url) for form in (part, unquote(part), quote(part, safe=""))}
    secrets = sorted((form for form in forms if len(form) >= _SHORTEST), key=len, reverse=True)
    if not secrets:
        return text
    return re.sub("|".join(map(re.escape, secrets)), "***", text)


def _parts(url: str) -> Iterator[str]:
    place, _, query = url.partition("://")[2].partition("?")
    host = re.split("[/#]", place, maxsplit=1)[0].rpartition("@")[2].partition(":")[0]
    yield from (part for part in re.split("[/#@:,]", place) if part != host or "." not in host)
    yield from (part.rpartition("=")[2] for part in re.split("[&#,]", query))


_SHORTEST = 4

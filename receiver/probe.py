"""
Asks a receiver whether it answers; as a command, the health check of a container.

    python -m receiver.probe [http://127.0.0.1:8000/health/live]

The exit status is 0 if it does, and 1 otherwise. It is for images that have neither a shell nor
curl. It imports the standard library only, because it is run every few seconds.
"""

import ssl
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import NamedTuple
from urllib.parse import urlsplit

__all__ = ["Answer", "ask", "main"]

_LIVE = "http://127.0.0.1:8000/health/live"
_TIMEOUT_SECONDS = 4.0


class Answer(NamedTuple):
    """
    What came of a request.

    Attributes:
        status: The status of HTTP; None if nobody answered.
        says: The status and the body, or why nobody answered.
        headers: The headers, with names in small letters.
        trusted_until: When the certificate ends; None without one, or where it was not checked.
    """

    status: int | None
    says: str
    headers: Mapping[str, str]
    trusted_until: datetime | None


def main(arguments: Sequence[str], say: Callable[[str], object] = print) -> int:
    """
    Ask for the URL that is the only argument, or for the default one; return the exit status.

    Args:
        arguments: The arguments of the command.
        say: Prints a line, which says what the receiver has answered.
    """
    # The certificate need not be of the loopback address, which is asked.
    answer = ask(arguments[0] if arguments else _LIVE, is_checked=False)
    say(answer.says)
    return 0 if answer.status == 200 else 1


def ask(url: str, *, is_checked: bool = True) -> Answer:
    """
    Ask for an http or https URL, with `GET`, and follow no redirect.

    Args:
        url: The URL.
        is_checked: Whether the certificate must be trusted and of that host.
    """
    parts = urlsplit(url)
    assert parts.hostname is not None, "the URL names no host"
    connection: HTTPConnection
    if parts.scheme == "https":
        context = ssl.create_default_context()
        if not is_checked:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        connection = HTTPSConnection(
            parts.hostname, parts.port, timeout=_TIMEOUT_SECONDS, context=context
        )
    else:
        connection = HTTPConnection(parts.hostname, parts.port, timeout=_TIMEOUT_SECONDS)
    try:
        connection.connect()
        until = _end_of_certificate(connection.sock)
        connection.request("GET", parts.path or "/")
        found = connection.getresponse()
        says = f"{found.status} {found.read().decode(errors='replace')}"
        headers = {name.lower(): value for name, value in found.getheaders()}
        return Answer(found.status, says, headers, until)
    except (OSError, HTTPException) as error:
        return Answer(None, f"no answer: {error!r}", {}, None)
    finally:
        connection.close()


def _end_of_certificate(connection: object) -> datetime | None:
    found = connection.getpeercert() if isinstance(connection, ssl.SSLSocket) else None
    if not found:  # there is none, or it was not checked
        return None
    seconds = ssl.cert_time_to_seconds(str(found["notAfter"]))
    return datetime.fromtimestamp(seconds, timezone.utc)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

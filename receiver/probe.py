"""
Asks a receiver whether it answers; as a command, the health check of a container.

    python -m receiver.probe [http://127.0.0.1:8000/health/live]

The exit status is 0 if the HTTP status of the answer is 200, and 1 otherwise. The command is for
images that have neither a shell nor curl. It imports the standard library only, because it is run
every few seconds.
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
    The answer to a request, or why there was none.

    Attributes:
        status: The HTTP status; None without an answer.
        says: The HTTP status and the body; without an answer `no answer: ` and the error.
        headers: The headers of the answer, with names in lower case; empty without an answer.
        trusted_until: When the TLS certificate expires, in UTC; None without an answer, for an http
            URL, and for a certificate that was not checked.
    """

    status: int | None
    says: str
    headers: Mapping[str, str]
    trusted_until: datetime | None


def main(arguments: Sequence[str], say: Callable[[str], object] = print) -> int:
    """
    Request a URL; return 0 if the HTTP status of the answer is 200, and 1 otherwise.

    Args:
        arguments: The URL; `/health/live` at port 8000 of this machine if the list is empty.
        say: Prints a line, which says what the receiver has answered.
    """
    # The certificate need not be of the loopback address, which is asked.
    answer = ask(arguments[0] if arguments else _LIVE, is_checked=False)
    say(answer.says)
    return 0 if answer.status == 200 else 1


def ask(url: str, *, is_checked: bool = True) -> Answer:
    """
    Request an http or https URL with `GET`, and follow no redirect.

    Errors of the network are returned and not raised, also when nothing comes for 4 seconds.

    Args:
        url: The URL; its query is not sent.
        is_checked: Whether the TLS certificate must be trusted, and be that of the URL's host.
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

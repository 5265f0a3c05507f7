"""
The health check of a container: asks a receiver on this machine whether it answers.

    python -m receiver.probe [http://127.0.0.1:8000/health/live]

The exit status is 0 if it does, and 1 otherwise. It is for images that have neither a shell nor
curl. It imports the standard library only, because it is run every few seconds.
"""

import ssl
import sys
from collections.abc import Callable, Sequence
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlsplit

__all__ = ["main"]

_LIVE = "http://127.0.0.1:8000/health/live"
_TIMEOUT_SECONDS = 4.0


def main(arguments: Sequence[str], say: Callable[[str], object] = print) -> int:
    """
    Ask for the URL that is the only argument, or for the default one; return the exit status.

    Args:
        arguments: The arguments of the command.
        say: Prints a line, which says what the receiver has answered.
    """
    url = urlsplit(arguments[0] if arguments else _LIVE)
    assert url.hostname is not None, "the URL names no host"
    if url.scheme == "https":
        connection: HTTPConnection = HTTPSConnection(
            url.hostname, url.port, timeout=_TIMEOUT_SECONDS, context=_unverified()
        )
    else:
        connection = HTTPConnection(url.hostname, url.port, timeout=_TIMEOUT_SECONDS)
    try:
        connection.request("GET", url.path or "/")
        answer = connection.getresponse()
        say(f"{answer.status} {answer.read().decode(errors='replace')}")
    except (OSError, HTTPException) as error:
        say(f"no answer: {error!r}")
        return 1
    finally:
        connection.close()
    return 0 if answer.status == 200 else 1


def _unverified() -> ssl.SSLContext:
    """For a certificate that is not issued for the loopback address, which is asked."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

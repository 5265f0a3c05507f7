"""The clients by which the databases of a process talk to their receivers."""

from functools import lru_cache
from pathlib import Path

import httpx

from client import PhoneHomeClient, trust_only

# More receivers, or tokens for them, than that, and some are set up anew each time.
_MOST = 256


def client_for(settings):
    """
    A client for the receiver, shared by all that have the same settings; nobody closes it.

    What is dear about one is reading the certificates to trust, and that is done once for
    all. It holds no connection open. Raises `client.ClientError` for what cannot work.
    """
    return _client(settings, None if settings.ca is None else _stamp(settings.ca))


@lru_cache(maxsize=_MOST)
def _client(settings, stamp):
    return PhoneHomeClient(
        settings.url,
        token=settings.token,
        timeout=settings.timeout_seconds,
        attempts=settings.attempts,
        verify=_trust(settings.ca, stamp),
    )


@lru_cache(maxsize=_MOST)
def _trust(ca, _stamp):
    return httpx.create_ssl_context() if ca is None else trust_only(ca)


def _stamp(path):
    """What changes when somebody puts other certificates there."""
    try:
        found = Path(path).stat()
    except (OSError, ValueError):
        return None
    return found.st_mtime_ns, found.st_size

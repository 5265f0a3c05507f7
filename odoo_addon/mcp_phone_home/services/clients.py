"""The HTTP clients of this process, cached by the settings of the receiver."""

from functools import lru_cache
from pathlib import Path

import httpx

from client import PhoneHomeClient, trust_only

_CACHE_SIZE = 256


def client_for(settings):
    """
    The PhoneHomeClient for these ReceiverSettings, from a cache; callers must not close it.

    The cache saves reading the trusted certificates, which is slow, for each message. A client
    holds no connection open. Raises `client.ClientError` for settings that cannot work.
    """
    return _client(settings, None if settings.ca is None else _file_version(settings.ca))


@lru_cache(maxsize=_CACHE_SIZE)
def _client(settings, ca_version):
    return PhoneHomeClient(
        settings.url,
        token=settings.token,
        timeout=settings.timeout_seconds,
        attempts=settings.attempts,
        verify=_trust(settings.ca, ca_version),
    )


@lru_cache(maxsize=_CACHE_SIZE)
def _trust(ca, _ca_version):
    return httpx.create_ssl_context() if ca is None else trust_only(ca)


def _file_version(path):
    """Modification time and size of a file, a cache key; None for a file that is not there."""
    try:
        found = Path(path).stat()
    except (OSError, ValueError):
        return None
    return found.st_mtime_ns, found.st_size

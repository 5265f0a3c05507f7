"""The HTTP clients of this process, cached by the settings of the receiver."""

import logging
from functools import cache, lru_cache
from pathlib import Path

import httpx

from client import PhoneHomeClient, trust_only

_CACHE_SIZE = 256

# The base URLs of the receivers that this process has a client for.
_receivers: set[str] = set()


def client_for(settings):
    """
    The PhoneHomeClient for these ReceiverSettings, from a cache; callers must not close it.

    The cache saves reading the trusted certificates, which is slow, for each message. A client
    holds no connection open. Raises `client.ClientError` for settings that cannot work.
    """
    return _client(settings, None if settings.ca is None else _file_version(settings.ca))


@lru_cache(maxsize=_CACHE_SIZE)
def _client(settings, ca_version):
    _filter_once()
    client = PhoneHomeClient(
        settings.url,
        token=settings.token,
        timeout=settings.timeout_seconds,
        attempts=settings.attempts,
        verify=_trust(settings.ca, ca_version),
    )
    _receivers.add(client.base_url)
    return client


@cache
def _filter_once():
    """
    Let httpx log no line of level INFO for a request to a receiver: one would come each minute.

    Where somebody has set the level of its logger (`--log-handler=httpx:INFO`), it does.
    """
    logging.getLogger("httpx").addFilter(_is_worth_a_line)


def _is_worth_a_line(record) -> bool:
    if record.levelno > logging.INFO or logging.getLogger("httpx").level != logging.NOTSET:
        return True
    text = record.getMessage()
    return not any(f" {url}/" in text for url in _receivers.copy())


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

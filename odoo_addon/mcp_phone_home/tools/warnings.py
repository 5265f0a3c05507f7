"""Warnings that are logged once in a process, and not with every heartbeat."""

import logging
from functools import lru_cache

from attrs import field, frozen

_logger = logging.getLogger(__name__)


@frozen
class _Told:
    """A sentence for the log, which equals each other one with its key."""

    key: tuple[str, ...]
    sentence: str = field(eq=False)

    def __str__(self) -> str:
        return self.sentence


@lru_cache(maxsize=1024)
def warn_once(sentence):
    """Log this sentence as a warning, unless it was logged before."""
    _logger.warning("%s", sentence)


def warn_once_of(*key, sentence):
    """
    Log a warning, unless one with this key was logged before; the key is made of texts.

    It is for sentences that hold what another program words, such as the text of an exception,
    which may be another one each time.
    """
    warn_once(_Told(key, sentence))

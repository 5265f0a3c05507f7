"""Test helper: long texts, and the servers that a filter finds."""

import random

from receiver.domain.queries import Filter
from receiver.store import SqlStore
from watched import kept_in

__all__ = ["found_by", "long_text"]


def found_by(store: SqlStore, matching: Filter) -> list[str]:
    return [record.server_id for record in kept_in(store, matching)]


def long_text(length: int) -> str:
    """Random characters of four bytes each, which no compression makes shorter."""
    choose = random.Random(length)
    return "".join(chr(choose.randrange(0x10000, 0x110000)) for _ in range(length))

"""
Sets of tool names: the names of all tools that a server offers.

Many servers offer the same tools. So the database has each set once, with an index from the name of
a tool to the sets that contain it, and each server has the id of its set.
"""

import re
from functools import lru_cache
from hashlib import sha256

import orjson

__all__ = ["tool_hash", "tool_word", "toolset_id"]


@lru_cache(maxsize=64)  # to write a server asks several times, and a set may have 200 KB
def toolset_id(names: tuple[str, ...] | None) -> int | None:
    """
    The id of a set of tool names, a hash of 63 bits; None if `names` is None or empty.

    The order of the names and repeated names do not change the id.
    """
    return _hash(orjson.dumps(sorted({*names}))) if names else None


def tool_hash(name: str) -> int:
    """A hash of 63 bits of the name of a tool, which stands for it in an index of numbers."""
    return _hash(name.encode())


def tool_word(name: str) -> str:
    """
    A word that stands for the name of a tool in a full-text index.

    It is the name itself if that has only the letters a to z, digits and `_`, and at most 64 of
    them. Otherwise it is `=` and the hash of the name.
    """
    return name if _is_word(name) else f"={tool_hash(name):x}"


def _hash(data: bytes) -> int:
    return int.from_bytes(sha256(data).digest()[:8], "big") >> 1


_is_word = re.compile(r"[a-z0-9_]{1,64}").fullmatch

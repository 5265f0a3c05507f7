"""
Sets of tool names: the names of all tools that a server offers.

Many servers offer the same tools. So the database has each set once, with an index from the name of
a tool to the sets that contain it, and each server has the id of its set.
"""

from collections.abc import Collection
from hashlib import sha256

import orjson

__all__ = ["tool_token", "toolset_id"]


def toolset_id(names: Collection[str] | None) -> int | None:
    """
    The id of a set of tool names, a hash of 63 bits; None for no names.

    The order of the names and repeated names do not change the id.
    """
    return _hash(orjson.dumps(sorted({*names}))) if names else None


def tool_token(name: str) -> int:
    """The number that stands for the name of a tool in the index of sets: a hash of 63 bits."""
    return _hash(name.encode())


def _hash(data: bytes) -> int:
    return int.from_bytes(sha256(data).digest()[:8], "big") >> 1

"""How many servers of a fleet run which versions of Odoo and of the MCP server."""

import re
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import NamedTuple

from attrs import frozen

__all__ = ["Running", "Software", "VersionCount", "oldest", "version_counts", "version_key"]


class Software(str, Enum):
    """
    A software that each server runs.

    The value is the name of the field of `ServerRecord`, and of `Running`, with its version.
    """

    ODOO = "odoo_version"
    MCP_SERVER = "version"


class Running(NamedTuple):
    """
    How many servers of a stage run the same versions.

    Attributes:
        odoo_version: The version of Odoo; empty if it is unknown.
        version: The version of the MCP server; empty if it is unknown.
        stage: The stage; empty for servers without one.
        servers: How many servers there are.
    """

    odoo_version: str
    version: str
    stage: str
    servers: int


@frozen(kw_only=True)
class VersionCount:
    """
    A version, and how many servers run it.

    Attributes:
        version: The version; empty for servers that have not reported theirs.
        servers: How many servers run it.
        stages: Pairs of a stage and the number of these servers in it, the largest number first;
            the stage is empty for servers without one.
    """

    version: str
    servers: int
    stages: Sequence[tuple[str, int]]


def version_counts(running: Iterable[Running], software: Software) -> list[VersionCount]:
    """
    How many servers run which version of a software, the oldest version first.

    Versions without a number come after those with one; servers that have not reported their
    version come last.
    """
    found: dict[str, dict[str, int]] = {}
    for each in running:
        stages = found.setdefault(getattr(each, software.value), {})
        stages[each.stage] = stages.get(each.stage, 0) + each.servers
    return [
        VersionCount(
            version=version,
            servers=sum(found[version].values()),
            stages=sorted(found[version].items(), key=lambda stage: (-stage[1], stage[0])),
        )
        for version in sorted(found, key=version_key)
    ]


def version_key(version: str) -> tuple[int, tuple[int, ...], str]:
    """
    A key by which versions are sorted, the oldest first.

    The numbers in a version decide, so that `saas~18.3` is between `18.0` and `19.0`. Versions
    without a number come after those with one, and the empty text comes last.
    """
    numbers = tuple(int(number) for number in _NUMBER.findall(version)[:_MOST_NUMBERS])
    return (0 if numbers else 1 + (not version), numbers, version)


def oldest(counts: Sequence[VersionCount]) -> VersionCount | None:
    """
    The oldest version that any server runs, if it is older than another one.

    Only versions with a number in them can be compared. None if there are fewer than two of these.

    Args:
        counts: What `version_counts` returns.
    """
    comparable = [each for each in counts if _NUMBER.search(each.version)]
    return comparable[0] if len(comparable) > 1 else None


_NUMBER = re.compile(r"[0-9]{1,9}")
_MOST_NUMBERS = 8

"""
What is wrong with the servers of a fleet, grouped by what began together.

A cable that is cut makes five hundred servers go down within a minute. That is one problem, and
somebody who looks at the fleet should see one, not five hundred.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from enum import Enum
from ipaddress import ip_network
from typing import NamedTuple

from attrs import frozen

from contract import ServerRecord, State

__all__ = ["MANY", "TOGETHER", "Problem", "Trouble", "Troubled", "problems", "troubles"]

TOGETHER = timedelta(minutes=1)
"""What begins within this time of something alike belongs to the same problem."""

MANY = 10
"""So many servers that are silent together are more urgent than any single one."""


class Trouble(str, Enum):
    """What may be wrong with a server, the most urgent first."""

    DOWN = "down"
    LATE = "late"
    CONFLICT = "conflict"
    TWIN = "twin"
    FLAPPING = "flapping"


class Troubled(NamedTuple):
    """
    A server with which something may be wrong, as it is in the database.

    Attributes:
        record: The record of the server.
        revision: The revision of its row, which changes with the record.
        owner: The id of the key that the server belongs to; None if it belongs to none.
    """

    record: ServerRecord
    revision: int
    owner: str | None


@frozen(kw_only=True)
class Problem:
    """
    Servers with the same trouble, which began together.

    Attributes:
        trouble: What is wrong with them.
        servers: The servers, sorted by when it began, and then by their ids.
        first: When it began with the first one; None if that is not known.
        last: When it began with the last one; None if that is not known.
    """

    trouble: Trouble
    servers: Sequence[ServerRecord]
    first: datetime | None
    last: datetime | None

    @property
    def stages(self) -> list[tuple[str, int]]:
        """The stages of the servers ("" for none) and how many are in each, most first."""
        found = Counter(record.odoo_stage or "" for record in self.servers)
        return sorted(found.items(), key=lambda item: (-item[1], item[0]))

    @property
    def hosts(self) -> int:
        """On how many hosts the servers run, as far as is known."""
        return len({record.hostname for record in self.servers if record.hostname})

    @property
    def network(self) -> str | None:
        """The network that all servers are in (/24, or /64 of IPv6); None if there is none."""
        found: str | None = None
        for record in self.servers:
            network = _network(record)
            if network is None or found not in (None, network):
                return None
            found = network
        return found if self.hosts > 1 else None

    @property
    def is_urgent(self) -> bool:
        """Whether many servers fell silent at once."""
        return self.trouble in _SILENCES and len(self.servers) >= MANY

    @property
    def has_production(self) -> bool:
        """Whether a server is in production, or of a fleet that has no stages."""
        return any((record.odoo_stage or "production") == "production" for record in self.servers)


def problems(records: Iterable[ServerRecord]) -> list[Problem]:
    """The problems of servers, the most urgent first."""
    found: defaultdict[Trouble, list[tuple[datetime | None, ServerRecord]]] = defaultdict(list)
    for record in records:
        for trouble, began in troubles(record):
            found[trouble].append((began, record))
    grouped = [
        _problem(trouble, group)
        for trouble, servers in found.items()
        for group in _GROUPED[trouble](servers)
    ]
    return sorted(grouped, key=_urgency)


def troubles(record: ServerRecord) -> Iterator[tuple[Trouble, datetime | None]]:
    """
    What is wrong with a server, and since when; None if that is not known.

    A server that flaps is not counted as late or down besides: its state changes all the time. A
    node has the state of its database, for which another server stands.
    """
    if record.superseded_by is not None or record.state is State.LEFT:
        return
    if record.conflict_since is not None:
        yield Trouble.CONFLICT, record.conflict_since
    if record.node_of is not None:
        return
    if record.twin_of is not None:
        yield Trouble.TWIN, None
    if record.flapping_since is not None:
        yield Trouble.FLAPPING, record.flapping_since
    elif record.state.stale:
        yield Trouble(record.state.value), record.state_since


Began = Sequence[tuple[datetime | None, ServerRecord]]
"""Servers with the same trouble, and since when."""


def _problem(trouble: Trouble, group: Began) -> Problem:
    moments = [began for began, _ in group if began is not None]
    return Problem(
        trouble=trouble,
        servers=tuple(record for _, record in group),
        first=min(moments, default=None),
        last=max(moments, default=None),
    )


def _by_time(servers: Began) -> list[Began]:
    """Divide servers where more than `TOGETHER` passed before it began with the next one."""
    groups: list[list[tuple[datetime | None, ServerRecord]]] = []
    before: datetime | None = None
    for began, record in _in_order(servers):
        if before is None or began is None or began - before > TOGETHER:
            groups.append([])
        groups[-1].append((began, record))
        before = began
    return [*groups]


def _by_database(servers: Began) -> list[Began]:
    """Divide servers by the UUID of their databases, which twins have in common."""
    groups: defaultdict[str, list[tuple[datetime | None, ServerRecord]]] = defaultdict(list)
    for began, record in _in_order(servers):
        groups[record.database_uuid or record.server_id].append((began, record))
    return [*groups.values()]


def _all_together(servers: Began) -> list[Began]:
    return [_in_order(servers)]


def _in_order(servers: Began) -> list[tuple[datetime | None, ServerRecord]]:
    return sorted(servers, key=lambda each: (each[0] or each[1].first_seen, each[1].server_id))


def _urgency(problem: Problem) -> tuple[object, ...]:
    """A sort key: the most urgent problem comes first."""
    newest = problem.last or min(record.first_seen for record in problem.servers)
    return (
        not problem.is_urgent,
        _TROUBLES.index(problem.trouble),
        not problem.has_production,
        -len(problem.servers),
        -newest.timestamp(),
        problem.servers[0].server_id,
    )


def _network(record: ServerRecord) -> str | None:
    if record.ip_addresses is None:
        return None
    address = record.ip_addresses.primary
    if ":" in address:
        return str(ip_network(f"{address}/64", strict=False))
    return f"{address.rpartition('.')[0]}.0/24"  # of thousands of servers


_TROUBLES = [*Trouble]
_SILENCES = (Trouble.DOWN, Trouble.LATE)
_GROUPED: dict[Trouble, Callable[[Began], list[Began]]] = {
    Trouble.DOWN: _by_time,
    Trouble.LATE: _by_time,
    Trouble.FLAPPING: _by_time,
    Trouble.TWIN: _by_database,
    Trouble.CONFLICT: _all_together,
}
"""How the servers with a trouble are divided into problems."""

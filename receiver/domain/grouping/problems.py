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
from itertools import chain, filterfalse, islice
from typing import NamedTuple

from attrs import frozen

from contract import ServerRecord, State

__all__ = [
    "MANY",
    "TOGETHER",
    "Problem",
    "Trouble",
    "Troubled",
    "counts_as_production",
    "is_production",
    "problems",
    "troubles",
]

TOGETHER = timedelta(minutes=1)
"""Two servers have the same problem if the same trouble began with both within this time."""

MANY = 10
"""A problem of so many silent servers, or more, is urgent."""


class Trouble(str, Enum):
    """
    What may be wrong with a server, the most urgent first.

    `down` and `late` are states. `conflict`: two machines send under its id. `twin`: it has a copy
    of another server's database, or the original. `flapping`: its state changes again and again.
    """

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
        trouble: What is wrong with the servers.
        servers: The servers, sorted by when the trouble began, and then by their ids. If that is
            not known of a server, the time at which it was first seen counts.
        first: When the trouble began with the first server; None if that is not known of any.
        last: When the trouble began with the last server; None if that is not known of any.
    """

    trouble: Trouble
    servers: Sequence[ServerRecord]
    first: datetime | None
    last: datetime | None

    @property
    def stages(self) -> list[tuple[str, int]]:
        """
        The stages of the servers, each with the number of servers in it.

        Production comes first, then what counts as production, and then the larger numbers. The
        stage is "" for servers without one.
        """
        found = Counter(record.odoo_stage or "" for record in self.servers)
        return sorted(
            found.items(),
            key=lambda item: (not counts_as_production(item[0]), not item[0], -item[1], item[0]),
        )

    def foremost(self, most: int) -> list[ServerRecord]:
        """At most `most` of the servers, those in production before the others."""
        others = filterfalse(is_production, self.servers)
        return list(islice(chain(filter(is_production, self.servers), others), most))

    @property
    def hosts(self) -> int:
        """The number of different hostnames of the servers, without those that are unknown."""
        return len({record.hostname for record in self.servers if record.hostname})

    @property
    def network(self) -> str | None:
        """
        The network (/24, or /64 of IPv6) in which the primary addresses of all servers are.

        None if there is no such network, or if `hosts` is less than 2.
        """
        found: str | None = None
        for record in self.servers:
            network = _network(record)
            if network is None or found not in (None, network):
                return None
            found = network
        return found if self.hosts > 1 else None

    @property
    def is_urgent(self) -> bool:
        """Whether many servers, `MANY` or more, are down or late."""
        return self.trouble in _SILENCES and len(self.servers) >= MANY

    @property
    def has_production(self) -> bool:
        """Whether at least one of the servers is in production, or has no stage."""
        return any(is_production(record) for record in self.servers)

    @property
    def seen(self) -> tuple[datetime, datetime]:
        """When the server that is silent longest was last heard, and when the last one was."""
        moments = [record.last_seen for record in self.servers]
        return min(moments), max(moments)


def is_production(record: ServerRecord) -> bool:
    """Whether a server is in production; one without a stage counts as if it were."""
    return counts_as_production(record.odoo_stage)


def counts_as_production(stage: str | None) -> bool:
    """Whether servers of a stage are in production; those without a stage count as if they were."""
    return (stage or "production") == "production"


def problems(records: Iterable[ServerRecord]) -> list[Problem]:
    """
    Find what is wrong with some servers, in groups; returns the most urgent problem first.

    Servers with the same trouble are one problem if it began at about the same time. Twins are
    grouped by the UUID of their databases instead, and servers with a conflict are all one problem.
    """
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
    Yield what is wrong with a server, and since when; None as the time if that is not known.

    Yields nothing for a server that was superseded or has left. A server that flaps is not late or
    down, too, because its state changes all the time. Of a node, in place of which lists show
    another server of its database, only a conflict is its own.
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
    """
    A sort key: the most urgent problem comes first.

    Of two problems with the same trouble, one with servers in production comes first, however many
    servers of other stages the other one has.
    """
    newest = problem.last or min(record.first_seen for record in problem.servers)
    return (
        not (problem.is_urgent and problem.has_production),
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

"""Test helper: servers in a store, and a clock and sweeps (looks for silent ones) on demand."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from threading import Barrier
from typing import Any

from attrs import evolve
from sqlalchemy import Connection, Engine, event, text

from contract import Event, EventKind, Heartbeat, Registration, ServerRecord
from receiver.domain.databases.silence import Rules, SweepOptions
from receiver.domain.keys import Key
from receiver.domain.outcomes import Applied, Incoming
from receiver.domain.queries import (
    ALL_EVENTS,
    ALL_SERVERS,
    EventFilter,
    Filter,
    Order,
    PageRequest,
    Place,
)
from receiver.domain.rate_limits import RateLimits
from receiver.store import SqlStore
from servers import PATIENCE_SECONDS, Clock

__all__ = [
    "MOMENT",
    "Watched",
    "assert_tallied",
    "at_once",
    "beats",
    "count_anew",
    "counts",
    "due_at",
    "endless",
    "have_patience",
    "hear",
    "kept_in",
    "lock",
]

MOMENT = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)

_WAIT_FOR_LOCKS = {
    "sqlite": "PRAGMA busy_timeout = 30000",
    "postgresql": "SET lock_timeout = '29s'",  # which is less than the time of any statement
}


def beats(*ids: str, at: datetime = MOMENT, key: Key | None = None, **said: Any) -> list[Incoming]:
    """A heartbeat of each server, with these fields."""
    return [Incoming(Heartbeat(server_id=each, **said), at, key) for each in ids]


def counts(store: SqlStore) -> dict[str, int]:
    """The number of heartbeats of each server."""
    return {record.server_id: record.heartbeat_count for record in kept_in(store)}


def hear(store: SqlStore, incoming: Sequence[Incoming]) -> list[Applied]:
    """Apply messages to a store; asserts that none is refused."""
    applied = []
    for each in store.servers.apply(incoming):
        assert isinstance(each, Applied)
        applied.append(each)
    return applied


def assert_tallied(store: SqlStore) -> None:
    """Assert that the table `tallies` has the numbers of the servers, and no others."""
    with store.transactions.read() as connection:
        counted, tallied, left = (
            [tuple(row) for row in connection.execute(text(statement))]
            for statement in (_COUNTED, _TALLIED, _LEFT)
        )
    assert counted == tallied
    assert [] == left


# Some tests insert servers without a profile.
_COUNTED = """
SELECT profile, rank, count(*) FROM servers WHERE profile IN (SELECT id FROM profiles)
GROUP BY profile, rank ORDER BY 1, 2
"""
_TALLIED = """
SELECT profile, rank, sum(number) FROM tallies
GROUP BY profile, rank HAVING sum(number) <> 0 ORDER BY 1, 2
"""
_LEFT = "SELECT profile FROM tallies WHERE profile NOT IN (SELECT id FROM profiles)"


def count_anew(connection: Connection) -> None:
    """Count the servers in `tallies`, after SQL that has changed ranks and bypasses the store."""
    connection.execute(text("DELETE FROM tallies"))
    counted = "SELECT profile, rank, 'test', count(*) FROM servers GROUP BY profile, rank"
    connection.execute(text(f"INSERT INTO tallies (profile, rank, writer, number) {counted}"))


def change_servers(
    connection: Connection, changed: str, which: str = "1 = 1", **given: object
) -> None:
    """Change columns of `servers` by SQL, and raise the revisions, as another receiver would."""
    connection.execute(text(f"UPDATE liveness SET revision = revision + 1 WHERE {which}"), given)
    connection.execute(text(f"UPDATE servers SET {changed} WHERE {which}"), given)


def at_once(*jobs: Callable[[], object]) -> None:
    """Run the jobs in threads that start at the same time."""
    barrier = Barrier(len(jobs))

    def do(job: Callable[[], object]) -> None:
        barrier.wait(PATIENCE_SECONDS)
        job()

    with ThreadPoolExecutor(len(jobs)) as threads:
        assert len(jobs) == len([*threads.map(do, jobs)])


def have_patience(*stores: SqlStore) -> None:
    """
    Let stores wait half a minute for a lock that another one holds.

    After two seconds the store of a receiver refuses the message, and the sender sends it again.
    Tests of what several stores write at once send nothing again, and on a busy machine any of the
    stores may pause for as long while it holds a lock.
    """
    for store in stores:
        engine = store.transactions._engine  # noqa: SLF001 - the store is older than the test
        statement = _WAIT_FOR_LOCKS[engine.dialect.name]

        def wait_now(connection: Connection, statement: str = statement) -> None:
            connection.exec_driver_sql(statement).close()

        def wait(connection: Any, _: object, statement: str = statement) -> None:
            connection.execute(statement)
            connection.commit()

        store.transactions.write(wait_now)
        event.listen(engine, "connect", wait)  # for the connections that are made later


def due_at(engine: Engine, server_id: str) -> int | None:
    """When a sweep must look at a server, in microseconds since 1970; None for never."""
    query = text("SELECT due_at FROM liveness WHERE server_id = :key")
    with engine.connect() as connection:
        due: int | None = connection.execute(query, {"key": server_id}).scalar_one()
    return due


def kept_in(
    store: SqlStore,
    matching: Filter = ALL_SERVERS,
    *,
    after: Place | None = None,
    limit: int = 10_000,
) -> list[ServerRecord]:
    """The servers of a store that match, sorted by id."""
    asked = PageRequest(limit=limit, now=_ANY_TIME, after=after)
    return store.servers.page(matching, Order.SERVER_ID, asked).records


_ANY_TIME = datetime(2026, 1, 31, tzinfo=timezone.utc)  # only lists by last_seen depend on it


def lock(engine: Engine, table: str) -> str:
    """The statement that lets others read a database but not write a table of it."""
    if engine.dialect.name == "sqlite":
        return "UPDATE watches SET id = id"  # one writer of the whole file
    return f"LOCK TABLE {table} IN EXCLUSIVE MODE"


def endless() -> RateLimits:
    """Rate limits that no test reaches."""
    return RateLimits(messages_per_window=10**9, changes_per_hour=10**9, failures_per_window=10**9)


class Watched:
    """
    A store with servers, and a clock that a test moves.

    Attributes:
        store: The store.
        on_events: Called after events are committed.
        heard_since: Since when the receiver can get messages.
    """

    def __init__(self, store: SqlStore) -> None:
        self.store = store
        self._announced: list[Event] = []
        self.on_events: Callable[[], object] = lambda: None
        for part in (store.servers, store.watch):
            part._on_events = self._hear  # noqa: SLF001 - the store is older than the test
        self.clock = Clock()
        self.heard_since = self.clock.now
        self.rules = Rules()

    def _hear(self, events: Sequence[Event]) -> None:
        self._announced += events
        self.on_events()

    @property
    def now(self) -> datetime:
        return self.clock.now

    @property
    def counts(self) -> Counter[str]:
        """The number of events that the store has announced, by kind."""
        return Counter(event.kind.value for event in self._announced)

    def beat(self, *ids: str, **said: Any) -> None:
        """Apply a heartbeat of each server, with these fields."""
        self.store.servers.apply(beats(*ids, at=self.now, **said))

    def register(self, *ids: str, **said: Any) -> None:
        """Apply a registration of each server, with these fields."""
        self.store.servers.apply(
            [Incoming(Registration(server_id=each, **said), self.now) for each in ids]
        )

    def sweep_options(self) -> SweepOptions:
        return SweepOptions(now=self.now, heard_since=self.heard_since, rules=self.rules)

    def sweep(self) -> None:
        """Judge all servers that are due, twice: a server becomes late before it becomes down."""
        for _ in range(2):
            while self.store.watch.sweep(self.sweep_options()):
                pass

    def go_on(self, seconds: float, *alive: str, every: float = 30.0) -> None:
        """Advance the clock in steps; each step has a heartbeat of `alive`, then a sweep."""
        until = self.now + timedelta(seconds=seconds)
        while self.now < until:
            self.clock.advance(min(every, (until - self.now).total_seconds()))
            if alive:
                self.beat(*alive)
            self.sweep()

    def record(self, server_id: str) -> ServerRecord:
        record = self.store.servers.get(server_id)
        assert record is not None
        return record

    def state(self, server_id: str) -> str:
        """The stored state of a server."""
        return self.record(server_id).state.value

    def ids(self, **wanted: Any) -> list[str]:
        """The ids of the servers that match a filter."""
        return [each.server_id for each in kept_in(self.store, Filter(**wanted))]

    def told(
        self, *, of: str | None = None, but: Iterable[EventKind] = (EventKind.REGISTERED,)
    ) -> list[tuple[str, str | None]]:
        """
        Kind and server id of the stored events, oldest first.

        With `of` only events of this server; events of the kinds in `but` are left out.
        """
        return [
            (each.event.kind.value, each.event.server_id)
            for each in self.store.events.after(0, EventFilter(server_id=of), limit=100_000)
            if each.event.kind not in but
        ]

    def details(self, kind: EventKind) -> list[dict[str, Any]]:
        """The details of the stored events of a kind."""
        choice = evolve(ALL_EVENTS, kinds=frozenset({kind}))
        found = self.store.events.after(0, choice, limit=100_000)
        return [dict(each.event.details) for each in found]

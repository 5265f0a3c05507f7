"""
Where the records are kept.

Every method is one transaction and blocks until it is over; a method that writes
returns after the commit. All of them raise StoreUnavailable when the database does
not answer, and nothing has changed then, but for its subclass OutcomeUnknown.
"""

import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from threading import Lock
from typing import Protocol, TypeVar

from alembic import command
from alembic.config import Config
from attrs import fields
from sqlalchemy import (
    URL,
    Connection,
    bindparam,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.exc import (
    DatabaseError,
    DBAPIError,
    InterfaceError,
    InternalError,
    OperationalError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout

from contract import Event, ServerRecord
from receiver.domain.errors import OutcomeUnknown, Refusal, StoreUnavailable
from receiver.domain.keys import Key
from receiver.store import events as timeline
from receiver.store import keys as issued
from receiver.store import merging as batch
from receiver.store import sessions
from receiver.store.dialects import PATIENCE_SECONDS, database_of
from receiver.store.events import ALL, Choice, Part, Recorded
from receiver.store.merging import Applied, Committed, Incoming, Memory, forget, hand_over, row_of
from receiver.store.ownership import SERVERS_PER_KEY, Budget, Refused, Rights
from receiver.store.server_list import Filter, Order, Place, listed, those
from receiver.store.sessions import Session
from receiver.store.silence import Look, sweep
from receiver.store.state_changes import Life, lives
from receiver.store.tables import events, facets, microseconds, servers, watches

__all__ = [
    "EVERY_FIELD",
    "IS_DUE",
    "TALLY",
    "SqlStore",
    "Store",
]

T = TypeVar("T")

_log = logging.getLogger(__name__)

EVERY_FIELD = tuple(field.name for field in fields(ServerRecord))


class Store(Protocol):
    """What the receiver asks of a store."""

    def apply(self, incoming: Sequence[Incoming]) -> list[Applied | Refusal]:
        """
        Merge messages, in their order, and commit them together.

        One whose key may not write its server is refused, and changes nothing.

        Raises OutcomeUnknown when the database went away during the commit.
        """

    def get(self, server_id: str) -> ServerRecord | None:
        """The record of a server."""

    def page(
        self,
        matching: Filter,
        order: Order = Order.SERVER_ID,
        *,
        after: Place | None,
        limit: int,
        only: Sequence[str] = EVERY_FIELD,
    ) -> list[ServerRecord]:
        """
        At most `limit` records in an order, after a place.

        What is not among the fields that are asked for is left unknown.
        """

    def count(self, matching: Filter) -> int:
        """How many servers there are."""

    def tally(self) -> Mapping[tuple[str, str], int]:
        """How many servers there are by state and stage, but those that are superseded."""

    def delete(self, server_id: str, at: datetime) -> bool:
        """Forget a server, but not what happened to it; False when there is none."""

    def owner(self, server_id: str) -> str | None:
        """The id of the key that a server belongs to; None when there is none."""

    def hand_over(self, ids: Collection[str], key_id: str | None) -> list[str]:
        """
        Let servers belong to a key, or to the one that writes them next.

        Gives back those that there are.
        """

    def owned(self, key_id: str) -> list[str]:
        """The servers that belong to a key, in the order of their ids."""

    def all_keys(self) -> list[Key]:
        """All keys that were ever made, oldest first."""

    def add_key(self, key: Key) -> None:
        """Keep a new key."""

    def revoke_key(self, key_id: str, at: datetime) -> bool:
        """Take a key back; False when there is none that is not revoked."""

    def rotate_key(self, key_id: str, digest: bytes, expires_at: datetime | None) -> bool:
        """Let a key have another secret and end; False when there is none that is not revoked."""

    def note_uses(self, uses: Mapping[str, int], at: datetime) -> None:
        """That keys were used, and how many messages each has sent since that was noted."""

    def begin_session(self, session: Session, now: datetime) -> None:
        """Keep a new session, and forget those that are over."""

    def session(self, digest: bytes) -> Session | None:
        """The session of whoever holds what has this digest; it may be over."""

    def end_session(self, digest: bytes) -> None:
        """Forget a session, if there is such a one."""

    def secret(self, name: str) -> bytes:
        """A secret that all receivers of a database share; it is made when there is none."""

    def events(
        self, choice: Choice, *, before: int | None, limit: int, max_bytes: int | None = None
    ) -> Part:
        """At most `limit` events and about `max_bytes`, newest first, older than a number."""

    def events_after(
        self, number: int, choice: Choice = ALL, *, limit: int, max_bytes: int | None = None
    ) -> list[Recorded]:
        """At most `limit` events and about `max_bytes`, oldest first, newer than a number."""

    def last_event(self) -> int:
        """The number of the newest event; 0 when there is none."""

    def lives(self, ids: Collection[str], since: datetime) -> Mapping[str, Sequence[Life]]:
        """The lives of servers since a moment, and of those that each has superseded."""

    def chain(self, server_id: str) -> list[str]:
        """A server, and those that it has superseded, and so on; a thousand of them at most."""

    def watch(self, now: datetime, *, absent: timedelta) -> datetime:
        """
        Say that servers can be heard, and tell since when that is so without a pause.

        A pause longer than `absent` since this was last said begins it anew.
        """

    def sweep(self, look: Look) -> bool:
        """Look at servers that are due; whether more are."""

    def trim(self, until: datetime) -> bool:
        """Forget some events that are older; whether there may be more."""

    def close(self) -> None:
        """Let go of the database."""


def _nothing(*_: object) -> None:
    pass


class SqlStore:
    """
    A store in a SQL database. Opening it brings its tables up to date.

    Args:
        url: Where the database is.
        remembered: How many rows to remember, so as not to read them again, at most twice
            as many; some 2.5 kB each with a dozen tools.
        servers_per_key: How many servers may belong to a key that is no administrator's.
        budget: How many events keys may cause, if that is bounded.

    Attributes:
        on_news: Is called after events are committed, from the thread that did.
        on_events: Is called with them then, from several threads at once.
    """

    def __init__(
        self,
        url: URL,
        *,
        remembered: int = 100_000,
        servers_per_key: int = SERVERS_PER_KEY,
        budget: Budget | None = None,
    ) -> None:
        self.on_news: Callable[[], None] = _nothing
        self.on_events: Callable[[Sequence[Event]], None] = _nothing
        self._database = database_of(url)
        self._engine = self._database.engine(url)
        self._reading = self._engine.execution_options(reads=True)
        with _available():
            self._writing = self._engine.connect()
        # Writers of one process take turns here; in SQLite they would have to poll.
        self._turn = Lock()
        self._batches = count()
        self._memory = Memory(remembered)
        self._servers_per_key = servers_per_key
        self._budget = budget
        self._silenced: set[str] = set()
        self._refused = Refused()
        try:
            self._write(self._migrate)
        except BaseException:
            self.close()
            raise

    def apply(self, incoming: Sequence[Incoming]) -> list[Applied | Refusal]:
        def work(connection: Connection) -> tuple[list[Applied | Refusal], Committed, Rights]:
            rights = Rights(connection, self._servers_per_key, self._refused, self._budget)
            applied, committed = batch.apply(
                self._database, connection, incoming, self._memory, rights
            )
            return applied, committed, rights

        with self._turn:
            applied, committed, rights = self._write(work)
            self._count(rights)
            self._memory.keep(committed.rows)
            self._refused.note(committed.events)
        self._tell(committed.events)
        return applied

    def _count(self, rights: Rights) -> None:
        """What keys have caused to be told, once it is committed."""
        if self._budget is not None:
            for key_id, size in rights.spent.items():
                self._budget.spend_changes(key_id, size)
        for key_id in rights.silenced - self._silenced:
            _log.warning("The key %s causes more events than may be told in an hour", key_id)
        self._silenced = (self._silenced - rights.spent.keys()) | rights.silenced

    def get(self, server_id: str) -> ServerRecord | None:
        if not _may_be(server_id):
            return None
        with self.connection() as connection:
            row = connection.execute(_ONE, {"key": server_id}).mappings().one_or_none()
        return None if row is None else row_of(row).record

    def page(
        self,
        matching: Filter,
        order: Order = Order.SERVER_ID,
        *,
        after: Place | None,
        limit: int,
        only: Sequence[str] = EVERY_FIELD,
    ) -> list[ServerRecord]:
        columns = [servers.c[name] for name in only]
        query = listed(columns, matching, order, after=after, limit=limit)
        with self.connection() as connection:
            return [ServerRecord(**row) for row in connection.execute(query).mappings()]

    def count(self, matching: Filter) -> int:
        query, _ = those(select(func.count()).select_from(servers), matching)
        with self.connection() as connection:
            return int(connection.execute(query).scalar_one())

    def tally(self) -> Mapping[tuple[str, str], int]:
        with self.connection() as connection:
            found = connection.execute(TALLY).all()
        return {_state_and_stage(standing): count for standing, count in found}

    def delete(self, server_id: str, at: datetime) -> bool:
        if not _may_be(server_id):
            return False
        with self._turn:
            forgotten = self._write(
                lambda connection: forget(self._database, connection, server_id, at, self._memory)
            )
            self._memory.keep(forgotten.rows)
            self._memory.drop(server_id)
        self._tell(forgotten.events)
        return bool(forgotten.events)

    def owner(self, server_id: str) -> str | None:
        if not _may_be(server_id):
            return None
        with self.connection() as connection:
            return connection.execute(_OWNER, {"key": server_id}).scalar()

    def hand_over(self, ids: Collection[str], key_id: str | None) -> list[str]:
        known = [each for each in ids if _may_be(each)]
        with self._turn:
            handed = self._write(
                lambda connection: hand_over(
                    self._database, connection, known, key_id, self._memory
                )
            )
            self._memory.keep(handed.rows)
        return list(handed.rows)

    def owned(self, key_id: str) -> list[str]:
        with self.connection() as connection:
            return list(connection.execute(_OWNED, {"key": key_id}).scalars())

    def all_keys(self) -> list[Key]:
        with self.connection() as connection:
            return issued.every(connection)

    def add_key(self, key: Key) -> None:
        with self._turn:
            self._write(lambda connection: issued.add(connection, key))

    def revoke_key(self, key_id: str, at: datetime) -> bool:
        with self._turn:
            return self._write(lambda connection: issued.revoke(connection, key_id, at))

    def rotate_key(self, key_id: str, digest: bytes, expires_at: datetime | None) -> bool:
        with self._turn:
            return self._write(
                lambda connection: issued.rotate(connection, key_id, digest, expires_at)
            )

    def note_uses(self, uses: Mapping[str, int], at: datetime) -> None:
        with self._turn:
            self._write(lambda connection: issued.note(connection, uses, at))

    def begin_session(self, session: Session, now: datetime) -> None:
        with self._turn:
            self._write(lambda connection: sessions.begin(connection, session, now))

    def session(self, digest: bytes) -> Session | None:
        with self.connection() as connection:
            return sessions.find(connection, digest)

    def end_session(self, digest: bytes) -> None:
        with self._turn:
            self._write(lambda connection: sessions.end(connection, digest))

    def secret(self, name: str) -> bytes:
        with self._turn:
            return self._write(lambda connection: sessions.secret(connection, name))

    def events(
        self, choice: Choice, *, before: int | None, limit: int, max_bytes: int | None = None
    ) -> Part:
        with self.connection() as connection:
            return timeline.before(connection, choice, before, limit=limit, max_bytes=max_bytes)

    def events_after(
        self, number: int, choice: Choice = ALL, *, limit: int, max_bytes: int | None = None
    ) -> list[Recorded]:
        with self.connection() as connection:
            return timeline.after(connection, choice, number, limit=limit, max_bytes=max_bytes)

    def last_event(self) -> int:
        with self.connection() as connection:
            return timeline.last(connection)

    def lives(self, ids: Collection[str], since: datetime) -> Mapping[str, Sequence[Life]]:
        with self.connection() as connection:
            return lives(connection, ids, since)

    def chain(self, server_id: str) -> list[str]:
        with self.connection() as connection:
            return timeline.chain(connection, server_id)

    def watch(self, now: datetime, *, absent: timedelta) -> datetime:
        with self._turn:
            return self._write(lambda connection: _watch(connection, now, absent))

    def sweep(self, look: Look) -> bool:
        with self.connection() as connection:
            if connection.execute(IS_DUE, {"now": microseconds(look.now)}).first() is None:
                return False
        with self._turn:
            swept = self._write(
                lambda connection: sweep(self._database, connection, self._memory, look)
            )
            self._memory.keep(swept.committed.rows)
        self._tell(swept.committed.events)
        return swept.is_more_due

    def trim(self, until: datetime) -> bool:
        with self.connection() as connection:
            if connection.execute(_IS_OLD, {"until": until}).first() is None:
                return False
        with self._turn:
            trimmed = self._write(
                lambda connection: timeline.trim(connection, until, limit=_MOST_TRIMMED)
            )
        return trimmed == _MOST_TRIMMED

    def close(self) -> None:
        with self._turn:
            self._writing.close()
        self._engine.dispose()

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A connection to read with."""
        with _available(), self._reading.connect() as connection:
            yield connection

    def _tell(self, happened: Sequence[Event]) -> None:
        """Of events that are committed."""
        if happened:
            self.on_events(happened)
            self.on_news()

    def _migrate(self, connection: Connection) -> None:
        self._database.wait_for_migrations(connection)
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        self._database.tidy(connection)

    def _write(self, work: Callable[[Connection], T]) -> T:
        """Do it in a transaction, and again in another when this one only had bad luck."""
        with _available():
            for _ in range(_TRIES - 1):
                try:
                    return self._transaction(work)
                except DBAPIError as error:
                    if not self._is_worth_another_try(error):
                        raise
            return self._transaction(work)

    def _is_worth_another_try(self, error: DBAPIError) -> bool:
        return error.connection_invalidated or self._database.is_worth_another_try(error)

    def _transaction(self, work: Callable[[Connection], T]) -> T:
        number = next(self._batches)
        try:
            self._writing.begin()
            result = work(self._writing)
            self._database.sign(self._writing, number)
            self._commit(number)
        except BaseException:
            self._memory.doubt()
            self._writing.rollback()
            raise
        return result

    def _commit(self, number: int) -> None:
        try:
            self._writing.commit()
        except DBAPIError as error:
            self._writing.rollback()
            if not (error.connection_invalidated and self._was_committed(number)):
                raise

    def _was_committed(self, number: int) -> bool:
        """What became of a transaction whose connection broke during the commit."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                with self._engine.begin() as connection:
                    return self._database.was_committed(connection, number)
            except (OperationalError, PoolTimeout) as error:
                if time.monotonic() > deadline:
                    raise OutcomeUnknown(
                        "the database went away during a commit, which may have succeeded"
                    ) from error
                time.sleep(0.05)


_TRIES = 5
_MOST_TRIMMED = 1000

_AWAY = (InterfaceError, InternalError, OperationalError, PoolTimeout)


@contextmanager
def _available() -> Iterator[None]:
    try:
        yield
    except (DatabaseError, InterfaceError, PoolTimeout) as error:
        # A DatabaseError that is none of its subclasses: the file is no database, or torn.
        if isinstance(error, _AWAY) or type(error) is DatabaseError:
            reason = getattr(error, "orig", None) or error
            raise StoreUnavailable(f"the database does not answer: {reason}") from error
        raise


def _watch(connection: Connection, now: datetime, absent: timedelta) -> datetime:
    row = connection.execute(select(watches).with_for_update()).first()
    if row is None:
        connection.execute(insert(watches), {"id": 1, "heard_since": now, "seen_at": now})
        return now
    heard_since: datetime = row.heard_since if now - row.seen_at <= absent else now
    connection.execute(update(watches).values(heard_since=heard_since, seen_at=now))
    return heard_since


def _may_be(server_id: str) -> bool:
    # PostgreSQL does not even take the question.
    return "\x00" not in server_id


def _state_and_stage(standing: str) -> tuple[str, str]:
    state, _, stage = standing.partition("/")
    return state, stage


_ONE = select(servers).where(servers.c.server_id == bindparam("key"))
_OWNER = select(servers.c.owner).where(servers.c.server_id == bindparam("key"))
_OWNED = (
    select(servers.c.server_id)
    .where(servers.c.owner == bindparam("key"))
    .order_by(servers.c.server_id)
)
# In the order of the index, or a planner that expects many would read the table.
IS_DUE = (
    select(servers.c.server_id)
    .where(servers.c.due_at <= bindparam("now"))
    .order_by(servers.c.due_at)
    .limit(1)
)
_IS_OLD = select(events.c.id).where(events.c.at < bindparam("until")).order_by(events.c.at).limit(1)
TALLY = (
    select(facets.c.value, func.count()).where(facets.c.name == "standing").group_by(facets.c.value)
)

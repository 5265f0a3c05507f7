"""
Where the records are kept.

Every method is one transaction and blocks until it is over; a method that writes
returns after the commit. All of them raise StoreUnavailable when the database does
not answer, and nothing has changed then.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from alembic import command
from alembic.config import Config
from attrs import asdict, frozen
from sqlalchemy import URL, Connection, Engine, Select, create_engine, delete, event, func, select
from sqlalchemy.dialects.sqlite import Insert, insert
from sqlalchemy.exc import DatabaseError, InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from contract import Heartbeat, Registration, ServerRecord, merge, register
from receiver.errors import StoreUnavailable
from receiver.tables import servers

__all__ = ["Applied", "Incoming", "SqlStore", "Store"]


@frozen(kw_only=True)
class Incoming:
    """A message, and when it was received."""

    message: Registration | Heartbeat
    received_at: datetime


@frozen(kw_only=True)
class Applied:
    """The record after a message, and whether the message made it."""

    record: ServerRecord
    created: bool


class Store(Protocol):
    """What the receiver asks of a store."""

    def apply(self, incoming: Sequence[Incoming]) -> list[Applied]:
        """Merge messages, in their order, and commit them together."""

    def get(self, server_id: str) -> ServerRecord | None:
        """The record of a server."""

    def page(self, *, after: str | None, limit: int) -> list[ServerRecord]:
        """At most `limit` records in the order of their `server_id`, after the one given."""

    def count(self) -> int:
        """How many servers there are."""

    def delete(self, server_id: str) -> bool:
        """Forget a server; False when there is none."""

    def close(self) -> None:
        """Let go of the database."""


class SqlStore:
    """A store in a SQL database. Opening it brings its tables up to date."""

    def __init__(self, url: URL) -> None:
        self._writing = _engine(url)
        self._reading = self._writing.execution_options(begin="BEGIN")
        with _available(), self._writing.begin() as connection:
            _migrate(connection)

    def apply(self, incoming: Sequence[Incoming]) -> list[Applied]:
        ids = {each.message.server_id for each in incoming}
        with _available(), self._writing.begin() as connection:
            records = _read(connection, ids)
            applied = [_apply(records, each) for each in incoming]
            _write(connection, records.values())
        return applied

    def get(self, server_id: str) -> ServerRecord | None:
        with _available(), self._reading.connect() as connection:
            return _read(connection, {server_id}).get(server_id)

    def page(self, *, after: str | None, limit: int) -> list[ServerRecord]:
        query = select(servers).order_by(servers.c.server_id).limit(limit)
        if after is not None:
            query = query.where(servers.c.server_id > after)
        with _available(), self._reading.connect() as connection:
            return _records(connection, query)

    def count(self) -> int:
        with _available(), self._reading.connect() as connection:
            return connection.execute(select(func.count()).select_from(servers)).scalar_one()

    def delete(self, server_id: str) -> bool:
        with _available(), self._writing.begin() as connection:
            done = connection.execute(delete(servers).where(servers.c.server_id == server_id))
        return done.rowcount == 1

    def close(self) -> None:
        self._writing.dispose()


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


def _engine(url: URL) -> Engine:
    engine = create_engine(url, connect_args={"timeout": 5.0}, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _: object) -> None:
        connection.isolation_level = None  # SQLAlchemy begins and commits, not sqlite3
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A writer takes its lock at once: what it reads is still so when it writes.
        connection.exec_driver_sql(
            connection.get_execution_options().get("begin", "BEGIN IMMEDIATE")
        )

    return engine


def _migrate(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _read(connection: Connection, ids: set[str]) -> dict[str, ServerRecord]:
    wanted = select(servers).where(servers.c.server_id.in_(ids))
    return {record.server_id: record for record in _records(connection, wanted)}


def _records(connection: Connection, query: Select[Any]) -> list[ServerRecord]:
    return [ServerRecord(**row) for row in connection.execute(query).mappings()]


def _apply(records: dict[str, ServerRecord], incoming: Incoming) -> Applied:
    message, received_at = incoming.message, incoming.received_at
    before = records.get(message.server_id)
    if isinstance(message, Registration):
        after = register(before, message, received_at=received_at)
    else:
        after = merge(before, message, received_at=received_at)
    records[message.server_id] = after

    return Applied(record=after, created=before is None)


def _write(connection: Connection, records: Iterable[ServerRecord]) -> None:
    connection.execute(_UPSERT, [asdict(record, recurse=False) for record in records])


def _upsert() -> Insert:
    statement = insert(servers)
    return statement.on_conflict_do_update(
        index_elements=[servers.c.server_id],
        set_={name: value for name, value in statement.excluded.items() if name != "server_id"},
    )


_UPSERT = _upsert()

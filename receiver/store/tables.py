"""The tables, and how the types of the contract are kept in them."""

from datetime import datetime, timedelta, timezone
from enum import Enum
from hashlib import sha256
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    DateTime,
    Dialect,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    text,
)

from contract import (
    EventKind,
    IpAddresses,
    ServerRecord,
    State,
    interval,
    structure,
    unstructure,
)
from receiver.domain.keys import KeyScope

__all__ = [
    "FACETS",
    "commits",
    "due_after",
    "events",
    "facet_value",
    "facets",
    "instant",
    "keys",
    "metadata",
    "microseconds",
    "of_life",
    "secrets",
    "servers",
    "sessions",
    "watches",
]

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)


def microseconds(moment: datetime) -> int:
    """An instant as whole microseconds since 1970."""
    return (moment - _EPOCH) // _MICROSECOND


def instant(since_1970: int) -> datetime:
    """An instant from whole microseconds since 1970."""
    return _EPOCH + timedelta(microseconds=since_1970)


def due_after(silent_since: datetime, record: ServerRecord, *, intervals: int) -> int:
    """When a server must be looked at, in microseconds: just after so many intervals of silence."""
    return microseconds(silent_since) + intervals * (interval(record) // _MICROSECOND) + 1


class Moment(TypeDecorator[datetime]):
    """An instant, kept as whole microseconds since 1970: exact, sortable, the same everywhere."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _: Dialect) -> int | None:
        return None if value is None else microseconds(value)

    def process_result_value(self, value: int | None, _: Dialect) -> datetime | None:
        return None if value is None else instant(value)


class Name(TypeDecorator[Any]):
    """A member of an enumeration, by its value."""

    impl = Text
    cache_ok = True

    def __init__(self, kind: type[Enum]) -> None:
        self.kind = kind
        super().__init__()

    def process_bind_param(self, value: Any, _: Dialect) -> str | None:
        return None if value is None else self.kind(value).value

    def process_result_value(self, value: str | None, _: Dialect) -> Any:
        return None if value is None else self.kind(value)


class Json(TypeDecorator[Any]):
    """A class of the contract in its wire form; SQL NULL when it is unknown."""

    impl = JSON
    cache_ok = True

    def __init__(self, kind: Any) -> None:
        self.kind = kind
        super().__init__(none_as_null=True)

    def process_bind_param(self, value: Any, _: Dialect) -> Any:
        return unstructure(value)

    def process_result_value(self, value: Any, _: Dialect) -> Any:
        return None if value is None else structure(value, self.kind)


Key = Text().with_variant(Text(collation="C"), "postgresql")
"""Text that sorts by its code points, on every database."""

metadata = MetaData(
    naming_convention={"pk": "pk_%(table_name)s", "ix": "ix_%(table_name)s_%(column_0_N_name)s"}
)

servers = Table(
    "servers",
    metadata,
    Column("server_id", Key, primary_key=True),
    Column("hostname", Text),
    Column("ip_addresses", Json(IpAddresses)),
    Column("port", Integer),
    Column("transport", Text),
    Column("version", Text),
    Column("odoo_version", Text),
    Column("database", Text),
    Column("capabilities", Json(tuple[str, ...])),
    Column("odoo_stage", Text),
    Column("database_uuid", Text),
    Column("endpoint_url", Text),
    Column("heartbeat_interval_seconds", Double),
    Column("started_at", Moment),
    Column("status", Text),
    Column("timestamp", Moment),
    Column("uptime_seconds", Double),
    Column("first_seen", Moment, nullable=False),
    Column("registered_at", Moment),
    Column("last_seen", Moment, nullable=False),
    Column("heartbeat_count", BigInteger, nullable=False),
    Column("state", Name(State), nullable=False),
    Column("state_since", Moment, nullable=False),
    Column("superseded_by", Key),
    Column("twin_of", Key),
    Column("revision", BigInteger, nullable=False),
    Column("due_at", BigInteger),
    Column("owner", Text),
    Index("ix_servers_due_at", "due_at"),
    Index("ix_servers_first_seen_server_id", "first_seen", "server_id"),
)
"""
One row per server: the fields of `contract.ServerRecord`, a `revision`, `due_at` and `owner`.

Each write raises the revision, and a new row begins with the time in microseconds, so
that the same server and revision mean the same row, also when one was deleted and made
anew, unless all of that happened to fall on one microsecond.

A server is looked at again at `due_at`, in microseconds since 1970, or never. A heartbeat
leaves it as it is: it may be too early, and is put off when its time has come.

The owner is the id of the key that it belongs to; NULL when it was never written with one.
"""

Index(
    "ix_servers_listed",
    servers.c.server_id,
    sqlite_where=servers.c.superseded_by.is_(None),
    postgresql_where=servers.c.superseded_by.is_(None),
)
Index(
    "ix_servers_superseded_by",
    servers.c.superseded_by,
    sqlite_where=servers.c.superseded_by.is_not(None),
    postgresql_where=servers.c.superseded_by.is_not(None),
)

Index(
    "ix_servers_owner",
    servers.c.owner,
    sqlite_where=servers.c.owner.is_not(None),
    postgresql_where=servers.c.owner.is_not(None),
)

facets = Table(
    "facets",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, primary_key=True),
    Column("server_id", Key, primary_key=True),
    sqlite_with_rowid=False,
)
"""
What a list of servers is filtered by: the records turned round.

A row for each field of `FACETS` that is known, for each capability, and for the state, which
is `superseded` when it is. Of those that are not, the `database_uuid` is here too, and the
`standing`: the state, a slash, and the stage.
"""

FACETS = {
    "database": "database",
    "superseded_by": "superseded_by",
    "odoo_version": "odoo_version",
    "stage": "odoo_stage",
    "version": "version",
}
"""The name of a facet, and the field that it is."""


def facet_value(text: str) -> str:
    """A text as it is kept in `facets`: a long one, which no index holds, by its digest."""
    if len(text) <= 200 and not text.startswith(_DIGEST):
        return text
    return _DIGEST + sha256(text.encode()).hexdigest()


_DIGEST = "sha256:"

events = Table(
    "events",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("at", Moment, nullable=False),
    Column("kind", Name(EventKind), nullable=False),
    Column("server_id", Key),
    Column("details", JSON, nullable=False),
    Index("ix_events_at", "at"),
    Index("ix_events_kind_id", "kind", "id"),
    Index("ix_events_server_id_id", "server_id", "id"),
    sqlite_autoincrement=True,
)
"""What happened, in the order in which it was committed."""

# In words that no other index has: SQLite would take that of the kinds, and read all servers.
of_life = text("kind || '' IN ('late', 'down', 'recovered', 'rebuilt')")
"""Whether an event tells in which state a server is from then on."""

Index(
    "ix_events_of_life",
    events.c.server_id,
    events.c.id,
    events.c.at,
    events.c.kind,
    sqlite_where=of_life,
    postgresql_where=of_life,
)

watches = Table(
    "watches",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("heard_since", Moment, nullable=False),
    Column("seen_at", Moment, nullable=False),
)
"""One row: since when the receivers listen without a pause, and that they still did lately."""

commits = Table(
    "commits",
    metadata,
    Column("writer", Text, primary_key=True),
    Column("batch", BigInteger, nullable=False),
    Column("committed_at", DateTime(timezone=True), nullable=False),
)
"""The last batch that each writer committed, for one whose connection broke meanwhile."""

keys = Table(
    "keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("scope", Name(KeyScope), nullable=False),
    Column("servers", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("expires_at", Moment),
    Column("revoked_at", Moment),
    Column("last_used_at", Moment),
    Column("messages", BigInteger, nullable=False),
)
"""`receiver.domain.keys.Key`, a row each. None is ever deleted: who owns a server stays known."""

sessions = Table(
    "sessions",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("key_id", Text, nullable=False),
    Column("key_digest", LargeBinary, nullable=False),
    Column("expires_at", Moment, nullable=False),
    Index("ix_sessions_expires_at", "expires_at"),
)
"""
Who is signed in: SHA-256 of what a browser was given, and the key that it was given for.

The digest of the key is that of when it was used to sign in: a key that is rotated ends its
sessions.
"""

secrets = Table(
    "secrets",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", LargeBinary, nullable=False),
)
"""What the receivers of one database sign with, made by the first of them."""

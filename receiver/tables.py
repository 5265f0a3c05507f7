"""The tables, and how the types of the contract are kept in them."""

from datetime import datetime, timedelta, timezone
from hashlib import sha256
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    DateTime,
    Dialect,
    Double,
    Integer,
    MetaData,
    Table,
    Text,
    TypeDecorator,
)

from contract import IpAddresses, structure, unstructure

__all__ = ["FACETS", "commits", "facet_value", "facets", "metadata", "microseconds", "servers"]

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)


def microseconds(moment: datetime) -> int:
    """An instant as whole microseconds since 1970."""
    return (moment - _EPOCH) // _MICROSECOND


class Moment(TypeDecorator[datetime]):
    """An instant, kept as whole microseconds since 1970: exact, sortable, the same everywhere."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _: Dialect) -> int | None:
        return None if value is None else microseconds(value)

    def process_result_value(self, value: int | None, _: Dialect) -> datetime | None:
        return None if value is None else _EPOCH + timedelta(microseconds=value)


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
    Column("revision", BigInteger, nullable=False),
)
"""
One row per server: the fields of `contract.ServerRecord`, and a `revision`.

Each write raises the revision, and a new row begins with the time in microseconds, so
that the same server and revision mean the same row, also when one was deleted and made
anew, unless all of that happened to fall on one microsecond.
"""

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

A row for each field of `FACETS` that is known, and for each capability.
"""

FACETS = {
    "database": "database",
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

commits = Table(
    "commits",
    metadata,
    Column("writer", Text, primary_key=True),
    Column("batch", BigInteger, nullable=False),
    Column("committed_at", DateTime(timezone=True), nullable=False),
)
"""The last batch that each writer committed, for one whose connection broke meanwhile."""

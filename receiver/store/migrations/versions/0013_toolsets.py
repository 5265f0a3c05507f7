"""Index each set of tool names once, and no longer each name for each server."""

from collections.abc import Iterable
from hashlib import sha256

import orjson
import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0013"
down_revision = "0010"


def upgrade() -> None:
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    op.add_column("servers", sa.Column("toolset", sa.BigInteger))
    id_type = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    columns = [sa.Column("id", id_type, primary_key=True, autoincrement=False)]
    if is_postgresql:
        columns.append(sa.Column("tokens", postgresql.ARRAY(sa.BigInteger), nullable=False))
    op.create_table("toolsets", *columns)
    if is_postgresql:
        op.create_index("ix_toolsets_tokens", "toolsets", ["tokens"], postgresql_using="gin")
    else:
        op.execute(
            "CREATE VIRTUAL TABLE toolset_tokens USING fts5("
            "tokens, content = '', columnsize = 0, detail = 'none', tokenize = 'ascii')"
        )
    _move(is_postgresql=is_postgresql)
    known = sa.text("toolset IS NOT NULL")
    op.create_index(
        "ix_servers_toolset",
        "servers",
        ["toolset", "server_id", "superseded_by", "node_of", "state"],
        sqlite_where=known,
        postgresql_where=known,
    )
    op.execute("DELETE FROM facets WHERE name = 'capability'")


def _move(*, is_postgresql: bool) -> None:
    """Write the sets of all servers, a thousand servers at a time."""
    connection = op.get_bind()
    written: set[int] = set()
    after = ""
    while rows := connection.execute(_NEXT, {"after": after}).all():
        after = rows[-1].server_id
        given = []
        for server_id, names in rows:
            if not names:
                continue
            number = _hash(orjson.dumps(sorted({*names})))
            given.append({"key": server_id, "number": number})
            if number not in written:
                written.add(number)
                _add(connection, number, names, is_postgresql=is_postgresql)
        if given:
            connection.execute(_GIVE, given)


def _add(
    connection: sa.Connection, number: int, names: Iterable[str], *, is_postgresql: bool
) -> None:
    tokens = sorted({_hash(name.encode()) for name in names})
    if is_postgresql:
        connection.execute(_ADD, {"number": number, "tokens": tokens})
        return
    connection.execute(sa.text("INSERT INTO toolsets (id) VALUES (:number)"), {"number": number})
    text = " ".join(f"{each:016x}" for each in tokens)
    connection.execute(_ADD_TOKENS, {"number": number, "text": text})


def _hash(data: bytes) -> int:
    return int.from_bytes(sha256(data).digest()[:8], "big") >> 1


_servers = sa.table(
    "servers",
    sa.column("server_id", sa.Text),
    sa.column("capabilities", sa.JSON),
    sa.column("toolset", sa.BigInteger),
)
_NEXT = (
    sa.select(_servers.c.server_id, _servers.c.capabilities)
    .where(_servers.c.server_id > sa.bindparam("after"))
    .order_by(_servers.c.server_id)
    .limit(1_000)
)
_GIVE = (
    sa.update(_servers)
    .where(_servers.c.server_id == sa.bindparam("key"))
    .values(toolset=sa.bindparam("number"))
)
_ADD = sa.text("INSERT INTO toolsets (id, tokens) VALUES (:number, :tokens)").bindparams(
    sa.bindparam("tokens", type_=postgresql.ARRAY(sa.BigInteger))
)
_ADD_TOKENS = sa.text("INSERT INTO toolset_tokens (rowid, tokens) VALUES (:number, :text)")

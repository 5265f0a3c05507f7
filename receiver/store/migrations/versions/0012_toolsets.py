"""Index each set of tool names once, and no longer each name for each server."""

import re
from collections.abc import Iterable
from hashlib import sha256

import orjson
import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    op.add_column("servers", sa.Column("toolset", sa.BigInteger))
    id_type = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    columns = [sa.Column("id", id_type, primary_key=True, autoincrement=False)]
    if is_postgresql:
        columns.append(sa.Column("hashes", postgresql.ARRAY(sa.BigInteger), nullable=False))
    op.create_table("toolsets", *columns)
    if is_postgresql:
        # Without a list of pending entries, which takes four times the room.
        op.execute(
            "CREATE INDEX ix_toolsets_hashes ON toolsets USING gin (hashes) WITH (fastupdate = off)"
        )
    else:
        op.execute(
            "CREATE VIRTUAL TABLE toolset_words USING fts5(words, content = '', columnsize = 0, "
            "detail = 'none', tokenize = \"ascii tokenchars '_='\")"
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
    if is_postgresql:
        hashes = sorted({_hash(name.encode()) for name in names})
        connection.execute(_ADD, {"number": number, "hashes": hashes})
        return
    connection.execute(sa.text("INSERT INTO toolsets (id) VALUES (:number)"), {"number": number})
    words = {name if _is_word(name) else f"={_hash(name.encode()):x}" for name in names}
    connection.execute(_ADD_WORDS, {"number": number, "words": " ".join(sorted(words))})


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
_ADD = sa.text("INSERT INTO toolsets (id, hashes) VALUES (:number, :hashes)").bindparams(
    sa.bindparam("hashes", type_=postgresql.ARRAY(sa.BigInteger))
)
_ADD_WORDS = sa.text("INSERT INTO toolset_words (rowid, words) VALUES (:number, :words)")
_is_word = re.compile(r"[a-z0-9_]{1,64}").fullmatch

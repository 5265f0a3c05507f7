"""Move what each heartbeat writes, and each check for silence, out of the wide rows of servers."""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"

KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
MOVED = {
    "sequence": sa.Column("sequence", sa.BigInteger),
    "timestamp": sa.Column("timestamp", sa.BigInteger),
    "uptime_seconds": sa.Column("uptime_seconds", sa.Double),
    "last_seen": sa.Column("last_seen", sa.BigInteger, nullable=False),
    "heartbeat_count": sa.Column("heartbeat_count", sa.BigInteger, nullable=False),
    "revision": sa.Column("revision", sa.BigInteger, nullable=False),
    "due_at": sa.Column("due_at", sa.BigInteger),
    "mark_at": sa.Column("mark_at", sa.BigInteger),
    "mark_heartbeats": sa.Column("mark_heartbeats", sa.BigInteger),
    "mark_sequence": sa.Column("mark_sequence", sa.BigInteger),
}
NAMES = ", ".join(f'"{name}"' for name in MOVED)


def upgrade() -> None:
    connection = op.get_bind()
    is_postgresql = connection.dialect.name == "postgresql"
    if is_postgresql:
        # A receiver of the version before may be writing heartbeats: those that it commits before
        # the lock is there are copied, and it commits none afterwards.
        op.execute("LOCK TABLE servers IN ACCESS EXCLUSIVE MODE")
    op.create_table(
        "liveness",
        sa.Column("server_id", KEY, primary_key=True),
        *MOVED.values(),
        sqlite_with_rowid=False,
        postgresql_with={"fillfactor": 50},
    )
    op.execute(
        f"INSERT INTO liveness (server_id, {NAMES}) "  # noqa: S608 - constants
        f"SELECT server_id, {NAMES} FROM servers ORDER BY server_id"
    )
    op.create_index("ix_liveness_due_at", "liveness", ["due_at"])
    if is_postgresql:
        op.execute(f"ALTER TABLE servers {', '.join(f'DROP COLUMN {name}' for name in MOVED)}")
        op.execute("ANALYZE liveness")  # not known otherwise until autovacuum comes
    else:
        _drop_by_a_copy(connection)


def _drop_by_a_copy(connection: sa.Connection) -> None:
    """Drop the columns from `servers` in SQLite, which writes all rows anew for each of them."""
    described = connection.execute(sa.text("PRAGMA table_info(servers)")).mappings().all()
    kept = [each for each in described if each["name"] not in MOVED]
    indexes = connection.execute(sa.text(_INDEXES)).scalars().all()
    definitions = ", ".join(
        f'"{each["name"]}" {each["type"]}'
        + " NOT NULL" * each["notnull"]
        + (f" DEFAULT {each['dflt_value']}" if each["dflt_value"] is not None else "")
        for each in kept
    )
    names = ", ".join(f'"{each["name"]}"' for each in kept)
    for statement in (
        f"CREATE TABLE kept ({definitions}, CONSTRAINT pk_servers PRIMARY KEY (server_id))",
        f"INSERT INTO kept ({names}) SELECT {names} FROM servers",  # noqa: S608 - names of columns
        "DROP TABLE servers",
        "ALTER TABLE kept RENAME TO servers",
        *indexes,
    ):
        connection.exec_driver_sql(statement)


_INDEXES = (
    "SELECT sql FROM sqlite_schema WHERE type = 'index' AND tbl_name = 'servers' "
    "AND sql IS NOT NULL AND name <> 'ix_servers_due_at'"
)

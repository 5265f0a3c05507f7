"""Add the states of servers, and create the tables of events and of the watchdog."""

from hashlib import sha256

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    with op.batch_alter_table("servers") as table:
        table.add_column(sa.Column("state", sa.Text, nullable=False, server_default="new"))
        table.add_column(
            sa.Column("state_since", sa.BigInteger, nullable=False, server_default="0")
        )
        table.add_column(sa.Column("superseded_by", KEY))
        table.add_column(sa.Column("twin_of", KEY))
        table.add_column(sa.Column("due_at", sa.BigInteger))
    # With `due_at` in the past, the watchdog checks every server; it gives each of them the time
    # to send a heartbeat first.
    op.execute("UPDATE servers SET state_since = last_seen, due_at = last_seen")
    op.execute("UPDATE servers SET state = 'up' WHERE heartbeat_count > 0")
    _index_servers()

    listed = sa.text("superseded_by IS NULL")
    op.create_index("ix_servers_due_at", "servers", ["due_at"])
    op.create_index("ix_servers_first_seen_server_id", "servers", ["first_seen", "server_id"])
    op.create_index(
        "ix_servers_listed",
        "servers",
        ["server_id"],
        sqlite_where=listed,
        postgresql_where=listed,
    )
    _create_events()
    _create_watches()


def _create_events() -> None:
    op.create_table(
        "events",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("server_id", KEY),
        sa.Column("details", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_events"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_events_at", "events", ["at"])
    op.create_index("ix_events_kind_id", "events", ["kind", "id"])
    op.create_index("ix_events_server_id_id", "events", ["server_id", "id"])


def _create_watches() -> None:
    op.create_table(
        "watches",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("heard_since", sa.BigInteger, nullable=False),
        sa.Column("seen_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_watches"),
    )


def _index_servers() -> None:
    """Add the states, stages and database UUIDs of all servers to the inverted index."""
    names = ("server_id", "state", "database_uuid", "odoo_stage")
    servers = sa.table("servers", *map(sa.column, names))
    facets = sa.table("facets", *map(sa.column, ("name", "value", "server_id")))
    rows = []
    for key, state, uuid, stage in op.get_bind().execute(sa.select(servers)).all():
        values = {"state": state, "standing": f"{state}/{_value(stage or '')}"}
        if uuid is not None:
            values["database_uuid"] = _value(uuid)
        rows += [{"name": n, "value": value, "server_id": key} for n, value in values.items()]
    if rows:
        op.bulk_insert(facets, rows)


def _value(text: str) -> str:
    if len(text) <= 200 and not text.startswith("sha256:"):
        return text
    return "sha256:" + sha256(text.encode()).hexdigest()

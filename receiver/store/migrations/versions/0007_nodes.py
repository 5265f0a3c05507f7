"""Add the columns by which servers of one database (nodes) are known, and list one per database."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    for name in ("sequence", "conflict_since", "mark_at", "mark_heartbeats", "mark_sequence"):
        op.add_column("servers", sa.Column(name, sa.BigInteger))
    for name, kind in (("node_count", sa.BigInteger), ("repeats", sa.Integer)):
        op.add_column("servers", sa.Column(name, kind, nullable=False, server_default="0"))
    op.add_column("servers", sa.Column("node_of", KEY))
    op.drop_index("ix_servers_listed", "servers")
    for name, column, where in (
        ("listed", "server_id", "superseded_by IS NULL AND node_of IS NULL AND state <> 'left'"),
        ("node_of", "node_of", "node_of IS NOT NULL"),
    ):
        condition = sa.text(where)
        op.create_index(
            f"ix_servers_{name}",
            "servers",
            [column],
            sqlite_where=condition,
            postgresql_where=condition,
        )

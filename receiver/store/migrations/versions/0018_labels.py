"""Create the table of labels and notes, and the columns of servers that lead to it."""

from hashlib import sha256

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"

KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "annotations",
        sa.Column("subject", KEY, primary_key=True),
        sa.Column("labels", sa.JSON),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("changed_at", sa.BigInteger, nullable=False),
        sa.Column("changed_by", sa.Text, nullable=False),
    )
    op.add_column("servers", sa.Column("labels", sa.JSON))
    op.add_column("servers", sa.Column("family", sa.Text))
    op.execute(
        "UPDATE servers SET family = database_uuid"
        " WHERE length(database_uuid) <= 200 AND database_uuid NOT LIKE 'sha256:%'"
    )
    _write_digests(op.get_bind())
    known = sa.text("family IS NOT NULL")
    op.create_index(
        "ix_servers_family",
        "servers",
        ["family", "server_id"],
        sqlite_where=known,
        postgresql_where=known,
    )


def _write_digests(connection: sa.Connection) -> None:
    """Write the digests of the UUIDs that are too long for an index, of which there are few."""
    found = connection.execute(
        sa.text(
            "SELECT DISTINCT database_uuid FROM servers"
            " WHERE database_uuid IS NOT NULL AND family IS NULL"
        )
    ).scalars()
    write = sa.text("UPDATE servers SET family = :family WHERE database_uuid = :uuid")
    for uuid in found.all():
        family = f"sha256:{sha256(uuid.encode()).hexdigest()}"
        connection.execute(write, {"uuid": uuid, "family": family})

"""What a list of servers is filtered by, and what each writer committed last."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")

servers = sa.table("servers", sa.column("server_id"), sa.column("capabilities", sa.JSON))


def upgrade() -> None:
    for name in ("database", "odoo_stage", "version", "odoo_version"):
        op.create_index(f"ix_servers_{name}_server_id", "servers", [name, "server_id"])

    capabilities = op.create_table(
        "capabilities",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("server_id", KEY, nullable=False),
        sa.PrimaryKeyConstraint("name", "server_id", name="pk_capabilities"),
    )
    for server_id, names in op.get_bind().execute(sa.select(servers)).all():
        rows = [{"name": name, "server_id": server_id} for name in set(names or ())]
        op.bulk_insert(capabilities, rows)

    op.create_table(
        "commits",
        sa.Column("writer", sa.Text, nullable=False),
        sa.Column("batch", sa.BigInteger, nullable=False),
        sa.Column("committed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("writer", name="pk_commits"),
    )

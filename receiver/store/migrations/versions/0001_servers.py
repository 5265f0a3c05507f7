"""Create the table of servers, with one row for each server."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "servers",
        sa.Column("server_id", KEY, nullable=False),
        sa.Column("hostname", sa.Text),
        sa.Column("ip_addresses", sa.JSON),
        sa.Column("port", sa.Integer),
        sa.Column("transport", sa.Text),
        sa.Column("version", sa.Text),
        sa.Column("odoo_version", sa.Text),
        sa.Column("database", sa.Text),
        sa.Column("capabilities", sa.JSON),
        sa.Column("odoo_stage", sa.Text),
        sa.Column("database_uuid", sa.Text),
        sa.Column("endpoint_url", sa.Text),
        sa.Column("heartbeat_interval_seconds", sa.Double),
        sa.Column("started_at", sa.BigInteger),
        sa.Column("status", sa.Text),
        sa.Column("timestamp", sa.BigInteger),
        sa.Column("uptime_seconds", sa.Double),
        sa.Column("first_seen", sa.BigInteger, nullable=False),
        sa.Column("registered_at", sa.BigInteger),
        sa.Column("last_seen", sa.BigInteger, nullable=False),
        sa.Column("heartbeat_count", sa.BigInteger, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("server_id", name="pk_servers"),
    )

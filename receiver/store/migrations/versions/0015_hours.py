"""Create the table of hours, with the number of servers by state, and of heartbeats."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    op.create_table(
        "hours",
        sa.Column("begins_at", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("counted_at", sa.BigInteger, nullable=False),
        sa.Column("minutes", sa.Integer, nullable=False),
        sa.Column("sums", sa.JSON, nullable=False),
        sa.Column("worst", sa.JSON, nullable=False),
        sa.Column("stages", sa.JSON, nullable=False),
        sa.Column("odoo_versions", sa.JSON, nullable=False),
        sa.Column("versions", sa.JSON, nullable=False),
        sa.Column("heartbeats", sa.BigInteger, nullable=False),
        sa.Column("turned_away", sa.BigInteger, nullable=False),
        sa.Column("missed", sa.Double, nullable=False),
        sqlite_with_rowid=False,
    )

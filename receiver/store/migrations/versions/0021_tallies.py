"""Keep the numbers of servers with each profile and rank, which are counted once here."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"

NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "tallies",
        sa.Column("profile", NUMBER, primary_key=True, autoincrement=False),
        sa.Column("rank", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("writer", sa.Text, primary_key=True),
        sa.Column("number", sa.Integer, nullable=False),
        sqlite_with_rowid=False,
    )
    op.execute(
        "INSERT INTO tallies (profile, rank, writer, number) "
        "SELECT profile, rank, '', count(*) FROM servers GROUP BY profile, rank"
    )

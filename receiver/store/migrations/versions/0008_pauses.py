"""Add the times in which no receiver ran, so that the silence of servers is measured over days."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.create_table(
        "pauses",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("began", sa.BigInteger, nullable=False),
        sa.Column("ended", sa.BigInteger, nullable=False),
    )
    # Nobody knows when a receiver ran before that.
    op.execute("INSERT INTO pauses (began, ended) SELECT 0, heard_since FROM watches")

"""Create the table of the times in which no receiver ran: they count as nobody's silence."""

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
    # When receivers ran before `heard_since` is not known: it counts as one pause since 1970.
    op.execute("INSERT INTO pauses (began, ended) SELECT 0, heard_since FROM watches")

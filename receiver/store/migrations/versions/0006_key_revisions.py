"""Add a revision to each key, so that receivers read only the keys that have changed."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("keys", sa.Column("revision", sa.BigInteger, nullable=False, server_default="0"))
    op.create_index("ix_keys_revision", "keys", ["revision"])
    revisions = op.create_table(
        "key_revisions",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("revision", sa.BigInteger, nullable=False),
    )
    op.bulk_insert(revisions, [{"id": 1, "revision": 0}])

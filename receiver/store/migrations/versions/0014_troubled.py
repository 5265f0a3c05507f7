"""Index the few servers that have twins or conflicts, for the page to list them first."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    for column in ("twin_of", "conflict_since"):
        is_set = sa.text(f"{column} IS NOT NULL")
        op.create_index(
            f"ix_servers_{column}",
            "servers",
            [column],
            sqlite_where=is_set,
            postgresql_where=is_set,
        )

"""Create the indexes that the query for the history of a server uses."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    superseded = sa.text("superseded_by IS NOT NULL")
    op.create_index(
        "ix_servers_superseded_by",
        "servers",
        ["superseded_by"],
        sqlite_where=superseded,
        postgresql_where=superseded,
    )
    of_life = sa.text("kind || '' IN ('late', 'down', 'recovered', 'rebuilt')")
    op.create_index(
        "ix_events_of_life",
        "events",
        ["server_id", "id", "at", "kind"],
        sqlite_where=of_life,
        postgresql_where=of_life,
    )

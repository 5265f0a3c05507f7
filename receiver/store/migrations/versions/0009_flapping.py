"""Add the columns that tell which servers flap, and their events to the index of histories."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.add_column("servers", sa.Column("flapping_since", sa.BigInteger))
    op.add_column("servers", sa.Column("turns", sa.JSON))
    flapping = sa.text("flapping_since IS NOT NULL")
    op.create_index(
        "ix_servers_flapping_since",
        "servers",
        ["flapping_since"],
        sqlite_where=flapping,
        postgresql_where=flapping,
    )
    op.drop_index("ix_events_of_life", "events")
    kinds = "'late', 'down', 'recovered', 'rebuilt', 'flapping', 'calm'"
    of_life = sa.text(f"kind || '' IN ({kinds})")
    op.create_index(
        "ix_events_of_life",
        "events",
        ["server_id", "id", "at", "kind"],
        sqlite_where=of_life,
        postgresql_where=of_life,
    )

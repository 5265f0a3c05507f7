"""Let indexes of servers say what `facets` said of states and databases; leave room in pages."""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    op.execute("DELETE FROM facets WHERE name NOT IN ('database', 'label')")
    known = sa.text("family IS NOT NULL")
    op.drop_index("ix_servers_family", "servers")
    op.create_index(
        "ix_servers_family",
        "servers",
        ["family", "superseded_by", "server_id"],
        sqlite_where=known,
        postgresql_where=known,
    )
    if op.get_bind().dialect.name == "postgresql":
        # For rows that are written from now on; others make room when they are next updated.
        op.execute("ALTER TABLE servers SET (fillfactor = 50)")

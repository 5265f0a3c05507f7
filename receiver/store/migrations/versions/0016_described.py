"""Add an index that counts the servers in lists by the description of their tools."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    listed = "superseded_by IS NULL AND node_of IS NULL AND state <> 'left'"
    described = sa.text(f"catalogue IS NOT NULL AND {listed}")
    op.create_index(
        "ix_servers_described",
        "servers",
        ["catalogue", "server_id"],
        sqlite_where=described,
        postgresql_where=described,
    )

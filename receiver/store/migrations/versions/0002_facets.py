"""Create the inverted index of servers, `facets`, and `commits`: each writer's last commit."""

from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
FIELDS = {
    "database": "database",
    "odoo_version": "odoo_version",
    "stage": "odoo_stage",
    "version": "version",
}


def upgrade() -> None:
    facets = op.create_table(
        "facets",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.Column("server_id", KEY, nullable=False),
        sa.PrimaryKeyConstraint("name", "value", "server_id", name="pk_facets"),
        sqlite_with_rowid=False,
    )
    servers = sa.table(
        "servers",
        *map(sa.column, ("server_id", *FIELDS.values())),
        sa.column("capabilities", sa.JSON),
    )
    for row in op.get_bind().execute(sa.select(servers)).mappings().all():
        op.bulk_insert(facets, list(_facets(dict(row))))

    op.create_table(
        "commits",
        sa.Column("writer", sa.Text, nullable=False),
        sa.Column("batch", sa.BigInteger, nullable=False),
        sa.Column("committed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("writer", name="pk_commits"),
    )


def _facets(row: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    known = {(name, row[field]) for name, field in FIELDS.items() if row[field] is not None}
    able = {("capability", name) for name in row["capabilities"] or ()}
    for name, value in known | able:
        yield {"name": name, "value": _value(value), "server_id": row["server_id"]}


def _value(text: str) -> str:
    if len(text) <= 200 and not text.startswith("sha256:"):
        return text
    return "sha256:" + sha256(text.encode()).hexdigest()

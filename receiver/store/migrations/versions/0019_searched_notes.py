"""Give the labels and the note of each database a text in which words are searched."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    op.add_column(
        "annotations", sa.Column("search_text", sa.Text, nullable=False, server_default="")
    )
    connection = op.get_bind()
    after = ""
    while rows := connection.execute(_NEXT, {"after": after}).all():
        after = rows[-1].subject
        connection.execute(_WRITE, [{"key": row.subject, "text": _text(row)} for row in rows])


def _text(row: sa.Row[tuple[str, list[str] | None, str]]) -> str:
    return "\n".join((*(row.labels or ()), row.note)).casefold()


_annotations = sa.table(
    "annotations", sa.column("subject"), sa.column("labels", sa.JSON), sa.column("note")
)
_NEXT = (
    sa.select(_annotations)
    .where(_annotations.c.subject > sa.bindparam("after"))
    .order_by(_annotations.c.subject)
    .limit(1_000)
)
_WRITE = sa.text("UPDATE annotations SET search_text = :text WHERE subject = :key")

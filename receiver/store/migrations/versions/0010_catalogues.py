"""Add the descriptions of tools, which are searched by words, and which server has which."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    for name in ("tools_digest", "catalogue"):
        op.add_column("servers", sa.Column(name, sa.Text))
    known = sa.text("catalogue IS NOT NULL")
    op.create_index(
        "ix_servers_catalogue",
        "servers",
        ["catalogue"],
        sqlite_where=known,
        postgresql_where=known,
    )
    op.create_table(
        "catalogues",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("tools", sa.JSON, nullable=False),
        sa.Column("words", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_catalogues_id", "catalogues", ["id"], unique=True)
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "CREATE INDEX ix_catalogues_words ON catalogues USING gin (string_to_array(words, ' '))"
        )
    else:
        for statement in _FULL_TEXT:
            op.execute(statement)


# The table of words holds no copy of them, so the triggers must say which ones go.
_FULL_TEXT = (
    """
    CREATE VIRTUAL TABLE catalogue_words USING fts5(
        words, content = 'catalogues', content_rowid = 'number', detail = 'none'
    )
    """,
    """
    CREATE TRIGGER catalogues_inserted AFTER INSERT ON catalogues BEGIN
        INSERT INTO catalogue_words (rowid, words) VALUES (new.number, new.words);
    END
    """,
    """
    CREATE TRIGGER catalogues_deleted AFTER DELETE ON catalogues BEGIN
        INSERT INTO catalogue_words (catalogue_words, rowid, words)
        VALUES ('delete', old.number, old.words);
    END
    """,
)

"""Create the tables of alerts; no alarm begins by an event that happened before."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"

KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.add_column("watches", sa.Column("away_since", sa.BigInteger))
    _create_rules()
    _create_alarms()
    _create_deliveries()
    op.create_table(
        "alert_progress",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("event_id", sa.BigInteger, nullable=False),
        sa.Column("event_at", sa.BigInteger),
        sa.Column("pause_ended", sa.BigInteger),
        sa.Column("look_at", sa.BigInteger, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
    )
    op.execute(
        "INSERT INTO alert_progress (id, event_id, event_at, pause_ended, look_at, revision)"
        " SELECT 1, coalesce(max(id), 0), (SELECT at FROM events ORDER BY id DESC LIMIT 1),"
        " (SELECT heard_since FROM watches), 0, 0 FROM events"
    )


def _create_rules() -> None:
    op.create_table(
        "alert_channels",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("address", sa.LargeBinary, nullable=False),
        sa.Column("service", sa.Text, nullable=False),
        sa.Column("per_hour", sa.Integer, nullable=False),
        sa.Column("report_at", sa.Text),
        sa.Column("time_zone", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("reported_at", sa.BigInteger),
    )
    op.create_table(
        "alert_rules",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("query", sa.Text, nullable=False),
        sa.Column("kinds", sa.JSON, nullable=False),
        sa.Column("after_seconds", sa.BigInteger, nullable=False),
        sa.Column("channel_id", sa.Text, nullable=False),
        sa.Column("remind_seconds", sa.BigInteger),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "silences",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("query", sa.Text, nullable=False),
        sa.Column("server_id", KEY),
        sa.Column("begins_at", sa.BigInteger, nullable=False),
        sa.Column("ends_at", sa.BigInteger),
        sa.Column("cron", sa.Text),
        sa.Column("duration_seconds", sa.BigInteger),
        sa.Column("time_zone", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("author", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_silences_ends_at", "silences", ["ends_at"])


def _create_alarms() -> None:
    op.create_table(
        "alarms",
        sa.Column("id", NUMBER, primary_key=True),
        sa.Column("rule_id", sa.Text, nullable=False),
        sa.Column("channel_id", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("server_id", KEY),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("event_id", sa.BigInteger),
        sa.Column("begun_at", sa.BigInteger, nullable=False),
        sa.Column("due_at", sa.BigInteger),
        sa.Column("told_at", sa.BigInteger),
        sa.Column("reminded_at", sa.BigInteger),
        sa.Column("acknowledged_at", sa.BigInteger),
        sa.Column("acknowledged_by", sa.Text),
        sa.Column("silenced_by", sa.Text),
        sa.Column("part_of", sa.BigInteger),
        sa.Column("ended_at", sa.BigInteger),
        sa.Column("ending", sa.Text),
        sa.Column("known", sa.JSON, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_alarms_server_id_id", "alarms", ["server_id", "id"])
    op.create_index("ix_alarms_begun_at", "alarms", ["begun_at"])
    op.create_index("ix_alarms_ended_at", "alarms", ["ended_at"])
    op.create_index("ix_alarms_rule_id", "alarms", ["rule_id"])
    unfinished = sa.text("(ended_at IS NULL OR due_at IS NOT NULL)")
    op.create_index(
        "ix_alarms_unfinished",
        "alarms",
        ["id"],
        sqlite_where=unfinished,
        postgresql_where=unfinished,
    )


def _create_deliveries() -> None:
    op.create_table(
        "deliveries",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("channel_id", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("thread", sa.Text, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("body", sa.JSON, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("next_at", sa.BigInteger),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("sent_at", sa.BigInteger),
        sa.Column("given_up_at", sa.BigInteger),
        sa.Column("error", sa.Text),
        sa.Column("leased_by", sa.Text),
        sa.Column("leased_until", sa.BigInteger),
    )
    columns = ["channel_id", "created_at"]
    op.create_index("ix_deliveries_channel_id_created_at", "deliveries", columns)
    for name in ("created_at", "given_up_at", "next_at"):
        op.create_index(f"ix_deliveries_{name}", "deliveries", [name])

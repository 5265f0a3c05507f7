"""The tables of alerts."""

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Dialect,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    TypeDecorator,
    text,
)

from receiver.domain.alerts.values import ChannelKind, DeliveryKind
from receiver.store.tables import Key, Member, Moment, metadata

__all__ = [
    "alarms",
    "alert_progress",
    "channels",
    "deliveries",
    "is_unfinished",
    "rules",
    "silences",
]


class Id(TypeDecorator[str]):
    """
    An id, for which a request may give any text.

    PostgreSQL refuses a parameter with a NUL, so another character is put in its place. As no id
    has a NUL, such a parameter must find nothing, and it does.
    """

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, _: Dialect) -> str | None:
        return None if value is None else value.replace("\x00", "\N{REPLACEMENT CHARACTER}")


_number = BigInteger().with_variant(Integer, "sqlite")

channels = Table(
    "alert_channels",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", Text, nullable=False),
    Column("kind", Member(ChannelKind), nullable=False),
    Column("address", LargeBinary, nullable=False),
    Column("service", Text, nullable=False),
    Column("per_hour", Integer, nullable=False),
    Column("report_at", Text),
    Column("time_zone", Text, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("reported_at", Moment),
)
"""A row for each `receiver.domain.alerts.values.Channel`: a place where messages are sent."""

rules = Table(
    "alert_rules",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", Text, nullable=False),
    Column("query", Text, nullable=False),
    Column("kinds", JSON, nullable=False),
    Column("after_seconds", BigInteger, nullable=False),
    Column("channel_id", Id, nullable=False),
    Column("remind_seconds", BigInteger),
    Column("created_at", Moment, nullable=False),
    Column("standing_after", Key),
)
"""
A row for each `receiver.domain.alerts.values.Rule`; `kinds` is a sorted list.

`standing_after`: How far the servers were looked at with which something was wrong already when the
rule was made or changed: the id of the last one, "" if none was, NULL when all were.
"""

silences = Table(
    "silences",
    metadata,
    Column("id", Id, primary_key=True),
    Column("query", Text, nullable=False),
    Column("server_id", Key),
    Column("begins_at", Moment, nullable=False),
    Column("ends_at", Moment),
    Column("cron", Text),
    Column("duration_seconds", BigInteger),
    Column("time_zone", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("author", Text, nullable=False),
    Column("created_at", Moment, nullable=False),
    Index("ix_silences_ends_at", "ends_at"),
)
"""A row for each `receiver.domain.alerts.values.Silence`."""

alarms = Table(
    "alarms",
    metadata,
    Column("id", _number, primary_key=True),
    Column("rule_id", Id, nullable=False),
    Column("channel_id", Id, nullable=False),
    Column("kind", Text, nullable=False),
    Column("server_id", Key),
    Column("subject", Text, nullable=False),
    Column("event_id", BigInteger),
    Column("begun_at", Moment, nullable=False),
    Column("due_at", Moment),
    Column("told_at", Moment),
    Column("reminded_at", Moment),
    Column("acknowledged_at", Moment),
    Column("acknowledged_by", Text),
    Column("silenced_by", Text),
    Column("part_of", BigInteger),
    Column("ended_at", Moment),
    Column("ending", Text),
    Column("known", JSON, nullable=False),
    Index("ix_alarms_server_id_id", "server_id", "id"),
    Index("ix_alarms_begun_at", "begun_at"),
    Index("ix_alarms_ended_at", "ended_at"),
    Index("ix_alarms_rule_id", "rule_id"),
    sqlite_autoincrement=True,
)
"""
A row for each `receiver.domain.alerts.values.Alarm`.

Those that have ended are deleted when the events of the time at which they ended are deleted.
"""

is_unfinished = text("(ended_at IS NULL OR due_at IS NOT NULL)")
"""The condition that an alarm has not ended, or a message about it is still to be made."""

Index(
    "ix_alarms_unfinished",
    alarms.c.id,
    sqlite_where=is_unfinished,
    postgresql_where=is_unfinished,
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", Id, primary_key=True),
    Column("channel_id", Id, nullable=False),
    Column("kind", Member(DeliveryKind), nullable=False),
    Column("thread", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("body", JSON, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("next_at", Moment),
    Column("attempts", Integer, nullable=False),
    Column("sent_at", Moment),
    Column("given_up_at", Moment),
    Column("error", Text),
    Column("leased_by", Text),
    Column("leased_until", Moment),
    Index("ix_deliveries_channel_id_created_at", "channel_id", "created_at"),
    Index("ix_deliveries_created_at", "created_at"),
    Index("ix_deliveries_given_up_at", "given_up_at"),
    Index("ix_deliveries_next_at", "next_at"),
)
"""
The outbox: a row for each message (`receiver.domain.alerts.values.Delivery`).

`leased_by`, `leased_until`: The receiver that is sending the message, and until when no other
receiver takes it over; NULL if nobody is sending it.
"""

alert_progress = Table(
    "alert_progress",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("event_id", BigInteger, nullable=False),
    Column("event_at", Moment),
    Column("pause_ended", Moment),
    Column("look_at", Moment, nullable=False),
    Column("revision", BigInteger, nullable=False),
)
"""
One row: how far the events were looked at, to begin and end alarms.

`event_id`, `event_at`: The number and the time of the last event that was looked at; 0 and NULL if
there is none. An older copy of the database lacks the event, or has one with another time under its
number, so that receivers notice the copy.

`pause_ended`: The end of the last interruption of the receivers that was looked at: the value that
`watches.heard_since` had; NULL if there is none.

`look_at`: When to look again, even if there are no new events.

`revision`: Every transaction that changes channels, rules, silences or alarms raises it. So a
receiver that wants to write a decision on alarms notices that it must decide anew.
"""

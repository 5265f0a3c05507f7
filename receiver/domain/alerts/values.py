"""
The values of alerts: channels, rules, silences, alarms and deliveries.

A rule says which events of which servers are told, and where. An event that a rule matches begins
an alarm. An alarm is told through the channel of its rule, once; again as a reminder, if the rule
has those; and once more when it ends. Each of these messages is a delivery, which waits in the
database until a receiver has sent it.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from attrs import field, frozen

from contract import EventKind

__all__ = [
    "AWAY",
    "KEY_EXPIRES",
    "LASTING",
    "TELLABLE",
    "Alarm",
    "Channel",
    "ChannelKind",
    "Delivery",
    "DeliveryKind",
    "Rule",
    "Silence",
]

KEY_EXPIRES = "key_expires"
"""The kind of an alarm that an API key expires within two weeks."""

AWAY = "receiver_away"
"""The kind of an alarm that no receiver was running for a time; it is told afterwards."""

LASTING = frozenset(
    {
        EventKind.LATE.value,
        EventKind.DOWN.value,
        EventKind.TWIN.value,
        EventKind.CONFLICT.value,
        EventKind.FLAPPING.value,
        EventKind.FLEET_SILENT.value,
        KEY_EXPIRES,
    }
)
"""The kinds of alarms that last until they end. All other kinds are told once, and are over."""

TELLABLE = frozenset({kind.value for kind in EventKind} | {KEY_EXPIRES, AWAY})
"""The kinds of alarms that a rule may name: all kinds of events, and two of their own."""


class ChannelKind(str, Enum):
    """How a channel delivers messages."""

    WEBHOOK = "webhook"
    """An HTTP POST with JSON, signed as Standard Webhooks asks."""

    APPRISE = "apprise"
    """One of the services that the library Apprise knows, such as e-mail or a chat."""


@frozen(kw_only=True)
class Channel:
    """
    A place to which messages are delivered.

    Attributes:
        id: A random text that is part of the channel's paths.
        name: What people call the channel.
        kind: How messages are delivered.
        address: The encrypted address: a URL with its secrets, which nobody is shown.
        service: What may be shown of the address: the service, such as `mailtos`, or of a webhook
            the host.
        per_hour: How many messages are delivered within an hour at most; further alarms wait, and
            are then told in one message.
        report_at: When a report of the last week is sent, as a cron expression such as `0 8 * * 1`;
            None for no report.
        time_zone: The IANA time zone of `report_at` and of the times in messages.
        created_at: When the channel was made.
        reported_at: When the last report was sent; None if there was none.
    """

    id: str
    name: str
    kind: ChannelKind
    address: bytes = field(repr=False)
    service: str
    per_hour: int
    report_at: str | None
    time_zone: str
    created_at: datetime
    reported_at: datetime | None = None


@frozen(kw_only=True)
class Rule:
    """
    Which events are told, of which servers, and where.

    Attributes:
        id: A random text that is part of the rule's path.
        name: What people call the rule.
        query: Which servers, as the text of a filter such as `stage:production state:down`; the
            empty text for all.
        kinds: Which kinds of alarms, of `TELLABLE`.
        after: How long a lasting alarm must have lasted before it is told.
        channel_id: The channel through which it is told.
        remind_every: How often a lasting alarm is told again; None for never.
        created_at: When the rule was made.
    """

    id: str
    name: str
    query: str
    kinds: frozenset[str]
    after: timedelta
    channel_id: str
    remind_every: timedelta | None
    created_at: datetime


@frozen(kw_only=True)
class Silence:
    """
    A time in which alarms of some servers are not told.

    Without `cron` it is one time, from `begins_at` to `ends_at`. With `cron` it begins again each
    time that the expression says, between `begins_at` and `ends_at`, and lasts for `duration`.

    Attributes:
        id: A random text that is part of the silence's path.
        query: Which servers, as the text of a filter; the empty text for all.
        server_id: The only server that is meant; None if `query` says which.
        begins_at: The beginning.
        ends_at: The end; None for no end, which only a silence with `cron` may have.
        cron: When each time begins, as a cron expression in `time_zone`; None for a single time.
        duration: How long each time lasts; None for a single time.
        time_zone: The IANA time zone of `cron`.
        reason: Why, for people.
        author: The name of the key that made it.
        created_at: When it was made.
    """

    id: str
    query: str
    server_id: str | None
    begins_at: datetime
    ends_at: datetime | None
    cron: str | None
    duration: timedelta | None
    time_zone: str
    reason: str
    author: str
    created_at: datetime


@frozen(kw_only=True)
class Alarm:
    """
    A rule that matched an event, from the event until the alarm is over.

    Attributes:
        id: A number that rises; 0 before the alarm is stored.
        rule_id: The rule.
        channel_id: The channel of the rule.
        kind: One of `TELLABLE`.
        server_id: The server that the event is about; None for the fleet, and for keys.
        subject: What the alarm is about, if it is no server: the id of a key; otherwise "".
        event_id: The number of the event; None if no event says it.
        begun_at: When what is told began.
        due_at: When it is to be told; None once it was told, or ended before that. Of an alarm that
            was told and has ended it is when its end is to be told; None once that was told.
        told_at: When it was told first; None if it was not.
        reminded_at: When it was last told again; None if it was not.
        acknowledged_at: When somebody acknowledged it, which ends the reminders; None if nobody
            did.
        acknowledged_by: The name of that person's key; None if nobody did.
        silenced_by: The id of the silence that keeps it from being told; None if none does.
        part_of: The id of the alarm `fleet_silent` in which it is told; None if it is told alone.
        ended_at: When it ended; None while it lasts.
        ending: How it ended; None while it lasts. The server was heard (`recovered`), or does not
            flap any more (`calm`); it has `left`, was `deleted`, `rebuilt` under another id, or
            goes on as a `node` of its database. The key has `expired`, was `revoked`, or `renewed`.
            The rule was removed or changed (`rule_removed`, `rule_changed`), or the channel was
            removed (`channel_removed`). Otherwise it is `over`, as kinds are that do not last.
        known: What was known of the server when the alarm began: some fields of its record, and the
            details of the event.
    """

    id: int = 0
    rule_id: str
    channel_id: str
    kind: str
    server_id: str | None
    subject: str = ""
    event_id: int | None
    begun_at: datetime
    due_at: datetime | None
    told_at: datetime | None = None
    reminded_at: datetime | None = None
    acknowledged_at: datetime | None = None
    acknowledged_by: str | None = None
    silenced_by: str | None = None
    part_of: int | None = None
    ended_at: datetime | None = None
    ending: str | None = None
    known: Mapping[str, Any] = field(factory=dict)


class DeliveryKind(str, Enum):
    """What a message is about."""

    ALARM = "alarm"
    REMINDER = "reminder"
    END = "end"
    TEST = "test"
    REPORT = "report"


@frozen(kw_only=True)
class Delivery:
    """
    A message that is delivered through a channel.

    Attributes:
        id: The id of the message, `msg_` and 27 random letters and digits; the same in each
            attempt.
        channel_id: The channel.
        kind: What the message is about.
        thread: An id that the messages about one alarm share, or about alarms told together.
        title: The first line, for people.
        text: The message for people.
        body: The JSON that a webhook gets.
        created_at: When the message was made.
        next_at: When the next attempt is due; None if it was sent, or given up.
        attempts: How many attempts have been made.
        sent_at: When it was sent; None if it was not.
        given_up_at: When no more attempts were made; None otherwise.
        error: Why the last attempt failed; None if none has.
    """

    id: str
    channel_id: str
    kind: DeliveryKind
    thread: str
    title: str
    text: str
    body: Mapping[str, Any]
    created_at: datetime
    next_at: datetime | None
    attempts: int = 0
    sent_at: datetime | None = None
    given_up_at: datetime | None = None
    error: str | None = None

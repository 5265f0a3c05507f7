"""
The values of alerts: channels, rules, silences, alarms and deliveries.

A rule says which events of which servers are told, and through which channel. An event that a rule
matches begins an alarm. An alarm is told once when it has begun; again as a reminder, as long as it
lasts, if the rule has reminders; and once more when it has ended. Each of these messages is a
delivery, which waits in the database until a receiver has sent it. A silence is a time in which
alarms of some servers are not told.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, NamedTuple

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
    "OutboxCounts",
    "Rule",
    "Silence",
]

KEY_EXPIRES = "key_expires"
"""
The kind of an alarm that an API key expires soon.

That is within two weeks, or in the second half of its time if it was made for less than four weeks.
"""

AWAY = "receiver_away"
"""
The kind of an alarm that no receiver was running for a time.

It is told when a receiver runs again, and has ended then.
"""

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
"""The kinds of alarms that last for a time. Alarms of all other kinds end when they begin."""

TELLABLE = frozenset({kind.value for kind in EventKind} | {KEY_EXPIRES, AWAY})
"""The kinds of alarms that a rule may name: all kinds of events, `KEY_EXPIRES` and `AWAY`."""


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
        reported_at: When the last report was made; None if none was made yet.
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
        kinds: The kinds of alarms that are told, some of `TELLABLE`. A rule with `late` or `down`
            also tells `fleet_silent`.
        after: How long an alarm of the kinds in `LASTING` must have lasted before it is told, and
            how long no receiver must have been running for an alarm of the kind `AWAY`.
        channel_id: The id of the channel through which alarms are told.
        remind_every: The time between two reminders of an alarm that lasts; None for no reminders.
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

    Without `cron` it is one time, from `begins_at` to `ends_at`. With `cron` it consists of windows
    between `begins_at` and `ends_at`: one begins each time that the expression says, and lasts for
    `duration`.

    Attributes:
        id: A random text that is part of the silence's path.
        query: Which servers, as the text of a filter; the empty text for all servers, and if
            `server_id` is set.
        server_id: The id of the only server that is meant; None if `query` says which are meant.
        begins_at: The beginning of the silence.
        ends_at: The end of the silence; None for no end, which only a silence with `cron` may have.
        cron: When each window begins, as a cron expression in `time_zone`; None for a single time.
        duration: How long each window lasts; None for a single time.
        time_zone: The IANA time zone of `cron`.
        reason: Why, for people.
        author: The name of the key with which the silence was made, or `somebody without a key` if
            the receiver required no keys.
        created_at: When the silence was made.
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
    Something that a rule matched, usually an event, from its beginning until it is over.

    Attributes:
        id: A number that is greater for each new alarm; 0 before the alarm is stored.
        rule_id: The id of the rule.
        channel_id: The id of the channel of the rule.
        kind: One of `TELLABLE`.
        server_id: The id of the server that the alarm is about; None if it is not about a single
            server, but for instance about the fleet or a key.
        subject: The id of the key that an alarm `KEY_EXPIRES` is about; empty for other kinds.
        event_id: The number of the event that began the alarm; None for kinds without events.
        begun_at: When that began of which the alarm tells, such as the silence of the server.
        due_at: When the next message about the alarm is due, reminders aside: the first one, or if
            the alarm was told and has ended, the message about its end. None if neither is to be
            sent any more, or not yet.
        told_at: When the first message was made; None if there was none yet.
        reminded_at: When the last reminder was made; None if there was none yet.
        acknowledged_at: When somebody acknowledged the alarm, which ends the reminders; None if
            nobody has.
        acknowledged_by: The name of the key with which that was done, or `somebody without a key`
            if the receiver required no keys; None if nobody has acknowledged it.
        silenced_by: The id of the silence that keeps the alarm from being told; None if no silence
            does.
        part_of: The id of the alarm `fleet_silent` that is told in place of this one; None if this
            alarm is told itself.
        ended_at: When the alarm ended; None while it lasts.
        ending: How it ended; None while it lasts. The server was heard (`recovered`), or does not
            flap any more (`calm`); it has `left`, was `deleted`, `rebuilt` under another id, or
            goes on as a `node` of its database. The key has `expired`, was `revoked`, or `renewed`.
            The rule was removed or changed (`rule_removed`, `rule_changed`), or the channel was
            removed (`channel_removed`). Otherwise it is `over`, as kinds are that do not last.
        known: What was known when the alarm began, as JSON: the event (`event`), some fields of the
            record of the server (`server`), the key that expires (`key`), and of an alarm
            `fleet_silent` the numbers of servers. Later `thread` is added: the `Delivery.thread`
            of its messages.
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
    """
    What a message is about.

    `alarm`: alarms that have begun. `reminder`: alarms that still last. `end`: alarms that have
    ended. `test`: nothing, somebody tests the channel. `report`: the last week.
    """

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
        channel_id: The id of the channel.
        kind: What the message is about.
        thread: An id that all messages about one alarm share, or about alarms told together.
        title: The subject of the message, one line, for people.
        text: The message for people, without the title.
        body: The JSON that a webhook gets.
        created_at: When the message was made.
        next_at: When the next attempt to send it is due; None if it was sent, or given up.
        attempts: How many attempts to send it have been made.
        sent_at: When it was sent; None if it was not sent yet.
        given_up_at: When the receiver gave up to send it; None if it did not.
        error: Why the last attempt failed; None if no attempt has failed.
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


class OutboxCounts(NamedTuple):
    """
    The messages in the outbox.

    Attributes:
        waiting: How many messages wait for the first attempt to send them, or for another one.
        given_up: How many messages were given up within the last day, without those by which people
            test channels.
        oldest_at: When the oldest message that waits was made; None if no message waits.
    """

    waiting: int
    given_up: int
    oldest_at: datetime | None

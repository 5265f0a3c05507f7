"""
The JSON of channels, rules, silences, alarms and deliveries, and its schemas.

A channel is a place to which messages are sent. A rule says which events of which servers are told
through which channel. An alarm is such an event until it is over, and a delivery a message about
alarms. A silence is a time in which alarms of some servers are not told.
"""

from datetime import datetime
from typing import Any

from attrs import fields

from contract import json_schema
from contract.fields import format_moment
from receiver.domain.alerts.requests import (
    ChannelFields,
    NewChannel,
    NewRule,
    NewSilence,
    ShortSilence,
)
from receiver.domain.alerts.values import (
    TELLABLE,
    Alarm,
    Channel,
    ChannelKind,
    Delivery,
    DeliveryKind,
    Rule,
    Silence,
)
from receiver.domain.alerts.windows import active
from receiver.web import openapi
from receiver.web.openapi import Json, listed, object_of

__all__ = [
    "ALARM",
    "CHANNEL",
    "CHANNEL_CHANGE",
    "DELIVERY",
    "NEW_CHANNEL",
    "NEW_RULE",
    "NEW_SILENCE",
    "RULE",
    "SHORT_SILENCE",
    "SILENCE",
    "alarm_json",
    "channel_json",
    "delivery_json",
    "rule_json",
    "silence_json",
]


def channel_json(channel: Channel) -> Json:
    """A channel without its address, which nobody is shown."""
    return {
        "id": channel.id,
        "name": channel.name,
        "kind": channel.kind.value,
        "service": channel.service,
        "per_hour": channel.per_hour,
        "report_at": channel.report_at,
        "time_zone": channel.time_zone,
        "created_at": format_moment(channel.created_at),
        "reported_at": _moment(channel.reported_at),
    }


def rule_json(rule: Rule) -> Json:
    remind = rule.remind_every
    return {
        "id": rule.id,
        "name": rule.name,
        "query": rule.query,
        "kinds": sorted(rule.kinds),
        "after_seconds": int(rule.after.total_seconds()),
        "channel_id": rule.channel_id,
        "remind_seconds": None if remind is None else int(remind.total_seconds()),
        "created_at": format_moment(rule.created_at),
    }


def silence_json(silence: Silence, now: datetime) -> Json:
    """A silence, with `is_active`: whether alarms are silenced by it at the time `now`."""
    duration = silence.duration
    until = active(silence, now)
    return {
        "id": silence.id,
        "query": None if silence.server_id is not None else silence.query,
        "server_id": silence.server_id,
        "begins_at": format_moment(silence.begins_at),
        "ends_at": _moment(silence.ends_at),
        "cron": silence.cron,
        "duration_seconds": None if duration is None else int(duration.total_seconds()),
        "time_zone": silence.time_zone,
        "reason": silence.reason,
        "author": silence.author,
        "created_at": format_moment(silence.created_at),
        "is_active": until is not None,
    }


def alarm_json(alarm: Alarm) -> Json:
    return {each.name: _json_value(getattr(alarm, each.name)) for each in fields(Alarm)}


def delivery_json(delivery: Delivery) -> Json:
    """A delivery without its body, which is the JSON for webhooks and says the same as its text."""
    return {
        each.name: _json_value(getattr(delivery, each.name))
        for each in fields(Delivery)
        if each.name != "body"
    }


def _json_value(value: Any) -> Any:
    if isinstance(value, datetime):
        return format_moment(value)
    return value.value if isinstance(value, DeliveryKind) else value


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else format_moment(moment)


_MOMENT_OR_NULL: Json = {"type": ["string", "null"], "format": "date-time"}
_TEXT_OR_NULL: Json = {"type": ["string", "null"]}
_SECONDS_OR_NULL: Json = {"type": ["integer", "null"], "minimum": 0}
_KIND: Json = {"enum": sorted(TELLABLE)}


def _exactly(kind: type) -> Json:
    """The schema of a request that may have no fields but those of a class."""
    return {**json_schema(kind), "additionalProperties": False}


def _about(schema: Json, description: str) -> Json:
    return {**schema, "description": description}


CHANNEL = object_of(
    id=openapi.TEXT,
    name=openapi.TEXT,
    kind={"enum": [kind.value for kind in ChannelKind]},
    service=_about(
        openapi.TEXT, "What may be shown of the address: the service, or the host of a webhook."
    ),
    per_hour=openapi.COUNT,
    report_at=_TEXT_OR_NULL,
    time_zone=openapi.TEXT,
    created_at=openapi.MOMENT,
    reported_at=_MOMENT_OR_NULL,
)
RULE = object_of(
    id=openapi.TEXT,
    name=openapi.TEXT,
    query=openapi.TEXT,
    kinds=listed(_KIND),
    after_seconds=openapi.COUNT,
    channel_id=openapi.TEXT,
    remind_seconds=_SECONDS_OR_NULL,
    created_at=openapi.MOMENT,
)
SILENCE = object_of(
    id=openapi.TEXT,
    query=_about(_TEXT_OR_NULL, "Null for a silence of one server."),
    server_id=_TEXT_OR_NULL,
    begins_at=openapi.MOMENT,
    ends_at=_MOMENT_OR_NULL,
    cron=_TEXT_OR_NULL,
    duration_seconds=_SECONDS_OR_NULL,
    time_zone=openapi.TEXT,
    reason=openapi.TEXT,
    author=_about(openapi.TEXT, "The name of the key that made it."),
    created_at=openapi.MOMENT,
    is_active={"type": "boolean", "description": "Whether it silences now."},
)
ALARM = object_of(
    id=_about(openapi.COUNT, "It rises in the order in which alarms begin."),
    rule_id=openapi.TEXT,
    channel_id=openapi.TEXT,
    kind=_KIND,
    server_id=_about(_TEXT_OR_NULL, "Null for the fleet as a whole, and for keys."),
    subject=_about(openapi.TEXT, "The id of a key, if the alarm is about one."),
    event_id={"type": ["integer", "null"], "description": "The event that began it."},
    begun_at=openapi.MOMENT,
    due_at=_about(_MOMENT_OR_NULL, "When it is to be told; null once it was."),
    told_at=_MOMENT_OR_NULL,
    reminded_at=_MOMENT_OR_NULL,
    acknowledged_at=_MOMENT_OR_NULL,
    acknowledged_by=_TEXT_OR_NULL,
    silenced_by=_about(_TEXT_OR_NULL, "The silence that keeps it from being told."),
    part_of={"type": ["integer", "null"], "description": "The alarm in which it is told."},
    ended_at=_about(_MOMENT_OR_NULL, "Null while it lasts."),
    ending=_about(_TEXT_OR_NULL, "How it ended, such as recovered, left or deleted."),
    known=_about({"type": "object"}, "What was known of the server when it began."),
)
DELIVERY = object_of(
    id=_about(openapi.TEXT, "The same in each attempt; the webhook-id of a webhook."),
    channel_id=openapi.TEXT,
    kind={"enum": [kind.value for kind in DeliveryKind]},
    thread=openapi.TEXT,
    title=openapi.TEXT,
    text=openapi.TEXT,
    created_at=openapi.MOMENT,
    next_at=_about(_MOMENT_OR_NULL, "When it is tried next; null once it was sent or given up."),
    attempts=openapi.COUNT,
    sent_at=_MOMENT_OR_NULL,
    given_up_at=_MOMENT_OR_NULL,
    error=_about(_TEXT_OR_NULL, "Why the last attempt failed."),
)

NEW_CHANNEL = _exactly(NewChannel)
CHANNEL_CHANGE = _exactly(ChannelFields)
NEW_RULE = _exactly(NewRule)
NEW_SILENCE = _exactly(NewSilence)
SHORT_SILENCE = _exactly(ShortSilence)

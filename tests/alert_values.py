"""Test helper: channels, rules, silences and messages with all that a test does not care for."""

from datetime import timedelta
from itertools import count
from typing import Any

from receiver.domain.alerts.values import (
    Alarm,
    Channel,
    ChannelKind,
    Delivery,
    DeliveryKind,
    Rule,
    Silence,
)
from servers import Clock

__all__ = ["NOW", "alarm", "channel", "delivery", "rule", "silence"]

NOW = Clock()()
_numbers = count()


def channel(channel_id: str = "mail", **values: Any) -> Channel:
    """A channel whose name is its id."""
    known: dict[str, Any] = {
        "id": channel_id,
        "name": channel_id,
        "kind": ChannelKind.APPRISE,
        "address": b"encrypted",
        "service": "mailtos",
        "per_hour": 100,
        "report_at": None,
        "time_zone": "UTC",
        "created_at": NOW,
    }
    return Channel(**{**known, **values})


def rule(rule_id: str = "down", **values: Any) -> Rule:
    """A rule that tells at once by the channel `mail` when a server is down, and no reminders."""
    known: dict[str, Any] = {
        "id": rule_id,
        "name": rule_id,
        "query": "",
        "kinds": frozenset({"down"}),
        "after": timedelta(0),
        "channel_id": "mail",
        "remind_every": None,
        "created_at": NOW,
    }
    return Rule(**{**known, **values})


def silence(silence_id: str = "upgrade", **values: Any) -> Silence:
    """A silence of all servers, from `NOW` on for an hour."""
    known: dict[str, Any] = {
        "id": silence_id,
        "query": "",
        "server_id": None,
        "begins_at": NOW,
        "ends_at": NOW + timedelta(hours=1),
        "cron": None,
        "duration": None,
        "time_zone": "UTC",
        "reason": "an upgrade",
        "author": "acme",
        "created_at": NOW,
    }
    return Silence(**{**known, **values})


def alarm(**values: Any) -> Alarm:
    """An alarm of the rule `down` that began at `NOW`, and is due then."""
    known: dict[str, Any] = {
        "rule_id": "down",
        "channel_id": "mail",
        "kind": "down",
        "server_id": "a",
        "event_id": 1,
        "begun_at": NOW,
        "due_at": NOW,
    }
    return Alarm(**{**known, **values})


def delivery(**values: Any) -> Delivery:
    """A message to the channel `mail` that is due at `NOW`, with an id of its own."""
    number = next(_numbers)
    known: dict[str, Any] = {
        "id": f"msg_{number:027}",
        "channel_id": "mail",
        "kind": DeliveryKind.ALARM,
        "thread": f"thread-{number}",
        "title": f"Message {number}",
        "text": "What has happened",
        "body": {"type": "fleet.alarm", "data": {"number": number}},
        "created_at": NOW,
        "next_at": NOW,
    }
    return Delivery(**{**known, **values})

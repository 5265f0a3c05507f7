"""Channels, rules, silences and alarms that are reached by the database."""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any, Literal, TypeVar, cast

from receiver.commands.backends.backend import Json
from receiver.commands.context import CommandFailed
from receiver.domain.alerts.requests import ChannelChange, NewChannel, NewRule, NewSilence
from receiver.domain.alerts.values import Channel, Rule
from receiver.service.alerts.alert_service import AlertService
from receiver.service.store_calls import StoreCalls
from receiver.settings import Settings
from receiver.store import SqlStore
from receiver.web.alerts.answers import alarm_json, channel_json, rule_json, silence_json

__all__ = ["AUTHOR", "DatabaseAlerts"]

T = TypeVar("T")
Limited = Literal["channels", "rules", "silences"]

AUTHOR = "the command line"
"""The name that stands for the user of a command that changes something without a key."""


class DatabaseAlerts:
    """
    An `AlertBackend` of an open database. It checks what it makes by the rules of the HTTP API.

    Args:
        store: The open database.
        settings: The settings of the receiver.
        clock: Returns the current time.
    """

    def __init__(self, store: SqlStore, settings: Settings, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._alerts = store.alerts
        self._settings = settings
        self._clock = clock

    # Channels

    def channels(self) -> list[Json]:
        return [channel_json(each) for each in self._alerts.channels()]

    def must_have_room(self, what: str) -> None:
        if self._alerts.is_full(cast("Limited", what), self._clock()):
            verb = "End" if what == "silences" else "Remove"
            raise CommandFailed(
                f"There are too many {what}. {verb} one that is not needed; see: {what} list"
            )

    def make_channel(self, asked: Json) -> tuple[Json, str | None]:
        new = NewChannel.of(asked)
        channel, secret = self._run(lambda service: service.make_channel(new))
        return channel_json(channel), secret

    def channel(self, channel_id: str) -> Json:
        return channel_json(self._channel(channel_id))

    def change_channel(self, channel_id: str, asked: Json) -> str | None:
        channel = self._channel(channel_id)
        change = ChannelChange.of(asked, channel)
        _, secret = self._run(lambda service: service.change_channel(channel, change))
        return secret

    def test_channel(self, channel_id: str) -> str | None:
        self._channel(channel_id)
        return self._run(lambda service: service.test(channel_id))

    def remove_channel(self, channel_id: str) -> None:
        if not self._alerts.remove_channel(channel_id, self._clock()):
            raise _no_such("channel", channel_id)

    def _channel(self, channel_id: str) -> Channel:
        channel = self._alerts.channel(channel_id)
        if channel is None:
            raise _no_such("channel", channel_id)
        return channel

    def _run(self, work: Callable[[AlertService], Coroutine[Any, Any, T]]) -> T:
        """Let the service do something; it needs an event loop, and processes that it starts."""

        async def run() -> T:
            settings = self._settings
            service = AlertService(
                self._store,
                StoreCalls(),
                box=settings.secret_box,
                allowed=settings.alert_addresses,
                clock=self._clock,
                trouble=lambda: None,
                public_url=settings.public_url,
            )
            return await work(service)

        return asyncio.run(run())

    # Rules

    def rules(self) -> list[Json]:
        return [rule_json(each) for each in self._alerts.rules()]

    def make_rule(self, asked: Json) -> Json:
        rule = NewRule.of(asked).issue(now=self._clock())
        self.must_have_room("rules")
        if not self._alerts.add_rule(rule):
            raise _no_channel(rule)
        return rule_json(rule)

    def change_rule(self, rule_id: str, asked: Json) -> Json:
        before = self._alerts.rule(rule_id)
        if before is None:
            raise _no_such("rule", rule_id)
        rule = NewRule.of(asked).issue(now=before.created_at, rule_id=before.id)
        if not self._alerts.change_rule(rule, self._clock()):
            raise _no_channel(rule)
        return rule_json(rule)

    def remove_rule(self, rule_id: str) -> None:
        if not self._alerts.remove_rule(rule_id, self._clock()):
            raise _no_such("rule", rule_id)

    # Silences

    def silences(self, *, ended: bool) -> list[Json]:
        now = self._clock()
        return [silence_json(each, now) for each in self._alerts.silences(now, ended=ended)]

    def make_silence(self, asked: Json) -> Json:
        now = self._clock()
        new = NewSilence.of(asked, now=now)
        if new.server_id is not None and self._store.servers.get(new.server_id) is None:
            raise _no_such("server", new.server_id)
        self.must_have_room("silences")
        silence = new.issue(author=AUTHOR, now=now)
        self._alerts.add_silence(silence, now)
        return silence_json(silence, now)

    def end_silence(self, silence_id: str) -> None:
        if not self._alerts.end_silence(silence_id, self._clock(), AUTHOR):
            raise CommandFailed(f"There is no silence {silence_id!r} that has not ended.")

    # Alarms

    def alarms(self, *, is_open: bool | None, limit: int) -> list[Json]:
        return [alarm_json(each) for each in self._alerts.alarms(is_open=is_open, limit=limit)]

    def acknowledge(self, alarm_id: int) -> None:
        if not self._alerts.acknowledge(alarm_id, self._clock(), AUTHOR):
            raise CommandFailed(
                f"There is no alarm {alarm_id} that lasts and is not acknowledged; see the list "
                "of alarms."
            )


def _no_such(what: str, identity: str) -> CommandFailed:
    return CommandFailed(f"There is no {what} {identity!r}.")


def _no_channel(rule: Rule) -> CommandFailed:
    return _no_such("channel", rule.channel_id)

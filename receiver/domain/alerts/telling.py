"""
Telling: which alarms become messages now.

Alarms that are due within half a minute are told in one message of a channel. Silences keep alarms
from being told. A channel delivers only so many messages within an hour; alarms that are due beyond
that wait, and are told in one message when the channel may deliver one again.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from contract import EventKind, ServerRecord
from receiver.domain.alerts import windows
from receiver.domain.alerts.messages import texts
from receiver.domain.alerts.situations import Book, Situation
from receiver.domain.alerts.values import (
    Alarm,
    Channel,
    Delivery,
    DeliveryKind,
    Rule,
    Silence,
)
from receiver.domain.filter_text import FilterText

__all__ = ["GROUPED", "reminder_at", "tell"]

GROUPED = timedelta(seconds=30)
"""For how long alarms wait for others, to be told in one message."""


def tell(book: Book, situation: Situation, *, unknown: Collection[int] = ()) -> list[Delivery]:
    """
    Make the messages that are due, and note in the alarms that they are told.

    Also notes which alarms are silenced, and ends alarms that were not told yet if their rule was
    changed and does not match them any more. Alarms that are held back are left as they are.

    Args:
        book: All open and new alarms, which are changed.
        situation: What the decision is made from.
        unknown: The numbers, in the book, of alarms that are left as they are, because it is not
            known whether they last.
    """
    rules = {rule.id: rule for rule in situation.rules}
    numbers = [
        number
        for number in book.numbers()
        if number not in unknown and not situation.is_held_back(book[number])
    ]
    for number in numbers:
        _forget_uncovered(book, number, rules, situation)
    _apply_silences(book, numbers, situation)
    return [
        delivery
        for channel in situation.channels
        for delivery in _Channel(book, numbers, situation, channel, rules).deliveries()
    ]


def reminder_at(alarm: Alarm, rules: Mapping[str, Rule]) -> datetime | None:
    """
    When an alarm is to be told again, as a reminder; None if it is not to be told again.

    No reminder is sent of an alarm that was not told yet, has ended, was acknowledged or is
    silenced, nor if its rule has no reminders. `rules` has the rules by their ids.
    """
    is_told = alarm.told_at is not None and alarm.ended_at is None
    if not is_told or alarm.acknowledged_at is not None or alarm.silenced_by is not None:
        return None
    rule = rules.get(alarm.rule_id)
    last = alarm.reminded_at or alarm.told_at
    return last + rule.remind_every if rule and rule.remind_every and last else None


def _forget_uncovered(
    book: Book, number: int, rules: Mapping[str, Rule], situation: Situation
) -> None:
    """End an alarm that was not told yet if its rule was changed and does not match it any more."""
    alarm = book[number]
    if not _is_to_be_told(alarm, situation.now) or _covers(rules[alarm.rule_id], alarm, situation):
        return
    if alarm.ended_at is None:
        book.end(number, "rule_changed", situation.now)
    else:
        book.change(number, due_at=None)


def _covers(rule: Rule, alarm: Alarm, situation: Situation) -> bool:
    """Whether a rule still matches an alarm; the state of the server may have changed."""
    kinds = rule.kinds
    if kinds & _SILENCES:
        kinds |= {EventKind.FLEET_SILENT.value}
    record = _record(alarm, situation)
    return alarm.kind in kinds and (
        record is None or situation.matches(FilterText.parse(rule.query).in_any_state(), record)
    )


def _record(alarm: Alarm, situation: Situation) -> ServerRecord | None:
    return None if alarm.server_id is None else situation.records.get(alarm.server_id)


def _is_to_be_told(alarm: Alarm, now: datetime) -> bool:
    """Whether an alarm that was never told is due."""
    return alarm.told_at is None and alarm.due_at is not None and alarm.due_at <= now


def _is_to_be_ended(alarm: Alarm, now: datetime) -> bool:
    """Whether the end of an alarm that was told is due to be told."""
    return alarm.told_at is not None and alarm.due_at is not None and alarm.due_at <= now


def _apply_silences(book: Book, numbers: Sequence[int], situation: Situation) -> None:
    """Note which alarms are silenced, and make those due whose silence is over."""
    silences = _OpenSilences(situation)
    for number in numbers:
        alarm = book[number]
        is_due = _is_to_be_told(alarm, situation.now)
        lasts = alarm.ended_at is None
        if is_due or (lasts and alarm.told_at is not None):
            silence = silences.of(alarm)
            if silence != alarm.silenced_by:
                book.change(number, silenced_by=silence)
                if silence is None and is_due:
                    book.change(number, due_at=situation.now)
            if silence is not None and not lasts:
                book.change(number, due_at=None)


class _OpenSilences:
    """The silences that have a window open now; found when somebody asks for the first time."""

    def __init__(self, situation: Situation) -> None:
        self._situation = situation
        self._ids: dict[str | None, list[str]] = {}

    def of(self, alarm: Alarm) -> str | None:
        """The id of a silence that matches an alarm: the one that it had, or the longest."""
        ids = self._ids.get(alarm.server_id)
        if ids is None:
            record = _record(alarm, self._situation)
            ids = [each.id for each in self._open if self._is_silenced(alarm, record, each)]
            self._ids[alarm.server_id] = ids
        if alarm.silenced_by in ids:
            return alarm.silenced_by
        return ids[0] if ids else None

    def _is_silenced(self, alarm: Alarm, record: ServerRecord | None, silence: Silence) -> bool:
        """
        Whether a silence matches an alarm.

        Only a silence of all servers matches an alarm that is about no server.
        """
        if silence.server_id is not None:
            return silence.server_id == alarm.server_id
        query = FilterText.parse(silence.query)
        return query == _ALL if record is None else self._situation.matches(query, record)

    @cached_property
    def _open(self) -> list[Silence]:
        """The silences that have a window open, the one that is open for longest first."""
        now = self._situation.now
        ends = [(windows.active(each, now), each) for each in self._situation.silences]
        found = [(end, each) for end, each in ends if end is not None]
        found.sort(key=lambda pair: (pair[0], pair[1].id), reverse=True)
        return [each for _, each in found]


class _Channel:
    """What is told through one channel now."""

    def __init__(
        self,
        book: Book,
        numbers: Sequence[int],
        situation: Situation,
        channel: Channel,
        rules: Mapping[str, Rule],
    ) -> None:
        self._book = book
        self._situation = situation
        self._now = situation.now
        self._channel = channel
        self._rules = rules
        self._budget = channel.per_hour - situation.sent_in_hour.get(channel.id, 0)
        # A message names its alarms, and an alarm has a number once it is stored.
        self._numbers = [
            each for each in numbers if book[each].channel_id == channel.id and book[each].id
        ]

    def deliveries(self) -> list[Delivery]:
        """The messages of the channel that are due and that its limit allows, the oldest first."""
        ready = {
            DeliveryKind.ALARM: self._to_tell(),
            DeliveryKind.END: self._to_end(),
            DeliveryKind.REMINDER: self._to_remind(),
        }
        waiting = sorted(
            (min(since.values()), kind.value, kind) for kind, since in ready.items() if since
        )
        return [self._make(kind, [*ready[kind]]) for _, _, kind in waiting[: max(0, self._budget)]]

    def _to_tell(self) -> dict[int, datetime]:
        """The numbers of the alarms that are told now, and since when each of them is due."""
        due = {
            number: alarm.due_at
            for number in self._numbers
            if (alarm := self._book[number]).due_at is not None
            and _is_to_be_told(alarm, self._now)
            and alarm.silenced_by is None
        }
        is_urgent = any(self._book[number].kind == EventKind.FLEET_SILENT.value for number in due)
        return due if is_urgent or self._has_waited(due) else {}

    def _to_end(self) -> dict[int, datetime]:
        """The numbers of the alarms whose end is told now, and since when it is due."""
        due = {
            number: alarm.due_at
            for number in self._numbers
            if (alarm := self._book[number]).due_at is not None
            and _is_to_be_ended(alarm, self._now)
        }
        return due if self._has_waited(due) else {}

    def _to_remind(self) -> dict[int, datetime]:
        """The numbers of the alarms that are told again now, and since when that is due."""
        due = {
            number: at for number in self._numbers if (at := self._reminder_at(number)) is not None
        }
        if not any(at <= self._now for at in due.values()):
            return {}
        return {number: at for number, at in due.items() if at <= self._now + GROUPED}

    def _reminder_at(self, number: int) -> datetime | None:
        """When an alarm is to be told again; None if it is not."""
        alarm = self._book[number]
        at = reminder_at(alarm, self._rules)
        covers = at is not None and _covers(self._rules[alarm.rule_id], alarm, self._situation)
        return at if covers else None

    def _has_waited(self, due: dict[int, datetime]) -> bool:
        return any(at <= self._now - GROUPED for at in due.values())

    def _make(self, kind: DeliveryKind, numbers: Sequence[int]) -> Delivery:
        """Make the message about some alarms, and note in them that it was made."""
        alarms = [self._book[number] for number in numbers]
        first = min(alarms, key=lambda alarm: (alarm.begun_at, alarm.id))
        thread = str(first.known.get("thread") or f"alarm-{first.id}")
        for number in numbers:
            self._book.change(number, **self._noted(kind, self._book[number], thread))
        occasion = texts.Occasion(
            kind=kind,
            channel=self._channel,
            rules=self._rules,
            parts=self._parts(alarms),
            now=self._now,
            public_url=self._situation.public_url,
        )
        made = texts.message([self._book[number] for number in numbers], occasion)
        return texts.delivery(kind, made, channel_id=self._channel.id, thread=thread, now=self._now)

    def _noted(self, kind: DeliveryKind, alarm: Alarm, thread: str) -> dict[str, Any]:
        """The attributes of an alarm after a message about it."""
        if kind is DeliveryKind.ALARM:
            known = {**alarm.known, "thread": thread}
            return {"told_at": self._now, "due_at": None, "known": known}
        return {"due_at": None} if kind is DeliveryKind.END else {"reminded_at": self._now}

    def _parts(self, alarms: Sequence[Alarm]) -> dict[int, list[Alarm]]:
        """The alarms that are told as parts of others, by the ids of these."""
        found: dict[int, list[Alarm]] = {alarm.id: [] for alarm in alarms}
        for number in self._book.lasting():
            part = self._book[number]
            if part.part_of in found:
                found[part.part_of].append(part)
        return found


_ALL = FilterText()
_SILENCES = frozenset({EventKind.LATE.value, EventKind.DOWN.value})

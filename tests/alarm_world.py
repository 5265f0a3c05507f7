"""
Test helper: a fleet whose events become alarms, with a database that is some lists.

The events come from the code that a receiver uses. The rest is written here in another way than in
`receiver.domain.alerts`, and each look at the alarms checks what must hold always.
"""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from typing import Any

from attrs import evolve

from contract import Event, EventKind, ServerRecord, State, changes
from receiver.domain.alerts import windows
from receiver.domain.alerts.alarms import Situation, decide, needs
from receiver.domain.alerts.values import (
    Alarm,
    Channel,
    ChannelKind,
    Delivery,
    DeliveryKind,
    Rule,
    Silence,
)
from receiver.domain.databases import calmed, damped
from receiver.domain.filter_text import FilterText
from receiver.domain.instants import instant
from receiver.domain.keys import Key
from receiver.domain.queries import RecordedEvent
from receiver.domain.rows import Row
from server_records import server_record

__all__ = ["NOON", "World", "channel", "rule", "silence"]

NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
_SECOND = timedelta(seconds=1)
_LATE_FOR = timedelta(minutes=2)
_HOUR = timedelta(hours=1)
_LONGEST_PAUSE = timedelta(minutes=10)


def channel(channel_id: str = "c", **said: Any) -> Channel:
    given: dict[str, Any] = {"name": f"Channel {channel_id}", "per_hour": 1000, "report_at": None}
    given |= {"time_zone": "Europe/Berlin", **said}
    return Channel(
        id=channel_id,
        kind=ChannelKind.WEBHOOK,
        address=b"",
        service="example.com",
        created_at=NOON,
        **given,
    )


def rule(*kinds: str, rule_id: str = "r", **said: Any) -> Rule:
    given: dict[str, Any] = {"name": f"Rule {rule_id}", "query": "", "channel_id": "c"}
    given |= {"after": timedelta(minutes=5), "remind_every": None, **said}
    return Rule(id=rule_id, kinds=frozenset(kinds or {"down"}), created_at=NOON, **given)


def silence(silence_id: str = "s", **said: Any) -> Silence:
    given: dict[str, Any] = {"query": "", "server_id": None, "begins_at": NOON, "ends_at": None}
    given |= {"cron": None, "duration": None, "time_zone": "UTC", **said}
    return Silence(id=silence_id, reason="upgrade", author="ada", created_at=NOON, **given)


class World:
    """
    A fleet, the alarms about it, and a clock that a test moves.

    Attributes:
        now: The time.
        rules, silences, channels, keys: What the database holds of these.
        rows: The servers by their ids.
        events: All events.
        alarms: All alarms by their ids.
        deliveries: All messages.
        is_attended: Whether a receiver looks at the alarms.
        pause: A pause of the receivers that has just ended.
        batch: How many events a look takes at most.
    """

    def __init__(self, *rules: Rule, channels: Iterable[Channel] | None = None) -> None:
        self.now = NOON
        self.rules = [*rules]
        self.silences: list[Silence] = []
        self.channels = [channel()] if channels is None else [*channels]
        self.keys: list[Key] = []
        self.rows: dict[str, Row] = {}
        self.events: list[RecordedEvent] = []
        self.alarms: dict[int, Alarm] = {}
        self.deliveries: list[Delivery] = []
        self.is_attended = True
        self.pause: tuple[datetime, datetime] | None = None
        self.public_url: str | None = "https://fleet.example"
        self.batch = 500
        self.told: Counter[int] = Counter()
        self.ended: Counter[int] = Counter()
        self._seen = 0
        self._look_at = NOON

    # Servers

    def add(self, server_id: str, **said: Any) -> None:
        """Add a server that is up; its registration is no event."""
        database, _, hostname = server_id.rpartition("_")
        given: dict[str, Any] = {"database": database, "hostname": hostname, "heartbeat_count": 1}
        given |= {"state": State.UP, "odoo_stage": "production", **said}
        record = server_record(server_id, at=self.now, **given)
        self.rows[server_id] = Row(record, revision=1, due_at=None)

    def record(self, server_id: str) -> ServerRecord:
        return self.rows[server_id].record

    def change(self, server_id: str, **values: Any) -> None:
        """Change the record of a server; its events are those that the contract tells."""
        before = self.rows[server_id]
        record = evolve(before.record, **values)
        if record.state is not before.record.state:
            record = evolve(record, state_since=self.now)
        if record.state.is_heard and not before.record.state.is_heard:
            record = evolve(record, last_seen=self.now)
        told = changes(before.record, record, at=self.now)
        row, told = damped(before._replace(record=record), told, at=self.now)
        self.rows[server_id] = row
        self.happen(*told)

    def go(self, state: State, *server_ids: str) -> None:
        for server_id in server_ids:
            if self.record(server_id).state is not state:
                self.change(server_id, state=state)

    def delete(self, server_id: str) -> None:
        del self.rows[server_id]
        self.happen(Event(kind=EventKind.DELETED, at=self.now, server_id=server_id))

    def fall_silent(self, *server_ids: str) -> None:
        """Let servers become late at once, which an event tells if they are half of the fleet."""
        up = [each for each in self.rows if self.record(each).state.is_heard]
        fallen = [each for each in server_ids if each in up]
        self.go(State.LATE, *fallen)
        if len(fallen) >= 5 and 2 * len(fallen) >= len(up):
            details = {"silent": len(fallen), "of": len(up)}
            kind = EventKind.FLEET_SILENT
            self.happen(Event(kind=kind, at=self.now, server_id=None, details=details))

    def happen(self, *events: Event) -> None:
        """Write events, at which a receiver looks at once."""
        first = len(self.events) + 1
        self.events += [RecordedEvent(first + n, event) for n, event in enumerate(events)]
        if events:
            self._look_at = min(self._look_at, self.now)

    @property
    def away(self) -> int:
        records = [row.record for row in self.rows.values()]
        return sum(
            each.state.stale and each.superseded_by is None and each.node_of is None
            for each in records
        )

    # Time

    def wait(self, **passed: float) -> None:
        """Let time pass: servers that are late go down, and a receiver looks when it must."""
        end = self.now + timedelta(**passed)
        while True:
            at, act = min(self._due(), key=lambda pair: pair[0])
            if at > end:
                break
            self.now = max(self.now, at)
            act()
        self.now = end

    def _due(self) -> list[tuple[datetime, Any]]:
        due: list[tuple[datetime, Any]] = [(datetime.max.replace(tzinfo=timezone.utc), None)]
        for server_id, row in self.rows.items():
            if row.record.state is State.LATE:
                down_at = row.record.state_since + _LATE_FOR
                due.append((down_at, lambda each=server_id: self.go(State.DOWN, each)))
            calm, told = calmed(row, now=self.now, heard_since=NOON)
            if told:
                due.append((self.now, lambda each=server_id: self._calm(each)))
            elif calm.due_at is not None:
                due.append((instant(calm.due_at), lambda each=server_id: self._calm(each)))
        if self.is_attended:
            due.append((self._look_at, self.look))
        return due

    def _calm(self, server_id: str) -> None:
        row, told = calmed(self.rows[server_id], now=self.now, heard_since=NOON)
        self.rows[server_id] = row
        self.happen(*told)

    # Alarms

    def look(self) -> None:
        """What a receiver does in one transaction, and what must hold after it."""
        events = self.events[self._seen : self._seen + self.batch]
        self._seen += len(events)
        found = [a for a in self.alarms.values() if a.ended_at is None or a.due_at is not None]
        wanted = needs(events, found)
        made = decide(
            Situation(
                now=self.now,
                events=events,
                rules=self.rules,
                silences=self.silences,
                open_alarms=found,
                records={each: self.record(each) for each in wanted if each in self.rows},
                away=self.away,
                keys=self.keys,
                pause=self.pause,
                channels=self.channels,
                sent_in_hour=self.sent_in_hour(),
                public_url=self.public_url,
            )
        )
        self.pause = None
        assert {alarm.id for alarm in found} >= {alarm.id for alarm in made.changed}
        for alarm in made.begun:
            assert alarm.id == 0
            number = len(self.alarms) + 1
            self.alarms[number] = evolve(alarm, id=number)
        for alarm in made.changed:
            self._check_change(self.alarms[alarm.id], alarm)
            self.alarms[alarm.id] = alarm
        self._resolve_parts()
        self.deliveries += made.deliveries
        self._check_deliveries(made.deliveries)
        soon = self.now + _SECOND
        if self._seen < len(self.events):
            self._look_at = soon
        else:
            at = min(made.look_at or self.now + _LONGEST_PAUSE, self.now + _LONGEST_PAUSE)
            self._look_at = max(at, soon)

    def sent_in_hour(self) -> Counter[str]:
        return Counter(
            each.channel_id for each in self.deliveries if each.created_at > self.now - _HOUR
        )

    def acknowledge(self, alarm_id: int) -> None:
        alarm = evolve(self.alarms[alarm_id], acknowledged_at=self.now, acknowledged_by="ada")
        self.alarms[alarm_id] = alarm

    def look_soon(self) -> None:
        """Somebody has changed rules, silences or alarms."""
        self._look_at = self.now

    def open_alarms(self) -> list[Alarm]:
        return [alarm for alarm in self.alarms.values() if alarm.ended_at is None]

    def kinds(self) -> list[str]:
        """The kinds of all messages."""
        return [each.kind.value for each in self.deliveries]

    def titles(self) -> list[str]:
        return [each.title for each in self.deliveries]

    def _resolve_parts(self) -> None:
        for number, alarm in self.alarms.items():
            if alarm.part_of == 0:
                (fleet,) = (
                    each.id
                    for each in self.open_alarms()
                    if (each.rule_id, each.kind) == (alarm.rule_id, "fleet_silent")
                )
                self.alarms[number] = evolve(alarm, part_of=fleet)

    def _check_change(self, before: Alarm, after: Alarm) -> None:
        """An alarm is told once, when it is due, and ended once; neither is taken back."""
        if before.told_at is None and after.told_at is not None:
            wait = next(each.after for each in self.rules if each.id == after.rule_id)
            lasts = after.ended_at is None
            assert after.told_at >= after.begun_at + (wait if lasts else timedelta())
        else:
            assert before.told_at == after.told_at
        if before.ended_at is not None:
            assert (before.ended_at, before.ending) == (after.ended_at, after.ending)

    def _check_deliveries(self, made: Iterable[Delivery]) -> None:
        """Limits hold, a silence is quiet, and what is over was told before."""
        sent = self.sent_in_hour()
        assert all(sent[each.id] <= each.per_hour for each in self.channels)
        for delivery in made:
            numbers = [each["id"] for each in delivery.body["data"]["alarms"]]
            assert numbers
            assert all(numbers)
            self.told.update(numbers if delivery.kind is DeliveryKind.ALARM else [])
            self.ended.update(numbers if delivery.kind is DeliveryKind.END else [])
            for number in numbers:
                alarm = self.alarms[number]
                assert alarm.told_at is not None
                assert alarm.channel_id == delivery.channel_id
                if delivery.kind is not DeliveryKind.END:
                    assert not self.is_silenced(alarm)
                assert (alarm.ended_at is not None) or delivery.kind is not DeliveryKind.END
        assert max(self.told.values(), default=0) <= 1
        assert max(self.ended.values(), default=0) <= 1

    def is_silenced(self, alarm: Alarm) -> bool:
        """Whether somebody wants to hear nothing of an alarm now."""
        for each in self.silences:
            if windows.active(each, self.now) is None:
                continue
            row = self.rows.get(alarm.server_id or "")
            if each.server_id is not None:
                if each.server_id == alarm.server_id:
                    return True
            elif not each.query or (row and FilterText.parse(each.query).matches(row.record)):
                return True
        return False

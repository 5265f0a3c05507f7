"""The input and the result of a decision about alarms, and the alarms while it is made."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from attrs import evolve, field, frozen

from contract import ServerRecord
from receiver.domain.alerts.values import Alarm, Channel, Delivery, Rule, Silence
from receiver.domain.databases import NOTHING_NOTED, Noted
from receiver.domain.filter_text import FilterText
from receiver.domain.keys import Key
from receiver.domain.queries import RecordedEvent

__all__ = ["Book", "Changes", "Situation"]


@frozen(kw_only=True)
class Situation:
    """
    What `decide` has to know. The events must be read before everything else, or in one snapshot
    with it: a record that is older than an event seems to contradict it.

    Attributes:
        now: The time.
        events: The events since the last call, in the order of their numbers.
        rules: All rules.
        new_rules: The ids of the rules that take up what is wrong with servers already. What they
            take up is not told before they have taken up all of it, by later calls.
        standing: The ids of servers of which they take it up now, in their order.
        room: How many alarms may begin for that, about.
        silences: All silences that have not ended.
        open_alarms: All alarms whose `ended_at` is None or whose `due_at` is not None: those that
            last, and those of which something is still to be told.
        records: The records of the servers in `standing` and of those that `needs` names, by their
            ids. A server that has no record was deleted.
        noted: Which words of rules and silences the labels and notes of databases contain.
        away: How many servers lists show as late or down, without those of revoked and expired
            keys.
        keys: All API keys; empty if no rule and no open alarm is about keys.
        pause: From when to when no receiver was running, if that time has ended since the last
            call; otherwise None.
        channels: All channels.
        sent_in_hour: How many messages were made for each channel within the last hour, by its id.
            A channel that is missing had none.
        public_url: The URL under which people reach the pages, for links; None for no links.
        is_partial: Whether `open_alarms` has only those about the servers of `events`, and those
            about no server. Then nothing is told; the next call that has all of them does that.
    """

    now: datetime
    events: Sequence[RecordedEvent] = ()
    rules: Sequence[Rule] = ()
    new_rules: Collection[str] = frozenset()
    standing: Sequence[str] = ()
    room: int = 1000
    silences: Sequence[Silence] = ()
    open_alarms: Sequence[Alarm] = ()
    records: Mapping[str, ServerRecord] = field(factory=dict)
    noted: Noted = NOTHING_NOTED
    away: int = 0
    keys: Sequence[Key] = ()
    pause: tuple[datetime, datetime] | None = None
    channels: Sequence[Channel] = ()
    sent_in_hour: Mapping[str, int] = field(factory=dict)
    public_url: str | None = None
    is_partial: bool = False

    def matches(self, query: FilterText, record: ServerRecord) -> bool:
        """Whether a server matches the filter of a rule or a silence."""
        return query.matches(record, self.noted.words_of(record))

    def is_held_back(self, alarm: Alarm) -> bool:
        """Whether an alarm is not told yet, because its rule is still taking up what is wrong."""
        is_taken_up = alarm.event_id is None and alarm.server_id is not None
        return is_taken_up and alarm.told_at is None and alarm.rule_id in self.new_rules


@frozen(kw_only=True)
class Changes:
    """
    What `decide` has decided, and what is to be written.

    Attributes:
        begun: New alarms, whose `id` is 0. They may have ended already.
        changed: The alarms of `Situation.open_alarms` that are different now, with all attributes.
        deliveries: New messages.
        look_at: The earliest time at which `decide` must be called again although no event has
            happened; None if that is not needed for any alarm. For keys that expire it must be
            called now and then anyway, and also when a silence, a rule or a channel was changed.
        stood_at: The id of the last server of `Situation.standing` that was looked at, if there was
            no room for the alarms about all of them; otherwise None.

    In `begun` and in `changed`, the number 0 in `part_of` stands for the id of the alarm
    `fleet_silent` of the same rule that has not ended. There is exactly one, in `begun` or among
    the open alarms.
    """

    begun: list[Alarm] = field(factory=list)
    changed: list[Alarm] = field(factory=list)
    deliveries: list[Delivery] = field(factory=list)
    look_at: datetime | None = None
    stood_at: str | None = None


class Book:
    """
    The open alarms and the new ones, while `decide` changes them.

    Each alarm has a number in this book, which is not its id: new alarms have no id yet. The open
    alarms come first, from 0, then the new ones.
    """

    def __init__(self, open_alarms: Iterable[Alarm]) -> None:
        self._before = tuple(open_alarms)
        self._alarms = list(self._before)
        self._lasting: dict[tuple[str, str, str | None, str], int] = {}
        self._of_server: dict[str | None, set[int]] = {}
        for number in range(len(self._alarms)):
            self._file(number)

    def __getitem__(self, number: int) -> Alarm:
        return self._alarms[number]

    def numbers(self) -> range:
        """The numbers of all alarms."""
        return range(len(self._alarms))

    def lasting(self) -> list[int]:
        """The numbers of the alarms that have not ended."""
        return [number for number in self.numbers() if self._alarms[number].ended_at is None]

    def lasting_of(self, server_id: str | None) -> list[int]:
        """The numbers of the alarms about a server that have not ended; for None, about none."""
        return sorted(self._of_server.get(server_id, ()))

    def find(self, rule_id: str, kind: str, server_id: str | None, subject: str = "") -> int | None:
        """
        Return the number of the alarm that has not ended, and has these values of its attributes.

        None if there is none; there is never more than one.
        """
        return self._lasting.get((rule_id, kind, server_id, subject))

    def begin(self, alarm: Alarm) -> None:
        """Add a new alarm, unless `find` finds one of the same rule, kind, server and subject."""
        if self.find(alarm.rule_id, alarm.kind, alarm.server_id, alarm.subject) is None:
            self._alarms.append(alarm)
            self._file(len(self._alarms) - 1)

    def change(self, number: int, **values: Any) -> None:
        """Give attributes of the alarm with a number other values."""
        self._unfile(number)
        self._alarms[number] = evolve(self._alarms[number], **values)
        self._file(number)

    def end(self, number: int, ending: str, at: datetime, *, is_told: bool = True) -> None:
        """
        End the alarm with a number.

        An alarm never ends before it has begun, whatever the clocks of several receivers say.

        Args:
            number: The number of the alarm in this book.
            ending: How it has ended, one of the words for `Alarm.ending`.
            at: When it has ended.
            is_told: Whether its end is to be told, too, if the alarm itself was told.
        """
        alarm = self._alarms[number]
        ended_at = max(at, alarm.begun_at)
        due_at = ended_at if is_told and alarm.told_at is not None else None
        self.change(number, ended_at=ended_at, ending=ending, due_at=due_at)

    def begun(self) -> list[Alarm]:
        """The new alarms, in the order in which they were added."""
        return self._alarms[len(self._before) :]

    def changed(self) -> list[Alarm]:
        """The open alarms that are different now from what they were in the beginning."""
        pairs = zip(self._before, self._alarms, strict=False)
        return [now for before, now in pairs if now is not before and now != before]

    def _file(self, number: int) -> None:
        alarm = self._alarms[number]
        if alarm.ended_at is None:
            self._lasting[_topic(alarm)] = number
            self._of_server.setdefault(alarm.server_id, set()).add(number)

    def _unfile(self, number: int) -> None:
        alarm = self._alarms[number]
        if alarm.ended_at is None:
            self._lasting.pop(_topic(alarm), None)
            self._of_server[alarm.server_id].discard(number)


def _topic(alarm: Alarm) -> tuple[str, str, str | None, str]:
    return alarm.rule_id, alarm.kind, alarm.server_id, alarm.subject

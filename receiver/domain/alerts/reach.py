"""
Whether anybody is told of what is wrong with a server, and if not, why.

Only an alarm is told. An alarm begins when an event happens that a rule names, and when a rule is
made or changed that is about what is wrong already. Receivers of older versions did not do the
latter, and none does it for servers of a key that was revoked or has expired. So what is wrong with
a server may be told to nobody although a rule is about it.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import Enum
from typing import NamedTuple

from attrs import field, frozen

from contract import EventKind, ServerRecord
from receiver.domain.alerts.values import Rule
from receiver.domain.databases import NOTHING_NOTED, Noted
from receiver.domain.filter_text import FilterText

__all__ = ["OpenAlarm", "Reach", "Reached", "Telling"]


class Reach(str, Enum):
    """
    Whether anybody is told of what is wrong with a server; what needs somebody most comes first.

    `no_channel`: nobody can be told of anything. `no_rule`: no rule is about it. `missed`: a rule
    is about it, but came after it began, and has not taken it up. `later`: it has not lasted long
    enough. `told`: a message was made.
    """

    NO_CHANNEL = "no_channel"
    NO_RULE = "no_rule"
    MISSED = "missed"
    LATER = "later"
    TOLD = "told"


class OpenAlarm(NamedTuple):
    """
    An alarm about a server that has not ended.

    Attributes:
        server_id: The id of the server.
        kind: The kind of the alarm, as in `Alarm.kind`.
        told_at: When the first message was made, about this alarm or about the alarm `fleet_silent`
            that is told in its place; None if there was none yet.
        due_at: When the next message is due; None if that is not known.
    """

    server_id: str
    kind: str
    told_at: datetime | None
    due_at: datetime | None


class Reached(NamedTuple):
    """
    Whether anybody is told of what is wrong with a server.

    Attributes:
        reach: Whether, or why not.
        at: When it was first told, or when it will be; None if that is not known, or never.
    """

    reach: Reach
    at: datetime | None = None


@frozen(kw_only=True)
class Telling:
    """
    What decides whether people are told what is wrong with a server.

    Attributes:
        has_channel: Whether there is a channel, through which messages are sent.
        rules: The rules.
        open_alarms: The alarms about servers that have not ended.
        noted: Which words of the rules the labels and notes of databases contain.
    """

    has_channel: bool = False
    rules: Sequence[Rule] = ()
    open_alarms: Sequence[OpenAlarm] = ()
    noted: Noted = NOTHING_NOTED
    _of_server: Mapping[str, Sequence[OpenAlarm]] = field(init=False, eq=False, repr=False)

    @_of_server.default
    def _by_server(self) -> Mapping[str, Sequence[OpenAlarm]]:
        found: defaultdict[str, list[OpenAlarm]] = defaultdict(list)
        for alarm in self.open_alarms:
            found[alarm.server_id].append(alarm)
        return dict(found)

    def of(
        self, record: ServerRecord, kind: str, *, since: datetime | None, now: datetime
    ) -> Reached:
        """
        Say whether anybody is told of what is wrong with a server. Silences are ignored.

        Args:
            record: The record of the server.
            kind: What is wrong: `down`, or another kind of alarm about a server that lasts.
            since: When it began; None if that is not known.
            now: The time.
        """
        kinds = {kind, _LATE} if kind == _DOWN else {kind}
        alarms = [each for each in self._of_server.get(record.server_id, ()) if each.kind in kinds]
        told = [each.told_at for each in alarms if each.told_at is not None]
        if told:
            return Reached(Reach.TOLD, min(told))
        if alarms:
            due = [each.due_at for each in alarms if each.due_at is not None]
            return Reached(Reach.LATER, min(due, default=None))
        if not self.has_channel:
            return Reached(Reach.NO_CHANNEL)
        return Reached(self._without_alarm(record, kinds, since=since, now=now))

    def _without_alarm(
        self, record: ServerRecord, kinds: set[str], *, since: datetime | None, now: datetime
    ) -> Reach:
        """Why there is no alarm, if there are channels."""
        about = self._about(record, kinds)
        if about:
            begun = [each for each in (since, *(rule.created_at for rule in about)) if each]
            is_taken_up = any(now - each < _TAKEN_UP_WITHIN for each in begun)
            return Reach.LATER if is_taken_up else Reach.MISSED
        if kinds == {_LATE} and self._about(record, {_DOWN}):
            return Reach.LATER  # it is told when the server is down
        return Reach.NO_RULE

    def _about(self, record: ServerRecord, kinds: set[str]) -> list[Rule]:
        """The rules that are about a server and one of some kinds of alarms."""
        words = self.noted.words_of(record)
        return [
            rule
            for rule in self.rules
            if not rule.kinds.isdisjoint(kinds)
            and FilterText.parse(rule.query).in_any_state().matches(record, words)
        ]


_DOWN, _LATE = EventKind.DOWN.value, EventKind.LATE.value
_TAKEN_UP_WITHIN = timedelta(minutes=1)
"""
Within what time after an event, or after a rule was made, a receiver has certainly begun the alarms
about it.
"""

"""
Which alarms begin and end, and which of them are told: one pure function of events and records.

A receiver calls `decide` when there are new events, and when it is time to look at alarms again. In
one transaction it writes what `decide` returns and the number of the last event. So a receiver that
is killed at any time tells nothing twice and forgets nothing.

Events say when an alarm begins and ends. Where no event does, the records of servers say it: no
event tells a rule that is made of a server that is down already, nor that a database and its copy
have stopped being twins, nor that a server that flaps (its state changes again and again) is down.
Records may know more than the events so far, because the events that follow are still to be read.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from contract import EventKind, ServerRecord, State, dumps
from contract.fields import format_moment
from receiver.domain.alerts.fleet_silence import begin_parts, end_fleet_silence, known_of_fleet
from receiver.domain.alerts.ids import new_id
from receiver.domain.alerts.next_look import next_look
from receiver.domain.alerts.situations import Book, Changes, Situation
from receiver.domain.alerts.telling import tell
from receiver.domain.alerts.values import AWAY, KEY_EXPIRES, LASTING, Alarm, Rule
from receiver.domain.filter_text import FilterText
from receiver.domain.queries import RecordedEvent

__all__ = ["Changes", "Situation", "decide", "default_rule", "needs"]


def default_rule(channel_id: str, *, now: datetime) -> Rule:
    """
    Make the rule that is stored together with the first channel, whose id is `channel_id`.

    It tells when a server in production, or without a stage, has been down for five minutes.
    """
    return Rule(
        id=new_id(),
        name="Down for five minutes",
        query=str(FilterText.parse("stage:production,none")),
        kinds=frozenset({EventKind.DOWN.value}),
        after=timedelta(minutes=5),
        channel_id=channel_id,
        remind_every=None,
        created_at=now,
    )


def needs(events: Sequence[RecordedEvent], open_alarms: Collection[Alarm]) -> set[str]:
    """
    The ids of the servers whose records `decide` needs, as `Situation.records`.

    Args:
        events: The events that `decide` looks at.
        open_alarms: The alarms that `decide` looks at.
    """
    of_events = {each.event.server_id for each in events}
    leaders = {
        each.event.details.get("node_of") for each in events if each.event.kind is EventKind.NODE
    }
    of_alarms = {alarm.server_id for alarm in open_alarms if not _is_only_to_be_ended(alarm)}
    return {each for each in of_events | leaders | of_alarms if each is not None}


def decide(situation: Situation) -> Changes:
    """Decide which alarms begin and end now, and which messages are to be sent. Writes nothing."""
    book = Book(situation.open_alarms)
    _follow_rules(book, situation)
    begin = _Beginning(book, situation)
    for event in situation.events:
        _end_by_event(book, event)
        begin.by_event(event)
    stood_at = begin.by_standing()
    begin.by_keys()
    begin.by_pause()
    _end_by_keys(book, situation)
    unknown = _end_by_records(book, situation)
    end_fleet_silence(book, situation)
    begin_parts(book, situation)
    deliveries = [] if situation.is_partial else tell(book, situation, unknown=unknown)
    return Changes(
        begun=book.begun(),
        changed=book.changed(),
        deliveries=deliveries,
        look_at=next_look(book, situation, unknown),
        stood_at=stood_at,
    )


def _is_only_to_be_ended(alarm: Alarm) -> bool:
    return alarm.ended_at is not None and alarm.told_at is not None


def _follow_rules(book: Book, situation: Situation) -> None:
    """End alarms whose rule was removed, and give others the channel that their rule has now."""
    rules = {rule.id: rule for rule in situation.rules}
    for number in book.numbers():
        alarm = book[number]
        rule = rules.get(alarm.rule_id)
        if rule is None:
            if alarm.ended_at is None:
                book.end(number, "rule_removed", situation.now, is_told=False)
            elif alarm.told_at is None:
                book.change(number, due_at=None)
        elif alarm.told_at is None and alarm.channel_id != rule.channel_id:
            book.change(number, channel_id=rule.channel_id)


def _end_by_event(book: Book, recorded: RecordedEvent) -> None:
    """End the alarms that an event ends, or let another server of the database have them."""
    event = recorded.event
    if event.kind is EventKind.NODE:
        for number in book.lasting_of(event.server_id):
            if book[number].kind in _SILENCES:
                _hand_over(book, number, event.details["node_of"], event.at)
        return
    ended = _ENDED_BY.get(event.kind, frozenset())
    for number in book.lasting_of(event.server_id) if ended else ():
        if book[number].kind in ended:
            book.end(number, _ENDINGS.get(event.kind, event.kind.value), event.at)


def _hand_over(book: Book, number: int, leader: str, at: datetime) -> None:
    """
    Let an alarm be about the server that stands for the database now.

    If that server has such an alarm itself, this one ends.
    """
    alarm = book[number]
    if book.find(alarm.rule_id, alarm.kind, leader) is None:
        book.change(number, server_id=leader)
    else:
        book.end(number, "node", at)


def _end_by_records(book: Book, situation: Situation) -> set[int]:
    """
    End the alarms about servers that are over by the records of these servers.

    Returns the numbers of the alarms of which that is not known, because they are about a database
    for which another server stands now, whose record was not read.
    """
    unknown: set[int] = set()
    for number in book.lasting():
        server_id = book[number].server_id
        if server_id is None:
            continue
        record = situation.records.get(server_id)
        if record is not None and record.node_of is not None and book[number].kind in _SILENCES:
            if not situation.is_partial:
                _hand_over(book, number, record.node_of, situation.now)
            record = situation.records.get(record.node_of)
            if record is None or situation.is_partial:
                unknown.add(number)
                continue
        alarm = book[number]
        ending = "deleted" if record is None else _ending(alarm, record)
        if ending is not None and alarm.ended_at is None:
            book.end(number, ending, _ended_at(ending, record, situation.now))
    return unknown


def _ending(alarm: Alarm, record: ServerRecord) -> str | None:
    """How an alarm about a server has ended, by the record of the server; None if it lasts."""
    if record.superseded_by is not None:
        return "rebuilt"
    if record.state is State.LEFT:
        return "left"
    is_over = {
        EventKind.LATE.value: not record.state.stale,
        EventKind.DOWN.value: record.state is not State.DOWN,
        EventKind.TWIN.value: record.twin_of is None,
        EventKind.CONFLICT.value: record.conflict_since is None,
        EventKind.FLAPPING.value: record.flapping_since is None,
    }
    return _OVER[alarm.kind] if is_over[alarm.kind] else None


def _ended_at(ending: str, record: ServerRecord | None, now: datetime) -> datetime:
    if record is None or ending != _RECOVERED:
        return now
    return min(record.state_since, now)


def _end_by_keys(book: Book, situation: Situation) -> None:
    """End the alarms about keys that are revoked, have expired, or do not expire soon any more."""
    keys = {key.id: key for key in situation.keys}
    for number in book.lasting_of(None):
        alarm = book[number]
        if alarm.kind != KEY_EXPIRES:
            continue
        key = keys.get(alarm.subject)
        standing = "revoked" if key is None else key.standing(situation.now)
        if standing != "active":
            book.end(number, standing, situation.now)
        elif key is not None and key.expires_soon_since(situation.now) is None:
            book.end(number, "renewed", situation.now)


class _Beginning:
    """Begins alarms: finds the rules that match what has happened."""

    def __init__(self, book: Book, situation: Situation) -> None:
        self._book = book
        self._situation = situation
        self._rules = _by_kind(situation.rules)
        new = [rule for rule in situation.rules if rule.id in situation.new_rules]
        self._new_rules = _by_kind(new)
        self._remembered: tuple[int | None, Mapping[str, Any]] = (None, {})
        self._names = {channel.id: channel.name for channel in situation.channels}

    def by_event(self, recorded: RecordedEvent) -> None:
        """Begin the alarms that an event begins."""
        event = recorded.event
        record = self._record(event.server_id, event.at)
        for rule in self._matching(self._rules, event.kind.value, record):
            if not self._is_about_own_channel(rule, recorded):
                self._begin(rule, event.kind.value, recorded, record, since=event.at)
        if event.kind in _BACK and record is not None:
            # A server that has recovered and is late or down again has events of its own for that.
            skipped = _SILENCES if event.kind is EventKind.RECOVERED else ()
            standing = {kind: at for kind, at in _standing(record).items() if kind not in skipped}
            for kind, since in standing.items():
                for rule in self._matching(self._rules, kind, record):
                    self._begin(rule, kind, recorded, record, since=since)

    def by_standing(self) -> str | None:
        """
        Begin the alarms of new rules about what was wrong with servers before.

        It stops when these are more than `Situation.room`, and returns the id of the last server
        that it has looked at, so that another decision goes on there; otherwise None.
        """
        records, room = self._situation.records, self._situation.room
        last = None
        for server_id in self._situation.standing:
            begun = self._by_record(records[server_id]) if server_id in records else []
            room -= len(begun)
            if room < 0 and last is not None:
                return last
            for alarm in begun:
                self._book.begin(alarm)
            last = server_id
        return None

    def _by_record(self, record: ServerRecord) -> list[Alarm]:
        """The alarms of new rules that the record of a server means."""
        known = {"server": _known_of(record)}
        return [
            Alarm(
                rule_id=rule.id,
                channel_id=rule.channel_id,
                kind=kind,
                server_id=record.server_id,
                event_id=None,
                begun_at=since,
                due_at=since + rule.after,
                known=known,
            )
            for kind, since in _standing(record).items()
            for rule in self._matching(self._new_rules, kind, record)
        ]

    def by_keys(self) -> None:
        """Begin the alarms about keys that expire soon."""
        for rule in self._rules.get(KEY_EXPIRES, ()):
            for key in self._situation.keys:
                since = key.expires_soon_since(self._situation.now)
                if since is not None and key.expires_at is not None:
                    self._book.begin(
                        Alarm(
                            rule_id=rule.id,
                            channel_id=rule.channel_id,
                            kind=KEY_EXPIRES,
                            server_id=None,
                            subject=key.id,
                            event_id=None,
                            begun_at=since,
                            due_at=since + rule.after,
                            known={
                                "key": {
                                    "id": key.id,
                                    "name": key.name,
                                    "scope": key.scope.value,
                                    "expires_at": format_moment(key.expires_at),
                                }
                            },
                        )
                    )

    def by_pause(self) -> None:
        """Begin the alarms that no receiver was running for a time, which is over."""
        if self._situation.pause is None:
            return
        begun_at, ended_at = self._situation.pause
        for rule in self._rules.get(AWAY, ()):
            if ended_at - begun_at >= rule.after:
                self._book.begin(
                    Alarm(
                        rule_id=rule.id,
                        channel_id=rule.channel_id,
                        kind=AWAY,
                        server_id=None,
                        event_id=None,
                        begun_at=begun_at,
                        due_at=ended_at,
                        ended_at=ended_at,
                        ending="over",
                    )
                )

    def _begin(
        self,
        rule: Rule,
        kind: str,
        recorded: RecordedEvent,
        record: ServerRecord | None,
        *,
        since: datetime,
    ) -> None:
        lasts = kind in LASTING
        self._book.begin(
            Alarm(
                rule_id=rule.id,
                channel_id=rule.channel_id,
                kind=kind,
                server_id=recorded.event.server_id,
                event_id=recorded.id,
                begun_at=since,
                due_at=since + rule.after if lasts else since,
                ended_at=None if lasts else since,
                ending=None if lasts else "over",
                known=self._known(recorded, record),
            )
        )

    def _known(self, recorded: RecordedEvent, record: ServerRecord | None) -> Mapping[str, Any]:
        """What alarms that an event begins remember, which is the same for all rules."""
        if self._remembered[0] != recorded.id:
            known: dict[str, Any] = {"event": _event_json(recorded)}
            if record is not None and record.server_id in self._situation.records:
                known["server"] = _known_of(record)
            if recorded.event.kind is EventKind.FLEET_SILENT:
                known |= known_of_fleet(recorded.event, self._situation.away)
            self._remembered = recorded.id, known
        return self._remembered[1]

    def _matching(
        self, rules: Mapping[str, Sequence[Rule]], kind: str, record: ServerRecord | None
    ) -> Iterator[Rule]:
        """Those of the rules that match alarms of a kind about a server; None for the fleet."""
        for rule in rules.get(kind, ()):
            query = FilterText.parse(rule.query)
            if record is None or self._situation.matches(query, record):
                yield rule

    def _record(self, server_id: str | None, at: datetime) -> ServerRecord | None:
        """The record of a server; of one that was deleted a record that knows its id only."""
        if server_id is None:
            return None
        return self._situation.records.get(server_id) or ServerRecord(
            server_id=server_id, first_seen=at, last_seen=at, state_since=at
        )

    def _is_about_own_channel(self, rule: Rule, recorded: RecordedEvent) -> bool:
        """Whether an event tells that the channel of a rule does not deliver."""
        channel = recorded.event.details.get("channel")
        is_undelivered = recorded.event.kind.value == _UNDELIVERED
        return is_undelivered and channel == self._names.get(rule.channel_id)


def _by_kind(rules: Sequence[Rule]) -> Mapping[str, list[Rule]]:
    """The rules for each kind; whoever is told of silent servers is told of a silent fleet too."""
    found: defaultdict[str, list[Rule]] = defaultdict(list)
    for rule in rules:
        more = {EventKind.FLEET_SILENT.value} if rule.kinds & _SILENCES else set()
        for kind in rule.kinds | more:
            found[kind].append(rule)
    return found


def _standing(record: ServerRecord) -> dict[str, datetime]:
    """The kinds of lasting alarms that the record of a server means, and since when."""
    if record.superseded_by is not None or record.state is State.LEFT:
        return {}
    since = {
        EventKind.TWIN: record.state_since if record.twin_of is not None else None,
        EventKind.CONFLICT: record.conflict_since,
        EventKind.FLAPPING: record.flapping_since,
    }
    if record.node_of is None and record.state.stale:
        since[EventKind.LATE] = record.state_since
    if record.node_of is None and record.state is State.DOWN:
        since[EventKind.DOWN] = record.state_since
    return {kind.value: at for kind, at in since.items() if at is not None}


def _event_json(recorded: RecordedEvent) -> dict[str, Any]:
    """An event as the API has it, but without details that are very long."""
    found = {**recorded.to_json(), "kind": recorded.event.kind.value}
    if len(dumps(found["details"])) > _LONGEST_DETAILS:
        found["details"] = {"truncated": True}
    return found


def _known_of(record: ServerRecord) -> dict[str, Any]:
    """What a message tells of a server; texts that are very long are cut."""
    addresses = record.ip_addresses
    texts = {
        "server_id": record.server_id,
        "database": record.database,
        "odoo_stage": record.odoo_stage,
        "hostname": record.hostname,
        "ip_address": addresses.primary if addresses is not None else None,
        "endpoint_url": record.endpoint_url,
        "version": record.version,
        "odoo_version": record.odoo_version,
        "status": record.status,
    }
    return {
        **{name: text and text[:_LONGEST_TEXT] for name, text in texts.items()},
        "port": record.port,
        "state": record.state.value,
        "state_since": format_moment(record.state_since),
        "last_seen": format_moment(record.last_seen),
    }


_SILENCES = frozenset({EventKind.LATE.value, EventKind.DOWN.value})
_OF_SERVERS = LASTING - {EventKind.FLEET_SILENT.value, KEY_EXPIRES}
_RECOVERED = "recovered"
_UNDELIVERED = "undelivered"
_ENDED_BY = {
    EventKind.RECOVERED: _SILENCES,
    EventKind.CALM: frozenset({EventKind.FLAPPING.value}),
    EventKind.REBUILT: _OF_SERVERS,
    EventKind.NODE_LEFT: _OF_SERVERS,
    EventKind.LEFT: _OF_SERVERS,
    EventKind.DELETED: _OF_SERVERS,
}
"""The kinds of alarms about a server that an event about it ends."""

_BACK = (EventKind.CALM, EventKind.RECOVERED)
"""
The kinds of events after which the record says which alarms a server has.

What happened to a server that flapped, that had left, or that another one had superseded, caused no
events, or ended alarms that may be right again.
"""

_ENDINGS = {EventKind.NODE_LEFT: "rebuilt"}
"""How an alarm ends by an event, where the ending is not called like the event."""

_OVER = {
    EventKind.LATE.value: _RECOVERED,
    EventKind.DOWN.value: _RECOVERED,
    EventKind.TWIN.value: "over",
    EventKind.CONFLICT.value: "over",
    EventKind.FLAPPING.value: "calm",
}
"""How an alarm of each kind ends when it has no particular reason."""

_LONGEST_DETAILS = 16_384  # bytes of JSON
_LONGEST_TEXT = 255

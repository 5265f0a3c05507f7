"""
The alarms in the database, and the step by which alarms begin, are told and end.

An alarm is a rule that matched an event, from the event until it is over; about it people are sent
messages. `receiver.domain.alerts.alarms.decide` decides on alarms. A step first reads all that the
decision depends on, in a transaction that only reads, and writes the decision in a second, short
one. If anything that it depends on has changed in between, nothing is written, and the next step
decides anew.

A rule that is made or changed takes up what is wrong with servers already: the next steps look at
all servers that are in trouble, for this rule alone. The alarms that they begin are told by the
step after the last of these, in one message; those of other rules do not wait for that.

When there are more events or such servers than one step looks at, all steps but the last are
partial: they know only the alarms about the servers that they look at, and send no messages. So the
time that a step takes does not grow with the number of alarms that have not ended. Only every half
a minute there is one that is not partial, so that what is due is told in time.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from attrs import asdict, evolve, frozen
from sqlalchemy import Connection, Select, bindparam, func, insert, or_, select, update

from contract import Event, EventKind, ServerRecord, State
from receiver.domain.alerts.alarms import Changes, Situation, decide, needs
from receiver.domain.alerts.reach import OpenAlarm, Telling
from receiver.domain.alerts.values import KEY_EXPIRES, Alarm, DeliveryKind, Rule
from receiver.domain.databases import Noted
from receiver.domain.filter_text import FilterText
from receiver.domain.keys import Key
from receiver.domain.queries import RecordedEvent
from receiver.store.alerts.channels import read_channels, read_rules
from receiver.store.alerts.outbox import write_deliveries
from receiver.store.alerts.progress import Progress, Seen, has_come_to, move, see, touch
from receiver.store.alerts.silences import read_silences
from receiver.store.alerts.tables import alarms, deliveries, is_unfinished
from receiver.store.alerts.tables import rules as rules_table
from receiver.store.credentials.keys import read_keys
from receiver.store.dialects import Dialect, Identity
from receiver.store.events import read_after, write_events
from receiver.store.labels import noted
from receiver.store.lists.troubled import troubled_after
from receiver.store.rows import RowCache, records_of
from receiver.store.tables import (
    Moment,
    among,
    count_of_lapsed_keys,
    is_in_state,
    liveness,
    servers,
)

__all__ = [
    "Step",
    "acknowledge",
    "count_open",
    "find_alarms",
    "read_alarm",
    "read_alarms",
    "read_telling",
    "take_step",
    "write_step",
]


@frozen(kw_only=True)
class Standing:
    """
    Some of the servers with which something is wrong: those that a step looks at for new rules.

    Attributes:
        server_ids: The ids of the servers, without those whose key was revoked or has expired.
        next_after: The id of the last of all these servers; None if there are no more after it.
    """

    server_ids: Sequence[str] = ()
    next_after: str | None = None


@frozen(kw_only=True)
class News:
    """
    What a step looks at.

    Attributes:
        events: Events, in the order of their numbers.
        last: The number and the time of the last event that was looked at with these.
        has_more_events: Whether there are more events, for another step.
        new_rules: The ids of the new rules: those that were made or changed, and for which not all
            servers with which something is wrong were looked at before this step.
        standing: The servers that are looked at for these rules; None if there are no such rules,
            or there are more events, which come first.
    """

    events: Sequence[RecordedEvent]
    last: tuple[int, datetime | None]
    has_more_events: bool
    new_rules: Sequence[str]
    standing: Standing | None

    @property
    def is_more(self) -> bool:
        """
        Whether another step is to follow at once.

        One follows even when all servers were looked at for the new rules. It tells of all of them.
        """
        return self.has_more_events or bool(self.new_rules)


@frozen(kw_only=True)
class Step:
    """
    What a step has decided, before it is written.

    Attributes:
        identity: The database that was read.
        progress: What to write about how far the events were looked at; but the revision is the one
            that was read, by which `write_step` notices whether anything has changed since.
        changes: What `decide` has decided.
        open_alarms: The alarms that were read, on which the decision is based.
        new_rules: The ids of the new rules, as in `News`.
        standing: The servers that were looked at for these rules, as in `News`.
        is_more: Whether there are more events or servers to look at, by another step.
    """

    identity: Identity
    progress: Progress
    changes: Changes
    open_alarms: Sequence[Alarm]
    new_rules: Sequence[str]
    standing: Standing | None
    is_more: bool


def take_step(
    dialect: Dialect,
    connection: Connection,
    cache: RowCache,
    now: datetime,
    public_url: str | None,
) -> Step | None:
    """
    Decide which alarms begin and end, by the events since the last step and by the time.

    Returns what `write_step` is to write. Returns None if there are no rules, or nothing has
    happened and it is not time yet to look again; then this reads only a few rows, each by its key.

    Args:
        dialect: The dialect of the database.
        connection: A connection to read with.
        cache: The cached rows of servers.
        now: The time.
        public_url: The URL under which people reach the pages; None for messages without links.
    """
    seen = see(connection)
    if seen.is_idle(now):
        return None
    rules = read_rules(connection)
    news = _read_news(connection, seen, rules, now)
    known = Situation(
        now=now,
        public_url=public_url,
        rules=rules,
        new_rules=frozenset(news.new_rules),
        events=news.events,
        standing=() if news.standing is None else news.standing.server_ids,
        room=_MOST_ALARMS - _begun(news.events, rules),
    )
    is_partial = news.is_more and now < seen.progress.look_at + _LONGEST_SUSPENSE
    situation = _completed(known, connection, cache, seen, is_partial=is_partial)
    changes = decide(situation)
    return Step(
        identity=dialect.identify(connection),
        progress=_progress(seen, news, changes, now, is_partial=is_partial),
        changes=changes,
        open_alarms=situation.open_alarms,
        new_rules=news.new_rules,
        standing=news.standing,
        is_more=news.is_more,
    )


def _progress(
    seen: Seen, news: News, changes: Changes, now: datetime, *, is_partial: bool
) -> Progress:
    """What to write about how far the events were looked at, and when to look again."""
    event_id, event_at = news.last
    again = seen.progress.look_at
    if not is_partial:
        # With new rules at once, so that no step is left out although nothing happens.
        again = now if news.new_rules else now + _LONGEST_WAIT
    return Progress(
        event_id=event_id,
        event_at=event_at,
        pause_ended=seen.heard_since,
        look_at=again if changes.look_at is None else min(changes.look_at, again),
        revision=seen.progress.revision,
    )


def write_step(dialect: Dialect, connection: Connection, step: Step) -> bool:
    """
    Write what a step has decided and return True; or return False if it must be decided anew.

    Then nothing is written. That is so when another receiver has taken a step since, somebody has
    changed what the decision depends on, or another database has taken the place of the one that
    was read.
    """
    if dialect.identify(connection) != step.identity or not move(connection, step.progress):
        return False
    begun, changed = step.changes.begun, step.changes.changed
    parents = _parents(step.open_alarms) | _insert_parents(connection, begun)
    others = [alarm for alarm in begun if alarm.kind != _FLEET_SILENT]
    if others:
        connection.execute(insert(alarms), [_columns(alarm, parents) for alarm in others])
    _update(connection, step.open_alarms, changed, parents)
    write_deliveries(connection, step.changes.deliveries)
    if step.standing is not None:
        after = step.changes.stood_at or step.standing.next_after
        connection.execute(_LOOKED_AT, {"ids": step.new_rules, "after": after})
    return True


def find_alarms(
    *,
    is_open: bool | None,
    is_part: bool | None,
    server_id: str | None,
    before: int | None,
    limit: int,
) -> Select[Any]:
    """
    The query for alarms, newest first.

    Args:
        is_open: If True, only alarms that have not ended; if False, only alarms that have ended; if
            None, both.
        is_part: If True, only alarms that are told as a part of an alarm `fleet_silent`; if False,
            only alarms that are not; if None, both.
        server_id: Only alarms about this server; None for all.
        before: Only alarms with a smaller id; None for all.
        limit: How many alarms are returned at most.
    """
    query = select(alarms)
    if is_open is not None:
        # With the condition of the partial index, which holds for all that last.
        lasts = alarms.c.ended_at.is_(None) & is_unfinished
        query = query.where(lasts if is_open else alarms.c.ended_at.is_not(None))
    if is_part is not None:
        part_of = alarms.c.part_of
        query = query.where(part_of.is_not(None) if is_part else part_of.is_(None))
    if server_id is not None:
        query = query.where(alarms.c.server_id == server_id)
    if before is not None:
        query = query.where(alarms.c.id < before)
    return query.order_by(alarms.c.id.desc()).limit(limit)


def read_alarms(connection: Connection, query: Select[Any]) -> list[Alarm]:
    """The alarms that a query finds, which `find_alarms` has made."""
    return [Alarm(**row) for row in connection.execute(query).mappings()]


def read_alarm(connection: Connection, alarm_id: int) -> Alarm | None:
    """The alarm with this id; None if there is none."""
    row = connection.execute(_ONE, {"key": alarm_id}).mappings().one_or_none()
    return None if row is None else Alarm(**row)


def read_telling(connection: Connection) -> Telling:
    """
    Read what decides whether people are told what is wrong with a server.

    That is whether there are channels; the rules; and the alarms that have not ended.
    """
    if not read_channels(connection):
        return Telling()  # every rule has a channel, and every alarm that lasts has a rule
    found = connection.execute(_LASTING).all()
    rules = read_rules(connection)
    fleet = {alarm.id: alarm for alarm in found if alarm.server_id is None}
    return Telling(
        has_channel=True,
        rules=rules,
        noted=_noted(connection, {each.query for each in rules}),
        open_alarms=[
            OpenAlarm(
                alarm.server_id,
                alarm.kind,
                alarm.told_at or fleet.get(alarm.part_of, alarm).told_at,
                fleet.get(alarm.part_of, alarm).due_at,
            )
            for alarm in found
            if alarm.server_id is not None
        ],
    )


def count_open(connection: Connection) -> int:
    """How many alarms have not ended, and are neither silenced nor a part of another one."""
    return int(connection.execute(_OPEN).scalar_one())


def acknowledge(
    dialect: Dialect, connection: Connection, alarm_id: int, at: datetime, by: str
) -> list[Event]:
    """
    Note that somebody has acknowledged an alarm, and tell so by an event, which is returned.

    `by` is the name of the key of that person. If there is no such alarm, or it has ended or was
    acknowledged before, nothing is written, and the returned list is empty.
    """
    touch(connection)
    alarm = read_alarm(connection, alarm_id)
    if alarm is None or alarm.ended_at is not None or alarm.acknowledged_at is not None:
        return []
    query = update(alarms).where(alarms.c.id == alarm_id)
    connection.execute(query.values(acknowledged_at=at, acknowledged_by=by))
    details = {"kind": alarm.kind, "by": by}
    kind = EventKind.ACKNOWLEDGED
    told = Event(kind=kind, at=at, server_id=alarm.server_id, details=details)
    write_events(dialect, connection, [told])
    return [told]


def _read_news(connection: Connection, seen: Seen, rules: Sequence[Rule], now: datetime) -> News:
    """Read what a step looks at: events, and when there are few of them servers for new rules."""
    last = has_come_to(connection, seen)
    page = read_after(connection, last[0], limit=_MOST_EVENTS, max_bytes=_MOST_EVENT_BYTES)
    events = page.events[: _bounded(page.events, rules)]
    has_more = len(events) < len(page.events) or page.next_before is not None
    new = {row.id: row.standing_after for row in connection.execute(_NEW_RULES)}
    return News(
        events=events,
        last=(events[-1].id, events[-1].event.at) if events else last,
        has_more_events=has_more,
        new_rules=[*new],
        standing=None if has_more or not new else _standing(connection, now, [*new.values()]),
    )


def _standing(connection: Connection, now: datetime, places: Sequence[str]) -> Standing:
    """
    Read of which servers new rules take up in this step what is wrong.

    `places` has for each new rule the id of the last server that was looked at. The step goes on
    at the first of them. What other rules look at again begins no second alarm.
    """
    limit = min(_MOST_ALARMS, max(1, _MOST_MATCHES // len(places)))
    found = troubled_after(connection, min(places), limit=limit)
    lapsed = {key.id for key in read_keys(connection) if key.standing(now) != "active"}
    return Standing(
        server_ids=[server_id for server_id, owner in found if owner not in lapsed],
        next_after=found[-1][0] if len(found) == limit else None,
    )


def _bounded(events: Sequence[RecordedEvent], rules: Sequence[Rule]) -> int:
    """How many of the events a step looks at, so that it begins about `_MOST_ALARMS` at most."""
    named = Counter(kind for rule in rules for kind in rule.kinds)
    alarms_begun = 0
    for number, recorded in enumerate(events):
        alarms_begun += named[recorded.event.kind.value]
        if alarms_begun > _MOST_ALARMS:
            return max(number, 1)
    return len(events)


def _begun(events: Sequence[RecordedEvent], rules: Sequence[Rule]) -> int:
    """How many alarms the events begin, about."""
    named = Counter(kind for rule in rules for kind in rule.kinds)
    return sum(named[each.event.kind.value] for each in events)


def _noted(connection: Connection, queries: Iterable[str]) -> Noted:
    """Which words of filters the labels and notes of databases contain."""
    words = {word for query in queries for word in FilterText.parse(query).words}
    return noted(connection, sorted(words))


def _completed(
    known: Situation, connection: Connection, cache: RowCache, seen: Seen, *, is_partial: bool
) -> Situation:
    """Add to a situation, which has time, URL, events and rules, the rest from the database."""
    now = known.now
    query = _UNFINISHED
    if is_partial:
        query = query.where(_is_concerned).params(ids={*needs(known.events, []), *known.standing})
    open_alarms = read_alarms(connection, query)
    silences = read_silences(connection, now, ended=False)
    queries = {*(each.query for each in known.rules), *(each.query for each in silences)}
    return evolve(
        known,
        silences=silences,
        open_alarms=open_alarms,
        noted=_noted(connection, queries),
        records=_records(connection, cache, {*needs(known.events, open_alarms), *known.standing}),
        away=int(connection.execute(_AWAY, {"now": now}).scalar_one()),
        keys=_keys(connection, known.rules, open_alarms),
        pause=_pause(seen),
        channels=read_channels(connection),
        sent_in_hour=_sent_in_hour(connection, now),
        is_partial=is_partial,
    )


def _records(
    connection: Connection, cache: RowCache, ids: Collection[str]
) -> Mapping[str, ServerRecord]:
    if not ids:
        return {}
    found = [(row.server_id, row.revision) for row in connection.execute(_REVISIONS, {"ids": ids})]
    return {record.server_id: record for record in records_of(connection, found, cache)}


def _keys(
    connection: Connection, rules: Sequence[Rule], open_alarms: Sequence[Alarm]
) -> Sequence[Key]:
    """All API keys, if a rule or an alarm is about keys."""
    is_needed = any(KEY_EXPIRES in rule.kinds for rule in rules) or any(
        alarm.kind == KEY_EXPIRES for alarm in open_alarms
    )
    return read_keys(connection) if is_needed else []


def _pause(seen: Seen) -> tuple[datetime, datetime] | None:
    """From when to when receivers were last interrupted; None if a step has looked at that."""
    if seen.away_since is None or seen.heard_since is None:
        return None
    is_known = seen.heard_since == seen.progress.pause_ended
    return None if is_known else (seen.away_since, seen.heard_since)


def _sent_in_hour(connection: Connection, now: datetime) -> Mapping[str, int]:
    rows = connection.execute(_SENT, {"since": now - _AN_HOUR}).all()
    return {row.channel_id: row.number for row in rows}


def _parents(open_alarms: Sequence[Alarm]) -> dict[str, int]:
    """By the id of a rule, the id of its alarm `fleet_silent` that has not ended."""
    return {
        alarm.rule_id: alarm.id
        for alarm in open_alarms
        if alarm.kind == _FLEET_SILENT and alarm.ended_at is None
    }


def _insert_parents(connection: Connection, begun: Sequence[Alarm]) -> dict[str, int]:
    """Insert the new alarms `fleet_silent`; return their ids by the ids of their rules."""
    return {
        alarm.rule_id: connection.execute(_INSERT_ONE, _columns(alarm, {})).scalar_one()
        for alarm in begun
        if alarm.kind == _FLEET_SILENT
    }


def _update(
    connection: Connection,
    open_alarms: Sequence[Alarm],
    changed: Sequence[Alarm],
    parents: Mapping[str, int],
) -> None:
    """
    Write what has changed in alarms.

    Many alarms change in the same way, when they become part of another one, or are told. These are
    written by one statement, which takes a tenth of the time of a statement for each.
    """
    before = {alarm.id: alarm for alarm in open_alarms}
    alike: defaultdict[tuple[tuple[str, Any], ...], list[int]] = defaultdict(list)
    known: list[dict[str, Any]] = []
    for alarm in changed:
        old = _columns(before[alarm.id], parents)
        new = {name: each for name, each in _columns(alarm, parents).items() if each != old[name]}
        if "known" in new:
            known.append({"key": alarm.id, "now_known": new.pop("known")})
        alike[tuple(new.items())].append(alarm.id)
    alike.pop((), None)  # of these, only what is known has changed
    for values, ids in alike.items():
        for begin in range(0, len(ids), _MOST_PARAMETERS):
            some = alarms.c.id.in_(ids[begin : begin + _MOST_PARAMETERS])
            connection.execute(update(alarms).where(some).values(dict(values)))
    if known:
        connection.execute(_UPDATE_KNOWN, known)


def _columns(alarm: Alarm, parents: Mapping[str, int]) -> dict[str, Any]:
    if alarm.part_of == 0:
        alarm = evolve(alarm, part_of=parents[alarm.rule_id])
    columns = asdict(alarm, recurse=False)
    del columns["id"]
    return {**columns, "known": dict(alarm.known)}


_FLEET_SILENT = EventKind.FLEET_SILENT.value
_MOST_EVENTS = 500
_MOST_EVENT_BYTES = 1024 * 1024
_MOST_ALARMS = 1000
"""How many alarms a step begins at most, so that heartbeats hardly wait for it."""

_MOST_MATCHES = 50_000
"""How many times a step matches a server with a new rule at most, which takes some µs each."""

_MOST_PARAMETERS = 1000

_LONGEST_WAIT = timedelta(minutes=10)
"""The longest time between two steps, while there are rules: a key may be about to expire."""

_LONGEST_SUSPENSE = timedelta(seconds=30)
"""For how long at most partial steps may put off messages."""

_AN_HOUR = timedelta(hours=1)

_NEW_RULES = (
    select(rules_table.c.id, rules_table.c.standing_after)
    .where(rules_table.c.standing_after.is_not(None))
    .order_by(rules_table.c.id)
)
_LOOKED_AT = (
    update(rules_table)
    .where(among(rules_table.c.id, "ids"))
    .values(standing_after=bindparam("after"))
)
_ONE = select(alarms).where(alarms.c.id == bindparam("key"))
_UNFINISHED = select(alarms).where(is_unfinished).order_by(alarms.c.id)
_LASTING = select(
    alarms.c.id,
    alarms.c.server_id,
    alarms.c.kind,
    alarms.c.told_at,
    alarms.c.due_at,
    alarms.c.part_of,
).where(alarms.c.ended_at.is_(None), is_unfinished)
_is_concerned = or_(alarms.c.server_id.is_(None), among(alarms.c.server_id, "ids"))
_OPEN = (
    select(func.count())
    .select_from(alarms)
    .where(
        alarms.c.ended_at.is_(None),
        is_unfinished,
        alarms.c.silenced_by.is_(None),
        alarms.c.part_of.is_(None),
    )
)
_INSERT_ONE = insert(alarms).returning(alarms.c.id)
_UPDATE_KNOWN = (
    update(alarms).where(alarms.c.id == bindparam("key")).values(known=bindparam("now_known"))
)
_REVISIONS = select(liveness.c.server_id, liveness.c.revision).where(
    among(liveness.c.server_id, "ids")
)
_stale = [state for state in State if state.stale]
_AWAY = select(
    select(func.count()).select_from(servers).where(is_in_state(*_stale)).scalar_subquery()
    - count_of_lapsed_keys(
        servers.c.state.in_(_stale), servers.c.superseded_by.is_(None), servers.c.node_of.is_(None)
    )
)
_told = [DeliveryKind.ALARM, DeliveryKind.REMINDER, DeliveryKind.END]
_SENT = (
    select(deliveries.c.channel_id, func.count().label("number"))
    .where(deliveries.c.created_at > bindparam("since", type_=Moment), deliveries.c.kind.in_(_told))
    .group_by(deliveries.c.channel_id)
)

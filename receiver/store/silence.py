"""
The sweep: a transaction that checks servers which may have fallen silent, and writes their states.

These are the servers that are due: the time `due_at` of their row has come.
`receiver.domain.databases` decides their states. This module also writes the event `fleet_silent`
when many servers stop sending at once, and notes since when receivers have been running.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from itertools import chain
from typing import Any, NamedTuple

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Integer,
    Select,
    and_,
    bindparam,
    case,
    exists,
    func,
    insert,
    literal,
    or_,
    select,
    union,
    update,
)

from contract import Event, EventKind, State, changes
from receiver.domain.databases import Decision, calmed, damped, decide
from receiver.domain.databases.silence import Presence, SweepOptions
from receiver.domain.instants import microseconds
from receiver.domain.queries import index_text
from receiver.domain.rows import Row
from receiver.store.dialects import Dialect
from receiver.store.events import first_since, write_events
from receiver.store.history import note_minute
from receiver.store.ownership import cost_of
from receiver.store.rows import Committed, RowCache, read_rows, write_due, write_rows
from receiver.store.tables import (
    among,
    count_of_lapsed_keys,
    events,
    is_in_state,
    is_of_lapsed_key,
    liveness,
    pauses,
    servers,
    tombstones,
    watches,
    whole_servers,
)

__all__ = [
    "IS_DUE",
    "Swept",
    "attended_since",
    "forget_marks",
    "lacks_note",
    "leave_no_future",
    "may_be_ahead",
    "note_presence",
    "sweep",
]


class Swept(NamedTuple):
    """
    The result of a `sweep`, which checks a limited number of servers.

    Attributes:
        committed: What the transaction changes.
        is_more_due: Whether more servers are due.
        spent: By key id, how much of the key's budget for events this sweep uses (`cost_of`).
    """

    committed: Committed
    is_more_due: bool
    spent: Mapping[str, int] = {}


def sweep(
    dialect: Dialect,
    connection: Connection,
    cache: RowCache,
    options: SweepOptions,
    *,
    is_over_budget: Callable[[str, int], bool],
) -> Swept:
    """
    Check servers that are due; write their new states, and events about them.

    Also writes `options.minute`, unless it is None, into the history of the fleet.

    Args:
        dialect: The dialect of the database.
        connection: The transaction.
        cache: The cached rows.
        options: The time of the check, and its other parameters.
        is_over_budget: Called with the id of a key and a cost that is not charged to it yet.
            Returns whether the key has used up its budget for events once that cost is charged.
    """
    if options.minute is not None:
        note_minute(connection, options.minute)
    uuids = _due(connection, options)
    if not uuids:
        return Swept(Committed({}, []), is_more_due=False)
    ids = list(uuids)
    families = _families(connection, uuids.values())
    rows = read_rows(dialect, connection, sorted({*ids, *chain(*families.values())}), cache)
    decision = decide(rows, families, options.now, heard_since=options.heard_since)
    spent: Counter[str] = Counter()
    (changed, postponed), happened = _told(decision, rows, options, spent, is_over_budget)
    write_rows(dialect, connection, changed)
    write_due(dialect, connection, postponed)
    large = {
        index_text(uuid)
        for server_id, uuid in uuids.items()
        if uuid is not None and server_id not in families.get(index_text(uuid), ())
    }
    happened += _large_families(dialect, connection, large, options) if large else []
    write_events(dialect, connection, happened)
    written = {row.server_id: row for row in [*postponed, *(after for _, after in changed)]}
    now = microseconds(options.now)
    is_more_due = any(row.due_at is not None and row.due_at <= now for row in written.values())
    if len(ids) == options.limit:
        is_more_due |= bool(_due(connection, options))
    if not is_more_due:  # by now every server that stopped sending has its event
        happened += _write_fleet_silence(dialect, connection, options)
    return Swept(Committed(written, happened), is_more_due, spent)


def _told(
    decision: Decision,
    rows: Mapping[str, Row],
    options: SweepOptions,
    spent: Counter[str],
    is_over_budget: Callable[[str, int], bool],
) -> tuple[Decision, list[Event]]:
    """
    The events that a decision causes, and the decision with what servers that flap add to it.

    Adds to `spent` what the events cost the keys.
    """
    told = Decision([], [])
    events: list[Event] = []
    postponed = [(rows[row.server_id], row) for row in decision.postponed]
    for before, decided in chain(decision.changed, postponed):
        happened = [
            event
            for event in changes(before.record, decided.record, at=options.now)
            if not _was_led_by(event, rows)
        ]
        owner = decided.owner
        is_over = owner is not None and bool(happened) and is_over_budget(owner, spent[owner])
        counted, happened = damped(decided, happened, at=options.now, is_over_budget=is_over)
        after, calm = calmed(counted, now=options.now, heard_since=options.heard_since)
        happened += calm
        events += happened
        if owner is not None and happened:
            spent[owner] += cost_of(happened)
        if after.record is before.record:
            told.postponed.append(after)
        else:
            told.changed.append((before, after))
    return told, events


def _large_families(
    dialect: Dialect, connection: Connection, uuids: Iterable[str], options: SweepOptions
) -> list[Event]:
    """
    The events `copies`: more than 50 servers of one key have the same `database_uuid`.

    So many are not compared with each other. Each such event is written at most once a day.
    `uuids` are the `index_text`s of the UUIDs of families that `_families` left out.
    """
    large = connection.execute(_LARGE, {"uuids": sorted(uuids)}).all()
    dialect.lock_events(connection)  # no other receiver can write the same event now
    told = connection.execute(_COPIES_TOLD, {"begin": options.now - _A_DAY}).scalars().all()
    known = {details["database_uuid"] for details in told}
    return [
        Event(
            kind=EventKind.COPIES,
            at=options.now,
            server_id=None,
            details={"database_uuid": uuid, "servers": servers},
        )
        for uuid, servers in large
        if uuid not in known
    ]


def _was_led_by(event: Event, rows: Mapping[str, Row]) -> bool:
    """
    Whether an event `node` only says that another node of the same database leads it now.

    That is so if the server of the event was the leader before the check, as `rows` say, of the
    server that leads it now.
    """
    leader = rows.get(event.details.get("node_of", ""))
    return (
        event.kind is EventKind.NODE
        and leader is not None
        and (leader.record.node_of == event.server_id)
    )


def note_presence(
    dialect: Dialect,
    connection: Connection,
    now: datetime,
    *,
    absent: timedelta,
    noted_at: datetime | None,
) -> Presence:
    """
    Note in the database that a receiver is running at the time `now`.

    Fails while a table that messages are written to is locked, for instance by `CREATE INDEX` in
    PostgreSQL, because no message can be written then.

    Args:
        dialect: The dialect of the database.
        connection: The transaction.
        now: The time.
        absent: The longest time without such a note of any receiver that is not an interruption.
        noted_at: The time of this receiver's last note; None before the first. If the database does
            not have that note (`lacks_note`), a time of more than 5 seconds is an interruption,
            too.

    Returns since when receivers have been running, and whether any server is due.
    """
    dialect.lock_as_writer(connection)
    row = connection.execute(_WATCH, {"now": microseconds(now)}).first()
    if row is None:
        connection.execute(insert(watches), {"id": 1, "heard_since": now, "seen_at": now})
        _note_pause(connection, _NEVER, now)
        return Presence(now, is_any_due=True)
    heard_since: datetime = row.heard_since
    longest = min(absent, _GONE_BACK) if lacks_note(row.seen_at, noted_at) else absent
    away_since = row.away_since
    if now - row.seen_at > longest:
        heard_since = now
        away_since = row.seen_at
        _note_pause(connection, row.seen_at, now)
    connection.execute(_NOTE, {"since": heard_since, "now": now, "away": away_since})
    return Presence(heard_since, is_any_due=row.due is not None)


def lacks_note(seen_at: datetime | None, noted_at: datetime | None) -> bool:
    """
    Whether a database does not have the last note of a receiver that it runs.

    Then another database, such as a restored backup, has taken the place of the one with the note.

    Args:
        seen_at: The time of the newest note of any receiver in the database; None if there is none.
        noted_at: The time of the receiver's last note; None before the first.
    """
    if noted_at is None:
        return False
    return seen_at is None or noted_at - seen_at > _GONE_BACK


def _note_pause(connection: Connection, began: datetime, ended: datetime) -> None:
    """Store a pause, in which no receiver ran; it extends the last one if that is under 1 h ago."""
    last = connection.execute(_LAST_PAUSE).first()
    if last is not None and began - last.ended < _AN_HOUR:
        connection.execute(update(pauses).where(pauses.c.id == last.id).values(ended=ended))
    else:
        connection.execute(insert(pauses), {"began": began, "ended": ended})


def attended_since(connection: Connection, now: datetime, length: timedelta) -> datetime:
    """
    The time since which receivers have been running for `length`, not counting interruptions.

    So it is `length` before `now` if there was no interruption in between, and otherwise earlier.
    If receivers have never been running for that long in all, it is in 1970 or before.
    """
    seen_at: datetime | None = connection.execute(select(watches.c.seen_at)).scalar()
    if seen_at is None:
        return _NEVER
    since = now - length - max(now - seen_at, timedelta(0))
    for began, ended in connection.execute(_PAUSES).all():
        if ended <= since:
            break
        since -= ended - began
    return since


def may_be_ahead(connection: Connection, now: datetime) -> bool:
    """
    Whether the database may hold times after `now`, because the clock was set back.

    Receivers note every few seconds that they run, with the clock with which they write all times.
    So there may be such times if the last note is after `now`. Without a note there may be some if
    there are servers.
    """
    seen_at, has_servers = connection.execute(_LAST_NOTE).one()
    return bool(has_servers) if seen_at is None else bool(seen_at > now)


def forget_marks(connection: Connection) -> None:
    """
    Begin anew to count the messages of servers that may share a database, to find out whether so.

    To be called when the clock was set, or a receiver starts, because then nobody knows how much
    time has passed since the snapshot from which they were counted (`receiver.domain.rows.Mark`).
    """
    connection.execute(update(liveness).where(liveness.c.mark_at.is_not(None)).values(mark_at=None))


def leave_no_future(connection: Connection, now: datetime) -> int:
    """
    Replace all times after `now` by `now`, because the clock was set back since they were written.

    All servers that are due later become due at `now`. Returns how many servers had times after
    `now`, not counting those at which they are due.
    """
    at = microseconds(now)
    is_future = or_(*(each > now for each in _MOMENTS))
    has_future = liveness.c.server_id.in_(select(servers.c.server_id).where(is_future))
    is_changed = or_(has_future, liveness.c.last_seen > now)
    count = select(func.count()).select_from(liveness).where(is_changed)
    found = connection.execute(count).scalar_one()
    # First the rows by which servers are locked, and then only the other rows of these servers: one
    # that came in between has no new revision, and its times are replaced the next time.
    locked = connection.execute(
        update(liveness)
        .where(or_(is_changed, liveness.c.due_at > at))
        .values(
            last_seen=_capped(liveness.c.last_seen, now),
            due_at=_capped(liveness.c.due_at, at),
            revision=liveness.c.revision + 1,
        )
        .returning(liveness.c.server_id)
    )
    capped = {each.name: _capped(each, now) for each in _MOMENTS}
    connection.execute(
        update(servers).where(is_future, among(servers.c.server_id, "ids")).values(capped),
        {"ids": [*locked.scalars()]},
    )
    connection.execute(update(events).where(events.c.at > now).values(at=now))
    forget_marks(connection)
    for moment in (
        *(*_WATCHED, pauses.c.began, pauses.c.ended),
        *(tombstones.c.first_seen, tombstones.c.forgotten_at),
    ):
        connection.execute(update(moment.table).where(moment > now).values({moment.name: now}))
    return int(found)


def _capped(column: Column[Any], most: Any) -> ColumnElement[Any]:
    return case((column > most, literal(most, column.type)), else_=column)


def _due(connection: Connection, options: SweepOptions) -> Mapping[str, str | None]:
    """
    The servers that are due, the longest due first, and `options.limit` at most.

    Returns the `database_uuid` of each by its `server_id`. Returns no servers if the database does
    not have this receiver's last note (`lacks_note`).
    """
    found = connection.execute(
        _DUE, {"now": microseconds(options.now), "limit": options.limit}
    ).all()
    if found and lacks_note(found[0].seen_at, options.noted_at):
        return {}
    return {row.server_id: row.database_uuid for row in found}


def _families(connection: Connection, uuids: Iterable[str | None]) -> Mapping[str, Sequence[str]]:
    """
    The ids of all servers with one of these `database_uuid`s, by its `index_text`.

    More than 50 servers of one key with the same UUID are left out: a database was copied again
    and again, and the UUID says nothing about which of them belong together.
    """
    texts = sorted({index_text(uuid) for uuid in uuids if uuid is not None})
    families: defaultdict[str, list[str]] = defaultdict(list)
    for text, server_id in connection.execute(_FAMILIES, {"uuids": texts}) if texts else ():
        families[text].append(server_id)
    return families


def _write_fleet_silence(
    dialect: Dialect, connection: Connection, options: SweepOptions
) -> list[Event]:
    """
    Write an event `fleet_silent` when many servers stopped sending at once, by `options.rules`.

    Returns the event in a list, or an empty list.
    """
    if not _fleet_silence(connection, options):
        return []
    dialect.lock_events(connection)  # no other receiver can write the same event now
    told = _fleet_silence(connection, options)
    write_events(dialect, connection, told)
    return told


def _fleet_silence(connection: Connection, options: SweepOptions) -> list[Event]:
    """
    The event `fleet_silent` to write, in a list; empty when too few servers stopped sending.

    The servers of revoked and expired keys do not count: they cannot be heard.

    Of a server that flaps no event tells that it is late or has recovered, so its row is asked.

    Servers that have sent nothing since the last such event are not counted again. Servers that
    the last event counted and that have recovered are counted again only after half of its number
    have recovered: a few servers that come and go are not the whole fleet.
    """
    rules = options.rules
    if len(connection.execute(_SOME_STALE, {"limit": rules.servers}).all()) < rules.servers:
        return []
    begin: datetime = options.now - rules.within
    found = {"after": first_since(connection, begin) - 1, "begin": begin, "heard_after": _NEVER}
    found["now"] = options.now
    query = _SILENT
    told = connection.execute(_TOLD, {"begin": options.now - _A_DAY}).first()
    if told is not None:
        found["heard_after"] = told.at
        half = {"after": told.id, "limit": (told.details["silent"] + 1) // 2, "at": told.at}
        if connection.execute(_RECOVERED, half).scalar_one() < half["limit"]:
            query = _SILENT_ANEW
            found |= {"told": told.id, "told_at": told.at, "before": told.at - rules.within}
    silent = connection.execute(query, found).scalar_one()
    if silent < rules.servers:
        return []
    of = silent + int(connection.execute(_HEARD, {"now": options.now}).scalar_one())
    if silent < rules.share * of:
        return []
    details = {"silent": silent, "of": of}
    return [Event(kind=EventKind.FLEET_SILENT, at=options.now, server_id=None, details=details)]


_GONE_BACK = timedelta(seconds=5)
"""
Receivers note in the database that they run. If the newest note is older than a receiver's own last
note, and by more than this time, the database is an older copy; clocks may differ by less.
"""

_LAST_NOTE = select(
    select(watches.c.seen_at).scalar_subquery(), exists(select(literal(1)).select_from(servers))
)
_WATCHED = (watches.c.heard_since, watches.c.seen_at, watches.c.away_since)
_MOMENTS = (
    servers.c.first_seen,
    servers.c.registered_at,
    servers.c.flapping_since,
    servers.c.state_since,
)
_A_DAY = timedelta(days=1)
_AN_HOUR = timedelta(hours=1)
_NEVER = datetime(1970, 1, 1, tzinfo=timezone.utc)
_LARGEST_FAMILY = 50

# Sorted like the index: otherwise a planner that expects many rows reads the whole table.
IS_DUE = (
    select(liveness.c.server_id)
    .where(liveness.c.due_at <= bindparam("now"))
    .order_by(liveness.c.due_at)
    .limit(1)
)
"""The query that returns a row if any server is due at the parameter `now`, in microseconds."""

_due_first = (
    select(liveness.c.server_id, liveness.c.due_at)
    .where(liveness.c.due_at <= bindparam("now"))
    .order_by(liveness.c.due_at)
    .limit(bindparam("limit", type_=Integer))
    .subquery()
)
_DUE = (
    select(
        servers.c.server_id,
        servers.c.database_uuid,
        select(watches.c.seen_at).scalar_subquery().label("seen_at"),
    )
    .join(_due_first, _due_first.c.server_id == servers.c.server_id)
    .order_by(_due_first.c.due_at)
)

_WATCH = select(watches, IS_DUE.scalar_subquery().label("due")).with_for_update(of=watches)
_NOTE = update(watches).values(
    heard_since=bindparam("since"), seen_at=bindparam("now"), away_since=bindparam("away")
)
_LAST_PAUSE = select(pauses.c.id, pauses.c.ended).order_by(pauses.c.id.desc()).limit(1)
_PAUSES = select(pauses.c.began, pauses.c.ended).order_by(pauses.c.id.desc())
_owner = func.coalesce(servers.c.owner, "")
_sharing = (
    select(servers.c.family.label("value"), servers.c.server_id, _owner.label("owner"))
    .where(
        among(servers.c.family, "uuids"),
        servers.c.family.is_not(None),
        servers.c.superseded_by.is_(None),
    )
    .cte("sharing")
)
# Counted for each key by itself, or the servers of one key could make another's family too large.
_small = (
    select(_sharing.c.value, _sharing.c.owner)
    .group_by(_sharing.c.value, _sharing.c.owner)
    .having(func.count() <= _LARGEST_FAMILY)
    .cte("small")
)
_FAMILIES = (
    select(_sharing.c.value, _sharing.c.server_id)
    .join(_small, and_(_small.c.value == _sharing.c.value, _small.c.owner == _sharing.c.owner))
    .order_by(_sharing.c.server_id)  # so that events of one time are always in the same order
)
_LARGE = (
    select(func.min(servers.c.database_uuid), func.count())
    .join(_sharing, servers.c.server_id == _sharing.c.server_id)
    .group_by(_sharing.c.value, _sharing.c.owner)
    .having(func.count() > _LARGEST_FAMILY)
)
_COPIES_TOLD = select(events.c.details).where(
    events.c.kind == EventKind.COPIES, events.c.at > bindparam("begin")
)
_TOLD = (
    select(events.c.id, events.c.at, events.c.details)
    .where(events.c.at > bindparam("begin"), events.c.kind == EventKind.FLEET_SILENT)
    .order_by(events.c.id.desc())
    .limit(1)
)
_flaps = servers.c.flapping_since.is_not(None)
_recovered = (
    select(events.c.id)
    .where(events.c.id > bindparam("after"), events.c.kind == EventKind.RECOVERED)
    .order_by(events.c.id)
    .limit(bindparam("limit", type_=Integer))
    .subquery()
)
_RECOVERED = select(
    select(func.count()).select_from(_recovered).scalar_subquery()
    + select(func.count())
    .select_from(whole_servers)
    .where(_flaps, liveness.c.last_seen > bindparam("at"), servers.c.state_since > bindparam("at"))
    .scalar_subquery()
)
"""
The query for how many servers have recovered since an event.

It counts only the first `limit` events, so a result of `limit` or more is a lower bound.
"""

# Not by the rank: the events must find the servers, and not an index of servers the events.
_silent = and_(
    servers.c.state.in_([State.LATE, State.DOWN]),
    servers.c.superseded_by.is_(None),
    servers.c.node_of.is_(None),
    liveness.c.last_seen >= bindparam("heard_after"),
    ~is_of_lapsed_key,
)
_silent_by_event = (
    select(events.c.server_id)
    .join(whole_servers, servers.c.server_id == events.c.server_id)
    .where(
        events.c.at > bindparam("begin"),
        events.c.id > bindparam("after"),  # with the number the index skips all older events
        events.c.kind == EventKind.LATE,
        _silent,
    )
)
_silent_by_row = (
    select(servers.c.server_id)
    .select_from(whole_servers)
    .where(_flaps, servers.c.state_since > bindparam("begin"), _silent)
)


def _count(*found: Select[Any]) -> Select[Any]:
    return select(func.count()).select_from(union(*found).subquery())


# Most fleets have few such servers: then the larger queries are not needed.
_SOME_STALE = (
    select(servers.c.server_id)
    .where(is_in_state(State.LATE, State.DOWN))
    .limit(bindparam("limit", type_=Integer))
)
_earlier = events.alias()
_SILENT = _count(_silent_by_event, _silent_by_row)
_SILENT_ANEW = _count(
    _silent_by_event.where(
        ~exists().where(
            _earlier.c.server_id == events.c.server_id,
            _earlier.c.kind == EventKind.LATE,
            _earlier.c.id < bindparam("told"),
            _earlier.c.at > bindparam("before"),
        )
    ),
    _silent_by_row.where(servers.c.flapping_since > bindparam("told_at")),
)
"""
Like `_SILENT`, but without the servers that the last event `fleet_silent` counted.

Servers that flapped then are left out, because it is not known whether the event counted them.
"""
_up = [State.NEW, State.UP]
_HEARD = select(
    select(func.count()).select_from(servers).where(is_in_state(*_up)).scalar_subquery()
    - count_of_lapsed_keys(
        servers.c.state.in_(_up), servers.c.superseded_by.is_(None), servers.c.node_of.is_(None)
    )
)

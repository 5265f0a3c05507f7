"""
What time alone changes: who fell silent, who is whose other self.

A server that is due is looked at, within a transaction of somebody else's, together with
all that have its `database_uuid`. Everything here but the reading and writing is a
function of records and of the time.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import chain
from typing import NamedTuple

from attrs import evolve, field, frozen
from sqlalchemy import Connection, and_, bindparam, func, select

from contract import Event, EventKind, ServerRecord, State, changes, interval, liveness
from receiver.store import events as timeline
from receiver.store.dialects import Database
from receiver.store.merging import Committed, Memory, Row, read, write
from receiver.store.tables import due_after, events, facet_value, facets, microseconds, servers

__all__ = ["Look", "Rules", "Swept", "state_at", "sweep"]

Records = Mapping[str, ServerRecord]


@frozen(kw_only=True)
class Rules:
    """
    What is taken for the silence of a fleet.

    Attributes:
        share: The part of the servers that were heard before, from 0.5 on.
        servers: How many at least.
        within: Servers fall silent at once when they do within this time.
    """

    share: float = 0.5
    servers: int = 5
    within: timedelta = timedelta(minutes=5)


@frozen(kw_only=True)
class Look:
    """
    One look at the servers that are due.

    Attributes:
        now: When.
        heard_since: Since when servers can be heard without a pause.
        rules: What is taken for the silence of the fleet.
        limit: At how many servers at most.
    """

    now: datetime
    heard_since: datetime
    rules: Rules = field(factory=Rules)
    limit: int = 200


class Swept(NamedTuple):
    """What a sweep leaves behind, and whether more servers are due."""

    committed: Committed
    is_more_due: bool


def state_at(record: ServerRecord, now: datetime, *, heard_since: datetime) -> State:
    """
    The state of a server at a moment, when servers can be heard since some time.

    What was noticed stays so until the server is heard again; a silence that has not
    been noticed yet begins no sooner than somebody listens.
    """
    if record.state is State.DOWN:
        return State.DOWN
    state = liveness(_heard(record, heard_since), now)
    return State.LATE if record.state is State.LATE and not state.stale else state


def sweep(database: Database, connection: Connection, memory: Memory, look: Look) -> Swept:
    """Look at servers that are due, and write what has changed."""
    now, heard_since = look.now, look.heard_since
    ids = _due(connection, now, look.limit)
    if not ids:
        return Swept(Committed({}, []), is_more_due=False)
    families = _families(connection, ids)
    rows = read(database, connection, sorted({*ids, *chain(*families.values())}), memory)
    due = [each for each in ids if each in rows and _is_due(rows[each], now)]
    after = {key: row.record for key, row in rows.items()}
    for server_id in due:
        record = after[server_id]
        names = families.get(_family_of(record) or "", ())
        family = [after[each] for each in names if each in after]
        relatives = [
            each
            for each in family
            if _is_relative(each, record) and _may_be_one(rows[each.server_id], rows[server_id])
        ]
        after |= _looked_at(record, relatives, now, heard_since)

    changed = [
        (row, _written(row, after[key], now, heard_since))
        for key, row in rows.items()
        if after[key] is not row.record
    ]
    unchanged = [
        row._replace(revision=row.revision + 1, due_at=_due_at(row.record, heard_since))
        for row in (rows[each] for each in due)
        if after[row.record.server_id] is row.record
    ]
    write(database, connection, changed)
    if unchanged:
        database.postpone(
            connection, [(row.due_at, row.revision, row.record.server_id) for row in unchanged]
        )
    happened = [event for row, new in changed for event in changes(row.record, new.record, at=now)]
    timeline.write(database, connection, happened)
    is_more_due = bool(_due(connection, now, 1))
    if not is_more_due:  # all that fell silent at once are noticed
        happened += _tell_of_the_fleet(database, connection, now, look.rules)

    swept = {row.record.server_id: row for row in [*unchanged, *(new for _, new in changed)]}
    return Swept(Committed(swept, happened), is_more_due)


def _due(connection: Connection, now: datetime, limit: int) -> list[str]:
    due = select(servers.c.server_id).where(servers.c.due_at <= microseconds(now))
    return list(connection.execute(due.order_by(servers.c.due_at).limit(limit)).scalars())


def _families(connection: Connection, ids: Sequence[str]) -> Mapping[str, Sequence[str]]:
    """Those that share the database_uuid of a server with it, and not with very many, by that."""
    uuids = connection.execute(_UUIDS, {"ids": ids}).scalars()
    values = sorted({facet_value(uuid) for uuid in uuids})
    families: defaultdict[str, list[str]] = defaultdict(list)
    for value, server_id in connection.execute(_FAMILIES, {"values": values}) if values else ():
        families[value].append(server_id)
    return families


def _family_of(record: ServerRecord) -> str | None:
    return None if record.database_uuid is None else facet_value(record.database_uuid)


def _is_due(row: Row, now: datetime) -> bool:
    return row.due_at is not None and row.due_at <= microseconds(now)


def _looked_at(
    record: ServerRecord, family: Sequence[ServerRecord], now: datetime, heard_since: datetime
) -> dict[str, ServerRecord]:
    """A server that is due, and those of its family that change with it."""

    def state(of: ServerRecord) -> State:
        return state_at(of, now, heard_since=heard_since)

    if state(record).stale:
        heirs = [each for each in family if _replaces(each, record) and not state(each).stale]
        changed = {record.server_id: _silent(record, state(record), heirs, now)}
    else:
        gone = [each for each in family if _replaces(record, each) and state(each).stale]
        changed = {each.server_id: _superseded(each, record, now) for each in gone}
        changed |= _paired(record, [e for e in family if not state(e).stale])
    return changed | _without_partners(family, changed)


def _silent(
    record: ServerRecord, state: State, heirs: Sequence[ServerRecord], now: datetime
) -> ServerRecord:
    if heirs:
        return _superseded(record, max(heirs, key=_age), now)
    if not record.state.stale:
        state = State.LATE  # one after the other: whoever is down was late
    if record.state is state:
        return record
    return evolve(record, state=state, state_since=now, twin_of=None)


def _superseded(record: ServerRecord, by: ServerRecord, now: datetime) -> ServerRecord:
    if not record.state.stale:  # so that it is news when it speaks again
        record = evolve(record, state=State.LATE, state_since=now)
    return evolve(record, superseded_by=by.server_id, twin_of=None)


def _paired(record: ServerRecord, heard: Sequence[ServerRecord]) -> dict[str, ServerRecord]:
    """A server that is heard and its twin, when it has one or had one."""
    if record.twin_of is not None:
        if record.twin_of in [each.server_id for each in heard]:
            return {}
        return {record.server_id: evolve(record, twin_of=None)}
    twins = [each for each in heard if _have_both_gone_on(record, each)]
    if not twins:
        return {}
    twin = min(twins, key=_age)
    paired = {record.server_id: evolve(record, twin_of=twin.server_id)}
    if twin.twin_of is None:
        paired[twin.server_id] = evolve(twin, twin_of=record.server_id)
    return paired


def _have_both_gone_on(one: ServerRecord, other: ServerRecord) -> bool:
    """Whether each has sent for more than two intervals since both do, or both did."""
    if not (one.heartbeat_count and other.heartbeat_count):
        return False
    both_since = max(_alive_since(one), _alive_since(other))
    enough = 2 * max(interval(one), interval(other))
    return min(one.last_seen, other.last_seen) - both_since > enough


def _alive_since(record: ServerRecord) -> datetime:
    """Since when it is heard; of one whose silence was noticed, that is known no better."""
    return record.first_seen if record.state.stale else record.state_since


def _without_partners(family: Iterable[ServerRecord], changed: Records) -> dict[str, ServerRecord]:
    """Those whose twin has just fallen silent."""
    silent = {key for key, record in changed.items() if record.state.stale}
    return {
        each.server_id: evolve(each, twin_of=None)
        for each in family
        if each.twin_of in silent and each.server_id not in changed
    }


def _may_be_one(one: Row, other: Row) -> bool:
    """Whether nobody's key takes the place of another's server; nobody's is anybody's."""
    return one.owner == other.owner or None in (one.owner, other.owner)


def _is_relative(one: ServerRecord, other: ServerRecord) -> bool:
    return (
        one.server_id != other.server_id
        and one.superseded_by is None
        and bool(one.database_uuid)
        and one.database_uuid == other.database_uuid
        and (one.odoo_stage or "") == (other.odoo_stage or "")
    )


def _replaces(alive: ServerRecord, silent: ServerRecord) -> bool:
    """
    Whether one is what has become of the other, as far as its silence goes.

    Whoever is back after a while under its old name replaces a newer one. But the newer
    of two that had both gone on may be a node of its own, and its silence an alarm.
    """
    if (alive.database or "") != (silent.database or ""):
        return False
    return _age(alive) > _age(silent) or not _have_both_gone_on(alive, silent)


def _age(record: ServerRecord) -> tuple[datetime, str]:
    """The older of two comes first."""
    return record.first_seen, record.server_id


def _heard(record: ServerRecord, heard_since: datetime) -> ServerRecord:
    return record if record.last_seen >= heard_since else evolve(record, last_seen=heard_since)


def _written(row: Row, record: ServerRecord, now: datetime, heard_since: datetime) -> Row:
    # One that has changed on behalf of another keeps its own time.
    is_looked_at = _is_due(row, now) or record.superseded_by is not None
    due_at = _due_at(record, heard_since) if is_looked_at else row.due_at
    return row._replace(record=record, revision=row.revision + 1, due_at=due_at)


def _due_at(record: ServerRecord, heard_since: datetime) -> int | None:
    """When a server must be looked at again, if nothing is heard until then."""
    if record.superseded_by is not None or record.state is State.DOWN:
        return None
    intervals = 4 if record.state is State.LATE else 2
    return due_after(max(record.last_seen, heard_since), record, intervals=intervals)


def _tell_of_the_fleet(
    database: Database, connection: Connection, now: datetime, rules: Rules
) -> list[Event]:
    """Write one event when a large part of the fleet has fallen silent at once."""
    if not _silence_of_the_fleet(connection, now, rules):
        return []
    database.announce(connection)  # from here on nobody else tells of it
    told = _silence_of_the_fleet(connection, now, rules)
    timeline.write(database, connection, told)
    return told


def _silence_of_the_fleet(connection: Connection, now: datetime, rules: Rules) -> list[Event]:
    """None soon after another, unless half as many as that told of have recovered since."""
    since: datetime = now - rules.within
    after: int | None = 0
    told = connection.execute(_TOLD, {"since": since}).first()
    if told is not None:
        fewer = (told.details["silent"] - 1) // 2
        after = connection.execute(_BACK, {"after": told.id, "fewer": fewer}).scalar()
    if after is None:
        return []
    # Those that are kept from earlier are not even looked at.
    after = max(after, timeline.first_since(connection, since) - 1)
    silent = connection.execute(_SILENT, {"since": since, "after": after}).scalar_one()
    if silent < rules.servers:
        return []
    of = silent + connection.execute(_HEARD).scalar_one()
    if silent < rules.share * of:
        return []
    details = {"silent": silent, "of": of}
    return [Event(kind=EventKind.FLEET_SILENT, at=now, server_id=None, details=details)]


_LARGEST_FAMILY = 50
"""What more servers share tells nothing: a database was copied with its uuid, over and over."""

_UUIDS = select(servers.c.database_uuid).where(
    servers.c.server_id.in_(bindparam("ids", expanding=True)), servers.c.database_uuid.is_not(None)
)
_owner = func.coalesce(servers.c.owner, "")
_sharing = (
    select(facets.c.value, facets.c.server_id, _owner.label("owner"))
    .join(servers, servers.c.server_id == facets.c.server_id)
    .where(
        facets.c.name == "database_uuid", facets.c.value.in_(bindparam("values", expanding=True))
    )
    .cte("sharing")
)
# Of each key by itself, or somebody else's servers would make a family too large.
_small = (
    select(_sharing.c.value, _sharing.c.owner)
    .group_by(_sharing.c.value, _sharing.c.owner)
    .having(func.count() <= _LARGEST_FAMILY)
    .cte("small")
)
_FAMILIES = select(_sharing.c.value, _sharing.c.server_id).join(
    _small, and_(_small.c.value == _sharing.c.value, _small.c.owner == _sharing.c.owner)
)
_TOLD = (
    select(events.c.id, events.c.details)
    .where(events.c.at > bindparam("since"), events.c.kind == EventKind.FLEET_SILENT)
    .order_by(events.c.id.desc())
    .limit(1)
)
_BACK = (
    select(events.c.id)
    .where(events.c.id > bindparam("after"), events.c.kind == EventKind.RECOVERED)
    .order_by(events.c.id)
    .offset(bindparam("fewer"))
    .limit(1)
)
_SILENT = (
    select(func.count(events.c.server_id.distinct()))
    .join(facets, facets.c.server_id == events.c.server_id)
    .where(
        events.c.at > bindparam("since"),
        events.c.id > bindparam("after"),
        events.c.kind == EventKind.LATE,
        facets.c.name == "state",
        facets.c.value.in_([State.LATE.value, State.DOWN.value]),
    )
)
_HEARD = select(func.count()).where(
    facets.c.name == "state", facets.c.value.in_([State.NEW.value, State.UP.value])
)

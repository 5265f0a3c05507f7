"""Counts the servers that lists show by state, stage and versions, and the heartbeats missed."""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta

from sqlalchemy import Connection, Integer, bindparam, func, select

from contract import State
from contract.states import patience_of
from receiver.domain.history import Census, Shares, begin_of_minute, most_frequent
from receiver.store.tables import is_in_state, is_listed, is_of_lapsed_key, servers

__all__ = ["take_census"]


def take_census(
    connection: Connection,
    now: datetime,
    *,
    standing: Mapping[tuple[str, str], int],
    has_lapsed_keys: bool,
    is_first: bool,
) -> Census:
    """
    Count the servers that lists show, by state, stage and versions; and the heartbeats they miss.

    To count versions takes about a microsecond for each server. If there are more than 5,000, that
    is done only in the first census of an hour and every ten minutes; otherwise the census has None
    for them. Servers of revoked and expired keys are not counted.

    Args:
        connection: A connection to read with.
        now: The time.
        standing: By state and stage, how many servers have both, without those of revoked and
            expired keys.
        has_lapsed_keys: Whether any servers belong to revoked or expired keys; if not, the query
            for versions need not look for them.
        is_first: Whether this is the first census of its hour.
    """
    states: Counter[str] = Counter()
    stages: Counter[str] = Counter()
    for (state, stage), n in standing.items():
        if state != State.LEFT.value:
            states[state] += n
            stages[stage] += n
    total = states.total()
    silent = sum(states[state] for state in _SILENT)
    is_due = is_first or total <= _FEW or begin_of_minute(now).minute % _MINUTES == 0
    versions = _versions(connection, now, total, has_lapsed_keys=has_lapsed_keys) if is_due else {}
    return Census(
        at=now,
        states=dict(states),
        stages=most_frequent(stages, total),
        odoo_versions=versions.get("odoo_version"),
        versions=versions.get("version"),
        missed=_missed(connection, now, silent) if silent else 0.0,
    )


def _versions(
    connection: Connection, now: datetime, total: int, *, has_lapsed_keys: bool
) -> dict[str, Shares]:
    """How many servers have which versions: of Odoo, and of the MCP server."""
    of_odoo: Counter[str] = Counter()
    of_server: Counter[str] = Counter()
    query = _VERSIONS.where(~is_of_lapsed_key) if has_lapsed_keys else _VERSIONS
    for odoo_version, version, n in connection.execute(query, {"now": now}):
        of_odoo[odoo_version or ""] += n
        of_server[version or ""] += n
    counted = {"odoo_version": of_odoo, "version": of_server}
    return {name: most_frequent(found, total) for name, found in counted.items()}


def _missed(connection: Connection, now: datetime, silent: int) -> float:
    """
    How many heartbeats in a minute the servers that are late or down have promised.

    `silent` is the number of these servers. If it is more than 10,000, only so many are read, and
    the result is scaled up, so that this takes a limited time.
    """
    found = connection.execute(_INTERVALS, {"now": now, "limit": _MOST_ASKED}).all()
    asked = sum(n for _, n in found)
    missed = sum(n * (_A_MINUTE / _interval(declared)) for declared, n in found)
    return missed * silent / asked if asked else 0.0


def _interval(declared: float | None) -> timedelta:
    """The time between two heartbeats of a server that has declared this number of seconds."""
    return patience_of(declared, 1) - patience_of(declared, 0)


_FEW = 5_000
_MINUTES = 10
_MOST_ASKED = 10_000
_A_MINUTE = timedelta(minutes=1)
_SILENT = [state.value for state in State if state.stale]
_VERSIONS = (
    select(servers.c.odoo_version, servers.c.version, func.count())
    .where(is_listed)
    .group_by(servers.c.odoo_version, servers.c.version)
)
_asked = (
    select(servers.c.heartbeat_interval_seconds.label("declared"))
    .where(is_in_state(State.LATE, State.DOWN), ~is_of_lapsed_key)
    .limit(bindparam("limit", type_=Integer))
    .subquery()
)
_INTERVALS = select(_asked.c.declared, func.count()).group_by(_asked.c.declared)

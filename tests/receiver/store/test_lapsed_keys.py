"""Servers whose key was revoked or has expired count as alive nowhere, on both databases."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from attrs import evolve
from sqlalchemy import Engine

from contract import EventKind
from keyring import made
from receiver.domain.agents.registry import EntryFilter, Listing
from receiver.domain.databases.silence import Rules
from receiver.domain.forgetting import Stage
from receiver.domain.keys import Key
from receiver.domain.queries import ALL_SERVERS
from receiver.store.servers.counting import ACTIVE, LAPSED
from watched import Watched, beats

A_CENTURY = 100 * 365 * 86400.0
STAGE = {"odoo_stage": "production"}
LONG = "x" * 300


def new_key(fleet: Watched, **changed: Any) -> Key:
    key, _ = made("agent", now=fleet.now)
    key = evolve(key, **changed)
    fleet.store.keys.add(key)
    return key


def beat(fleet: Watched, key: Key | None, *ids: str, **said: Any) -> None:
    fleet.store.servers.apply(beats(*ids, at=fleet.now, key=key, **said))


def revoke(fleet: Watched, key: Key) -> None:
    fleet.store.keys.revoke(key.id, fleet.now)


def let_expire(fleet: Watched, _: Key) -> None:
    """Nobody writes anything."""
    fleet.clock.advance(61)


@pytest.mark.parametrize("lapse", [revoke, let_expire])
def test_servers_of_a_lapsed_key_leave_the_counts_and_stay_in_the_list(
    fleet: Watched, lapse: Callable[[Watched, Key], None]
) -> None:
    servers = fleet.store.servers
    key = new_key(fleet, expires_at=fleet.now + timedelta(seconds=60))
    beat(fleet, key, "a", "b", **STAGE)
    beat(fleet, key, "c", odoo_stage=LONG)
    beat(fleet, new_key(fleet), "d", **STAGE)
    beat(fleet, None, "e")
    before = servers.vitals(fleet.now), servers.count_active(fleet.now)
    lapse(fleet, key)
    after = servers.vitals(fleet.now), servers.count_active(fleet.now)

    rest = {("up", "production"): 1, ("up", ""): 1}
    assert (5, 5) == (sum(before[0].standing.values()), before[1])
    assert (rest, 2) == (dict(after[0].standing), after[1])
    assert 5 == servers.count(ALL_SERVERS)
    assert ["a", "b", "c", "d", "e"] == fleet.ids()


def test_servers_of_a_renewed_key_are_back_in_the_counts(fleet: Watched) -> None:
    key = new_key(fleet, expires_at=fleet.now)
    beat(fleet, key, "a")
    expired = fleet.store.servers.count_active(fleet.now)
    fleet.store.keys.rotate(key.id, key.digest, fleet.now + timedelta(days=1))

    assert (0, 1) == (expired, fleet.store.servers.count_active(fleet.now))


def test_superseded_servers_of_a_lapsed_key_are_not_taken_off_twice(fleet: Watched) -> None:
    key = new_key(fleet)
    alike = {"database_uuid": "u-1", "database": "acme", **STAGE}
    beat(fleet, key, "a", **alike)
    fleet.go_on(300)
    beat(fleet, key, "b", **alike)
    fleet.sweep()
    beat(fleet, None, "c", **STAGE)
    revoke(fleet, key)

    assert "b" == fleet.record("a").superseded_by
    assert {("up", "production"): 1} == dict(fleet.store.servers.vitals(fleet.now).standing)
    assert 1 == fleet.store.servers.count_active(fleet.now)


def test_made_up_servers_of_a_revoked_key_hide_no_silence_of_the_fleet(fleet: Watched) -> None:
    """They have a century for their next heartbeat, and are twenty times as many."""
    fleet.rules = Rules(servers=5)
    key = new_key(fleet)
    beat(fleet, key, *(f"made-{n}" for n in range(100)), heartbeat_interval_seconds=A_CENTURY)
    fleet.beat(*(f"s{n}" for n in range(5)))
    revoke(fleet, key)
    fleet.go_on(200)

    assert [{"silent": 5, "of": 5}] == fleet.details(EventKind.FLEET_SILENT)


def test_silence_of_the_servers_of_a_revoked_key_is_not_that_of_the_fleet(fleet: Watched) -> None:
    key = new_key(fleet)
    beat(fleet, key, *(f"s{n}" for n in range(10)))
    fleet.beat("a", "b")
    revoke(fleet, key)
    fleet.go_on(600, "a", "b")

    assert [] == fleet.details(EventKind.FLEET_SILENT)
    assert 10 == fleet.counts["late"]


def test_servers_of_lapsed_keys_do_not_keep_silent_ones(fleet: Watched) -> None:
    """Nothing is forgotten by itself while nobody can be heard: such servers tell nothing of it."""
    key = new_key(fleet)
    fleet.store.watch.note_presence(fleet.now, absent=timedelta(days=9))
    fleet.beat("a")
    beat(fleet, key, "made-up", heartbeat_interval_seconds=A_CENTURY)
    fleet.go_on(3 * 86400, every=3600)
    fleet.store.watch.note_presence(fleet.now, absent=timedelta(days=9))
    revoke(fleet, key)
    kept = forgotten(fleet)
    fleet.beat("b")

    assert ([], ["a"]) == (kept, forgotten(fleet))


def forgotten(fleet: Watched) -> list[str]:
    """Forget the servers that were silent for a day; returns their ids."""
    ids: list[str] = []
    stage: Stage | None = None
    while True:
        step = fleet.store.servers.forget_silent(fleet.now, timedelta(days=1), stage=stage)
        ids += step.ids
        stage = step.next_stage
        if stage is None:
            return ids


def test_flapping_servers_are_counted_without_those_of_lapsed_keys(fleet: Watched) -> None:
    key = new_key(fleet)
    for _ in range(3):
        fleet.beat("a")
        beat(fleet, key, "b", "c")
        fleet.go_on(150)
    before = fleet.store.servers.vitals(fleet.now).flapping
    fleet.beat("a")
    beat(fleet, key, "b", "c")
    flapping = fleet.store.servers.vitals(fleet.now).flapping
    revoke(fleet, key)

    assert (0, 3, 1) == (before, flapping, fleet.store.servers.vitals(fleet.now).flapping)


def test_entries_of_more_lapsed_keys_than_sql_parameters_are_found(fleet: Watched) -> None:
    """PostgreSQL takes 65,535 parameters at most, SQLite 32,766."""
    key = new_key(fleet)
    beat(fleet, key, "a", endpoint_url="https://acme.example/mcp")
    beat(fleet, new_key(fleet), "b", endpoint_url="https://acme.example/mcp")
    since = fleet.now + timedelta(seconds=1)
    lapsed = [*(f"key {n}" for n in range(70_000)), key.id]
    asked = Listing(matching=EntryFilter(updated_since=since), after=None, limit=10, lapsed=lapsed)

    found = fleet.store.registry.registered(asked)

    assert ["a"] == [each.record.server_id for each in found]


@pytest.mark.parametrize("query", [LAPSED, ACTIVE])
def test_plan_of_the_counts_of_lapsed_keys_uses_the_index_of_owners(
    fleet: Watched, engine: Engine, query: Any
) -> None:
    """Also when the statistics say that each of few keys has many servers."""
    good, bad = new_key(fleet), new_key(fleet)
    beat(fleet, good, *(f"a{n:04}" for n in range(3000)))
    beat(fleet, bad, "b")
    revoke(fleet, bad)
    asked = query.params(**({"key": bad.id} if query is LAPSED else {"now": fleet.now}))
    sql = asked.compile(engine, compile_kwargs={"literal_binds": True})
    explain = "EXPLAIN QUERY PLAN" if engine.dialect.name == "sqlite" else "EXPLAIN"
    with engine.connect() as connection:
        connection.exec_driver_sql("ANALYZE")
        plan = connection.exec_driver_sql(f"{explain} {sql}").all()

    assert any("ix_servers_owner" in str(row[-1]) for row in plan), plan

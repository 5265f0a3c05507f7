"""The limits on what one key writes."""

from collections import Counter
from typing import Any

import pytest
from sqlalchemy import make_url

from contract import Heartbeat
from owned_servers import NOW, beat, code, new_key, refusals
from receiver.domain.errors import Refusal, StoreUnavailable
from receiver.domain.outcomes import Incoming
from receiver.domain.rate_limits import RateLimits
from receiver.store import SqlStore
from watched import Watched


def test_number_of_servers_per_key_is_limited(database_url: str) -> None:
    """A leaked key must not be able to fill the database."""
    store = SqlStore(make_url(database_url), servers_per_key=3)
    one, other, admin = (new_key(store, scope) for scope in ("agent", "agent", "admin"))

    assert ["ok", "ok"] == beat(store, one, "a", "b")
    assert ["ok", "too_many_servers", "ok"] == beat(store, one, "c", "d", "a")
    assert ["ok"] == beat(store, other, "e")
    assert ["ok"] * 4 == beat(store, admin, "w", "x", "y", "z")
    store.servers.delete("a", NOW)
    assert ["ok", "too_many_servers"] == beat(store, one, "f", "g")
    (refusal,) = store.servers.apply([Incoming(Heartbeat(server_id="g"), NOW, one)])
    assert (
        "3 servers belong to this key, which are as many as may. An administrator can delete "
        "some, make another key, or raise FLEET_SERVERS_PER_KEY."
    ) == str(refusal)
    store.close()


def test_superseded_servers_per_key_have_a_higher_limit(database_url: str) -> None:
    """Daily rebuilds of a staging branch must pass; endless ones must not fill the database."""
    store = SqlStore(make_url(database_url), servers_per_key=2)
    fleet = Watched(store)
    key = new_key(store, "agent")
    for n in range(21):
        said: Any = {"database": "acme", "database_uuid": "u"}
        rebuilt = Heartbeat(server_id=f"build-{n:02}", **said)
        assert ["ok"] == [
            code(each) for each in store.servers.apply([Incoming(rebuilt, fleet.now, key)])
        ]
        fleet.sweep()
        fleet.clock.advance(300)
        fleet.sweep()

    assert ["build-20"] == fleet.ids()
    fleet.store.servers.apply([Incoming(Heartbeat(server_id="build-20"), fleet.now, key)])
    (refusal,) = store.servers.apply([Incoming(Heartbeat(server_id="build-21"), fleet.now, key)])
    assert isinstance(refusal, Refusal)
    assert "too_many_servers" == refusal.code
    assert str(refusal).startswith("20 servers of this key were superseded")
    store.close()


def event_kinds(store: SqlStore) -> list[str]:
    return [each.event.kind.value for each in store.events.after(0, limit=1000)]


def test_changes_above_the_limit_of_a_key_are_applied_without_events(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A leaked key must not be able to fill the timeline, while records stay up to date."""
    limits = RateLimits(messages_per_window=100, changes_per_hour=3, failures_per_window=3)
    store = SqlStore(make_url(database_url), budget=limits)
    key, admin = new_key(store, "agent"), new_key(store, "admin")

    outcomes = [beat(store, key, "a", hostname=f"host-{n}") for n in range(6)]
    by_admin = beat(store, admin, "a", hostname="host-9")

    assert [["ok"]] * 7 == [*outcomes, by_admin]
    assert ["registered", "moved", "moved", "moved"] == event_kinds(store)
    record = store.servers.get("a")
    assert record is not None
    assert "host-9" == record.hostname
    assert 1 == caplog.text.count(f"The key {key.id} causes more events than may be told")
    store.close()


def test_long_event_uses_more_of_the_limit(database_url: str) -> None:
    limits = RateLimits(messages_per_window=100, changes_per_hour=10, failures_per_window=3)
    store = SqlStore(make_url(database_url), budget=limits)
    key = new_key(store, "agent")
    tools = tuple(f"tool_{n:04}" for n in range(1000))  # some 12 KiB

    beat(store, key, "a", capabilities=())
    beat(store, key, "a", capabilities=tools)

    assert ["registered"] == event_kinds(store)
    assert tools == getattr(store.servers.get("a"), "capabilities", None)
    store.close()


def test_state_events_are_recorded_above_the_limit_of_a_key(database_url: str) -> None:
    """One noisy server must not hide the late, down and recovered events of its key."""
    limits = RateLimits(messages_per_window=100, changes_per_hour=2, failures_per_window=3)
    store = SqlStore(make_url(database_url), budget=limits)
    fleet = Watched(store)
    key = new_key(store, "agent")
    store.servers.apply([Incoming(Heartbeat(server_id="quiet"), fleet.now, key)])
    for n in range(3):
        store.servers.apply(
            [Incoming(Heartbeat(server_id="noisy", version=str(n)), fleet.now, key)]
        )
    fleet.go_on(300)
    store.servers.apply([Incoming(Heartbeat(server_id="quiet"), fleet.now, key)])
    store.servers.apply([Incoming(Heartbeat(server_id="new"), fleet.now, key)])

    assert "up" == fleet.state("quiet")
    kinds = [kind for kind, of in fleet.told(but=()) if of in {"quiet", "new"}]
    assert ["registered", "late", "down", "recovered", "registered"] == kinds
    store.close()


def test_failed_commits_use_nothing_of_the_limit(database_url: str) -> None:
    limits = RateLimits(messages_per_window=100, changes_per_hour=3, failures_per_window=3)
    store = SqlStore(make_url(database_url), budget=limits)
    key = new_key(store, "agent")
    transactions = store.transactions
    commit = transactions._commit  # noqa: SLF001 - simulates an outage

    def fail(number: int) -> None:
        raise StoreUnavailable("the database does not answer: test")

    transactions._commit = fail  # type: ignore[method-assign] # noqa: SLF001 - see above
    for _ in range(5):
        with pytest.raises(StoreUnavailable):
            beat(store, key, "a")
    transactions._commit = commit  # type: ignore[method-assign] # noqa: SLF001 - see above

    assert 3 == limits.changes_left(key.id)
    store.close()


def test_refused_write_event_is_recorded_above_the_limit_of_a_key(database_url: str) -> None:
    """An attacker could otherwise use up the limit first and then forge unseen."""
    limits = RateLimits(messages_per_window=100, changes_per_hour=2, failures_per_window=3)
    store = SqlStore(make_url(database_url), budget=limits)
    owner, evil = new_key(store, "admin"), new_key(store, "agent", name="evil")
    beat(store, owner, "victim")
    for n in range(5):
        beat(store, evil, "noise", version=str(n))

    assert ["server_of_another_key"] == beat(store, evil, "victim")

    assert [("victim", "evil")] == refusals(store)
    store.close()


def test_refused_write_events_of_a_key_are_limited(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The memory of what was told holds some servers, and a key may try any number, in turn."""
    now = [1000.0]
    limits = RateLimits(
        messages_per_window=100,
        changes_per_hour=20,
        failures_per_window=3,
        clock=lambda: now[0],
    )
    store = SqlStore(make_url(database_url), budget=limits)
    owner = new_key(store, "admin")
    evil, late = new_key(store, "agent", name="evil"), new_key(store, "agent", name="late")
    ids = [f"s{n:02}" for n in range(50)]
    beat(store, owner, *ids)

    for part in range(0, 50, 7):
        beat(store, evil, *ids[part : part + 7])
    beat(store, evil, *ids, *ids)
    beat(store, late, "s49")
    in_the_first_hour = [name for _, name in refusals(store)]
    now[0] += 3600
    beat(store, evil, *ids)

    assert {"evil": 21, "late": 1} == Counter(in_the_first_hour)
    assert 42 == Counter(name for _, name in refusals(store))["evil"]
    said = f"The key {evil.id} is refused more writes than may be told in an hour"
    assert 1 <= caplog.text.count(said) <= 2
    assert late.id not in caplog.text
    store.close()


def test_refused_writes_but_the_first_use_the_limit_of_other_events(database_url: str) -> None:
    limits = RateLimits(messages_per_window=100, changes_per_hour=10, failures_per_window=3)
    store = SqlStore(make_url(database_url), budget=limits)
    owner, evil = new_key(store, "admin"), new_key(store, "agent", name="evil")
    beat(store, owner, "a", "b", "c")
    beat(store, evil, "a")
    first = limits.changes_left(evil.id)
    beat(store, evil, "a", "b", "c")

    assert (10, 8) == (first, limits.changes_left(evil.id))
    store.close()


def test_silence_of_the_servers_of_a_key_uses_its_limit(database_url: str) -> None:
    limits = RateLimits(messages_per_window=100, changes_per_hour=10, failures_per_window=3)
    store = SqlStore(make_url(database_url), budget=limits)
    fleet = Watched(store)
    key, other = new_key(store, "agent"), new_key(store, "agent")
    store.servers.apply([Incoming(Heartbeat(server_id="a"), fleet.now, key)])
    store.servers.apply([Incoming(Heartbeat(server_id="b"), fleet.now, other)])
    fleet.beat("unowned")
    fleet.go_on(300)
    store.servers.apply([Incoming(Heartbeat(server_id="a"), fleet.now, key)])

    assert (6, 7) == (limits.changes_left(key.id), limits.changes_left(other.id))
    store.close()


def test_servers_of_a_key_without_a_budget_flap_after_one_silence_is_told(
    database_url: str,
) -> None:
    """One silence and its end are told of each server; what follows is counted."""
    limits = RateLimits(messages_per_window=10**6, changes_per_hour=3, failures_per_window=3)
    store = SqlStore(make_url(database_url), budget=limits)
    fleet = Watched(store)
    key = new_key(store, "agent")
    for _ in range(5):
        store.servers.apply([Incoming(Heartbeat(server_id="a"), fleet.now, key)])
        fleet.go_on(150)

    kinds = [kind for kind, _ in fleet.told()]
    assert ["late", "recovered", "flapping"] == kinds
    store.close()


@pytest.mark.parametrize("limit", [None, 10**9])
def test_keys_with_a_budget_flap_no_sooner_than_others(
    database_url: str, limit: int | None
) -> None:
    limits = limit and RateLimits(
        messages_per_window=limit, changes_per_hour=limit, failures_per_window=limit
    )
    store = SqlStore(make_url(database_url), budget=limits or None)
    fleet = Watched(store)
    key = new_key(store, "agent")
    for _ in range(5):
        store.servers.apply([Incoming(Heartbeat(server_id="a"), fleet.now, key)])
        fleet.go_on(150)

    turns = ["late", "recovered", "late", "recovered", "late"]
    assert [*turns, "flapping"] == [kind for kind, _ in fleet.told()]
    store.close()


def test_rows_that_a_key_changes_count_as_messages(database_url: str) -> None:
    """A thousand new names of tools are 250 rows; names that are stored already are none."""
    limits = RateLimits(messages_per_window=1000, changes_per_hour=10**6, failures_per_window=3)
    store = SqlStore(make_url(database_url), budget=limits)
    key = new_key(store, "agent")
    beat(store, key, "small", capabilities=tuple(f"tool_{n}" for n in range(40)))
    small = limits.left(key.id)
    beat(store, key, "a", capabilities=tuple(f"a{n}" for n in range(1000)))
    large = limits.left(key.id)
    beat(store, key, "a", capabilities=tuple(f"b{n}" for n in range(1000)))
    changed = limits.left(key.id)
    beat(store, key, "b", capabilities=tuple(f"b{n}" for n in range(1000)))

    assert (1000, 998, 996, 996) == (small, large, changed, limits.left(key.id))
    store.close()

"""Ownership: which key may write which server, on SQLite and PostgreSQL."""

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from attrs import evolve
from sqlalchemy import make_url, select

from contract import Event, EventKind, Heartbeat, Registration
from keyring import made
from receiver.domain.errors import Refusal, StoreUnavailable
from receiver.domain.keys import Key
from receiver.domain.lists.profiles import Profile
from receiver.domain.outcomes import Applied, Incoming
from receiver.domain.queries import EventFilter
from receiver.domain.rate_limits import RateLimits
from receiver.store import SqlStore
from receiver.store.indexes import drop_profiles, write_profiles
from receiver.store.ownership import RefusedWrites
from receiver.store.tables import profiles
from servers import Clock
from watched import Watched

NOW = Clock().now


@pytest.fixture
def acme(store: SqlStore) -> Key:
    return new_key(store, "agent", servers="acme_*", name="acme")


@pytest.fixture
def unrestricted(store: SqlStore) -> Key:
    """The key of an agent with the pattern `*`: any server that no other key owns."""
    return new_key(store, "agent", name="unrestricted")


@pytest.fixture
def admin(store: SqlStore) -> Key:
    return new_key(store, "admin")


def new_key(store: SqlStore, scope: str, *, servers: str = "*", name: str | None = None) -> Key:
    key, _ = made(scope, servers=servers, name=name)
    store.keys.add(key)
    return key


def beat(store: SqlStore, key: Key | None, *ids: str, **said: Any) -> list[str]:
    """Apply one heartbeat for each id; returns `ok` or the code of the refusal for each."""
    incoming = [Incoming(Heartbeat(server_id=each, **said), NOW, key) for each in ids]
    return [code(each) for each in store.servers.apply(incoming)]


def code(outcome: Applied | Refusal) -> str:
    return "ok" if isinstance(outcome, Applied) else outcome.code


def refusals(store: SqlStore) -> list[tuple[str | None, str]]:
    """Server and name of the key of each `refused_write` event."""
    kinds = frozenset({EventKind.REFUSED_WRITE})
    found = store.events.after(0, EventFilter(kinds=kinds), limit=1000)
    return [(each.event.server_id, each.event.details["name"]) for each in found]


def test_server_belongs_to_the_key_that_first_wrote_it(
    store: SqlStore, acme: Key, unrestricted: Key
) -> None:
    assert ["ok"] == beat(store, acme, "acme_1")
    assert ["server_of_another_key"] == beat(store, unrestricted, "acme_1", hostname="evil")
    assert ["ok"] == beat(store, acme, "acme_1")

    record = store.servers.get("acme_1")
    assert record is not None
    assert (None, 2) == (record.hostname, record.heartbeat_count)
    assert acme.id == store.servers.owner("acme_1")


def test_server_belongs_to_the_key_that_registered_it(
    store: SqlStore, acme: Key, unrestricted: Key
) -> None:
    registration = Registration(server_id="acme_1")
    outcomes = [
        store.servers.apply([Incoming(registration, NOW, key)])[0]
        for key in (acme, unrestricted, acme)
    ]

    assert ["ok", "server_of_another_key", "ok"] == [code(each) for each in outcomes]


def test_first_of_two_keys_in_one_batch_owns_the_server(
    store: SqlStore, acme: Key, unrestricted: Key
) -> None:
    beats = [
        Incoming(Heartbeat(server_id="acme_1"), NOW, key) for key in (acme, unrestricted, acme)
    ]

    assert ["ok", "server_of_another_key", "ok"] == [
        code(each) for each in store.servers.apply(beats)
    ]
    assert [("acme_1", "unrestricted")] == refusals(store)


def test_two_stores_agree_on_the_owner(
    store: SqlStore, other: SqlStore, acme: Key, unrestricted: Key
) -> None:
    assert ["ok"] == beat(store, acme, "acme_1")
    assert ["server_of_another_key"] == beat(other, unrestricted, "acme_1")
    assert ["ok"] == beat(other, acme, "acme_1")


def test_server_outside_the_pattern_of_a_key_is_refused(store: SqlStore, acme: Key) -> None:
    assert ["ok", "server_not_covered"] == beat(store, acme, "acme_1", "blue_1")
    assert store.servers.get("blue_1") is None
    # No event: the server does not exist, so a mistake in a setting is likelier than an attack.
    assert [] == refusals(store)


def test_refused_write_event_names_the_key(store: SqlStore, acme: Key, unrestricted: Key) -> None:
    beat(store, unrestricted, "blue_1")

    assert ["server_not_covered"] == beat(store, acme, "blue_1")

    (recorded,) = store.events.after(
        0, EventFilter(kinds=frozenset({EventKind.REFUSED_WRITE})), limit=10
    )
    assert (
        Event(
            kind=EventKind.REFUSED_WRITE,
            at=NOW,
            server_id="blue_1",
            details={"key": acme.id, "name": "acme"},
        )
        == recorded.event
    )


def test_refused_writes_make_one_event_an_hour(
    store: SqlStore, acme: Key, unrestricted: Key
) -> None:
    """A key that retries forever must not fill the timeline."""
    beat(store, acme, "acme_1", "acme_2")
    evil = Heartbeat(server_id="acme_1")

    for minutes in (0, 1, 59, 60, 61):
        at = NOW + timedelta(minutes=minutes)
        store.servers.apply([Incoming(evil, at, unrestricted), Incoming(evil, at, unrestricted)])
    beat(store, unrestricted, "acme_2")

    assert [
        ("acme_1", "unrestricted"),
        ("acme_1", "unrestricted"),
        ("acme_2", "unrestricted"),
    ] == refusals(store)


def test_memory_of_refused_writes_drops_the_oldest() -> None:
    refused = RefusedWrites(size=2)
    for n in range(3):
        event = Event(kind=EventKind.REFUSED_WRITE, at=NOW, server_id="a", details={"key": f"k{n}"})
        refused.note([event])

    assert [False, True, True] == [refused.is_known("a", f"k{n}", NOW) for n in range(3)]


def test_refused_message_leaves_the_rest_of_the_batch_applied(
    store: SqlStore, acme: Key, unrestricted: Key
) -> None:
    beat(store, acme, "acme_1")

    assert ["ok", "server_of_another_key", "ok"] == beat(store, unrestricted, "a", "acme_1", "z")


def test_server_without_an_owner_belongs_to_the_next_key_that_writes_it(
    store: SqlStore, acme: Key, unrestricted: Key
) -> None:
    beat(store, None, "acme_1")
    assert store.servers.owner("acme_1") is None

    assert ["ok", "server_of_another_key"] == [
        *beat(store, unrestricted, "acme_1"),
        *beat(store, acme, "acme_1"),
    ]
    assert unrestricted.id == store.servers.owner("acme_1")


def test_admin_key_writes_servers_of_any_owner(store: SqlStore, acme: Key, admin: Key) -> None:
    beat(store, acme, "acme_1")
    beat(store, None, "before")

    assert ["ok"] * 3 == beat(store, admin, "acme_1", "before", "new")
    owners = [store.servers.owner(each) for each in ("acme_1", "before", "new")]
    assert [acme.id, None, admin.id] == owners


def test_handed_over_server_belongs_to_the_new_key(
    store: SqlStore, other: SqlStore, acme: Key, unrestricted: Key
) -> None:
    beat(store, acme, "acme_1", "acme_2")
    assert ["server_of_another_key"] == beat(other, unrestricted, "acme_1")

    assert ["acme_1"] == store.servers.hand_over(
        ["acme_1", "unknown", "no\x00name"], unrestricted.id
    )

    for each in (store, other):
        assert ["ok"] == beat(each, unrestricted, "acme_1")
        assert ["server_of_another_key"] == beat(each, acme, "acme_1")
    assert [["acme_2"], ["acme_1"]] == [store.servers.owned(key.id) for key in (acme, unrestricted)]


def test_server_handed_to_none_belongs_to_the_next_key_that_writes_it(
    store: SqlStore, acme: Key, unrestricted: Key
) -> None:
    beat(store, acme, "acme_1")
    store.servers.hand_over(["acme_1"], None)

    assert ["ok", "server_of_another_key"] == [
        *beat(store, unrestricted, "acme_1"),
        *beat(store, acme, "acme_1"),
    ]


def test_only_servers_of_a_key_are_deleted_with_it(store: SqlStore, acme: Key) -> None:
    beat(store, acme, "acme_web-1", "acme_web-2")
    store.servers.hand_over(["acme_web-2"], None)

    deleted = [
        store.servers.delete_owned(each, acme.id, NOW)
        for each in ("acme_web-1", "acme_web-2", "acme_web-3")
    ]

    assert [True, False, False] == deleted
    assert store.servers.get("acme_web-1") is None
    assert store.servers.get("acme_web-2") is not None


def test_unknown_server_has_no_owner(store: SqlStore) -> None:
    assert [None, None] == [store.servers.owner("unknown"), store.servers.owner("no\x00name")]


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


# A key must not supersede servers of another key


def test_server_of_another_key_does_not_supersede(fleet: Watched) -> None:
    """A client that follows `superseded_by` would otherwise reach the machine of an attacker."""
    acme, evil = (new_key(fleet.store, "agent", servers=f"{name}_*") for name in ("acme", "evil"))
    said: Any = {"database": "acme", "database_uuid": "u", "odoo_stage": "production"}
    beat(fleet.store, acme, "acme_1", **said)
    fleet.go_on(300)
    forged = Heartbeat(server_id="evil_1", **said)
    fleet.store.servers.apply([Incoming(forged, fleet.now, evil)])

    fleet.sweep()

    assert ("down", None) == (fleet.state("acme_1"), fleet.record("acme_1").superseded_by)


def test_server_of_the_same_key_supersedes(fleet: Watched) -> None:
    acme = new_key(fleet.store, "agent")
    said: Any = {"database": "acme", "database_uuid": "u"}
    beat(fleet.store, acme, "acme_1", **said)
    fleet.clock.advance(300)
    rebuilt = Heartbeat(server_id="acme_2", **said)
    fleet.store.servers.apply([Incoming(rebuilt, fleet.now, acme)])

    fleet.sweep()

    assert "acme_2" == fleet.record("acme_1").superseded_by


def test_servers_of_another_key_do_not_hide_a_rebuild(fleet: Watched) -> None:
    """Sixty servers with one uuid disable rebuilds, but only among servers of one key."""
    acme, evil = new_key(fleet.store, "agent"), new_key(fleet.store, "agent")
    said: Any = {"database": "acme", "database_uuid": "u"}
    beat(fleet.store, evil, *(f"evil_{n}" for n in range(60)), **said)
    beat(fleet.store, acme, "acme_1", **said)
    fleet.clock.advance(300)
    rebuilt = Heartbeat(server_id="acme_2", **said)
    fleet.store.servers.apply([Incoming(rebuilt, fleet.now, acme)])

    fleet.sweep()

    assert "acme_2" == fleet.record("acme_1").superseded_by


def test_server_without_an_owner_is_superseded(fleet: Watched) -> None:
    """Otherwise a rebuild after the first key was made would stay an alarm forever."""
    acme = new_key(fleet.store, "agent")
    said: Any = {"database": "acme", "database_uuid": "u"}
    beat(fleet.store, None, "acme_1", **said)
    fleet.clock.advance(300)
    fleet.store.servers.apply([Incoming(Heartbeat(server_id="acme_2", **said), fleet.now, acme)])

    fleet.sweep()

    assert "acme_2" == fleet.record("acme_1").superseded_by


def test_sweep_keeps_the_owner(fleet: Watched) -> None:
    acme = new_key(fleet.store, "agent")
    beat(fleet.store, acme, "acme_1")
    fleet.clock.advance(300)
    fleet.sweep()

    assert acme.id == fleet.store.servers.owner("acme_1")
    late = evolve(acme, id="another")
    assert ["server_of_another_key"] == beat(fleet.store, late, "acme_1")


def test_deletion_of_a_successor_keeps_the_owner(fleet: Watched) -> None:
    acme = new_key(fleet.store, "agent")
    said: Any = {"database": "acme", "database_uuid": "u"}
    beat(fleet.store, acme, "acme_1", **said)
    fleet.clock.advance(300)
    fleet.store.servers.apply([Incoming(Heartbeat(server_id="acme_2", **said), fleet.now, acme)])
    fleet.sweep()
    fleet.store.servers.delete("acme_2", fleet.now)

    assert acme.id == fleet.store.servers.owner("acme_1")
    another = evolve(acme, id="another")
    assert ["server_of_another_key"] == beat(fleet.store, another, "acme_1")


def test_hand_over_takes_more_servers_than_sql_parameters(store: SqlStore) -> None:
    """PostgreSQL takes 65,535 parameters at most, SQLite 32,766."""
    key = new_key(store, "agent")
    store.servers.apply([Incoming(Heartbeat(server_id="s69999"), NOW)])

    handed = store.servers.hand_over([f"s{n}" for n in range(70_000)], key.id)

    assert (["s69999"], key.id) == (handed, store.servers.owner("s69999"))


def test_more_profiles_than_sql_parameters_are_written_and_deleted(store: SqlStore) -> None:
    """As when an administrator hands over so many servers, each with a profile of its own."""
    new, left = (
        [Profile("", None, None, None, f"{owner} {n}", None) for n in range(number)]
        for owner, number in (("new", 10_000), ("old", 60_000))
    )
    write = store.transactions.write
    write(lambda connection: write_profiles(connection, [new[-1], left[0], left[-1]]))

    write(lambda connection: write_profiles(connection, new, left))
    written = owners_of_profiles(store)
    write(lambda connection: drop_profiles(connection, [*left, *new]))

    assert sorted(str(each.owner) for each in new) == written
    assert [] == owners_of_profiles(store)


def owners_of_profiles(store: SqlStore) -> list[str]:
    with store.transactions.read() as connection:
        return sorted(connection.execute(select(profiles.c.owner)).scalars())

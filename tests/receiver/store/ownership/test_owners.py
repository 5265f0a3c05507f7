"""Each server belongs to one key, and other keys must not write it."""

from datetime import timedelta

from sqlalchemy import Connection, select

from contract import Event, EventKind, Heartbeat, Registration
from owned_servers import NOW, beat, code, new_key, refusals
from receiver.domain.keys import Key
from receiver.domain.lists.profiles import Profile
from receiver.domain.outcomes import Incoming
from receiver.domain.queries import EventFilter
from receiver.store import SqlStore
from receiver.store.indexes import drop_profiles, inserted_profiles, lock_profiles
from receiver.store.ownership import RefusedWrites
from receiver.store.tables import profiles


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
    dialect = store.transactions.dialect

    def write(gained: list[Profile], lost: list[Profile]) -> list[str]:
        def work(connection: Connection) -> None:
            lock_profiles(dialect, connection, [*gained, *lost])
            dialect.insert(connection, inserted_profiles(gained))
            drop_profiles(connection, lost)

        store.transactions.write(work)
        return owners_of_profiles(store)

    write([new[-1], left[0], left[-1]], [])

    written = write(new, left)
    write([], [*left, *new])

    assert sorted(str(each.owner) for each in new) == written
    assert [] == owners_of_profiles(store)


def owners_of_profiles(store: SqlStore) -> list[str]:
    with store.transactions.read() as connection:
        return sorted(connection.execute(select(profiles.c.owner)).scalars())

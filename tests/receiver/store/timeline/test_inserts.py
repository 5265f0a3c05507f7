"""An event is inserted in the transaction of its change."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, make_url
from sqlalchemy.exc import IntegrityError

from contract import EventKind, Heartbeat, IpAddresses
from receiver.domain.outcomes import Incoming
from receiver.domain.queries import ALL_EVENTS, EventFilter
from receiver.store import SqlStore
from refused_inserts import allow_inserts, refuse_inserts
from watched import Watched, beats


def test_every_change_in_a_batch_has_its_own_event(fleet: Watched) -> None:
    """Also when several heartbeats of one server are in the same batch."""
    beats: list[dict[str, Any]] = [
        {"hostname": "one", "version": "1"},
        {"hostname": "two"},
        {},
        {"hostname": "three", "version": "2", "capabilities": ("a", "b")},
        {"capabilities": ("b", "c")},
    ]

    fleet.store.servers.apply(
        [Incoming(Heartbeat(server_id="a", **said), fleet.now) for said in beats]
        + [Incoming(Heartbeat(server_id="b"), fleet.now)]
    )

    found_events = [
        (each.event.kind.value, each.event.server_id, dict(each.event.details))
        for each in fleet.store.events.after(0, limit=99)
    ]
    assert [
        ("registered", "a", {}),
        ("moved", "a", {"hostname": {"from": "one", "to": "two"}}),
        ("moved", "a", {"hostname": {"from": "two", "to": "three"}}),
        ("upgraded", "a", {"version": {"from": "1", "to": "2"}}),
        ("updated", "a", {"capabilities": {"from": None, "to": ["a", "b"]}}),
        ("capabilities_changed", "a", {"capabilities": {"gained": ["c"], "lost": ["a"]}}),
        ("registered", "b", {}),
    ] == found_events


def test_changed_status_is_an_updated_event(fleet: Watched) -> None:
    for status in ("healthy", "degraded", "degraded"):
        fleet.beat("a", status=status)

    assert [("updated", "a")] == fleet.told()
    assert [{"status": {"from": "healthy", "to": "degraded"}}] == fleet.details(EventKind.UPDATED)


def test_batch_that_fails_leaves_no_event(fleet: Watched, engine: Engine) -> None:
    fleet.beat("a", hostname="one")
    found_events = fleet.told(but=())
    refuse_inserts(engine, "servers")

    with pytest.raises(IntegrityError):
        fleet.beat("a", "b", hostname="two")

    assert found_events == fleet.told(but=())
    assert {"registered": 1} == fleet.counts


@pytest.mark.parametrize("action", ["beat", "delete", "sweep"])
def test_change_whose_event_cannot_be_inserted_is_rolled_back(
    fleet: Watched, engine: Engine, action: str
) -> None:
    news: list[int] = []
    fleet.beat("a", hostname="one")
    fleet.clock.advance(136)
    fleet.on_events = lambda: news.append(fleet.store.events.last())
    before, counted = fleet.record("a"), fleet.counts
    do: dict[str, Callable[[], object]] = {
        "beat": lambda: fleet.beat("a", hostname="two"),
        "delete": lambda: fleet.store.servers.delete("a", fleet.now),
        "sweep": fleet.sweep,
    }
    refuse_inserts(engine, "events")

    with pytest.raises(IntegrityError):
        do[action]()

    assert (before, counted, []) == (fleet.record("a"), fleet.counts, news)
    allow_inserts(engine)
    do[action]()
    kinds = {"beat": ["moved"], "delete": ["deleted"], "sweep": ["late"]}[action]
    assert kinds == [kind for kind, _ in fleet.told()]
    assert [fleet.store.events.last()] == news


def test_deletion_adds_an_event_and_keeps_the_older_ones(fleet: Watched) -> None:
    fleet.beat("a")
    fleet.clock.advance(5)

    assert fleet.store.servers.delete("a", fleet.now)
    assert not fleet.store.servers.delete("a", fleet.now)

    last = fleet.store.events.page(ALL_EVENTS, before=None, limit=1).events[0]
    assert [("registered", "a"), ("deleted", "a")] == fleet.told(of="a", but=())
    assert (2, fleet.now) == (last.id, last.event.at)


def test_numbering_of_events_is_locked_once_in_each_transaction(
    postgresql_url: str, tmp_path: Path
) -> None:
    store = SqlStore(make_url(postgresql_url))

    with traced(store, tmp_path / "trace") as sent:
        for server_id in ("a", "b"):
            store.servers.apply(beats(server_id, database_uuid="one"))
    store.close()

    assert 2 == sum("pg_advisory_xact_lock" in statement for statement in sent)


def test_sixty_new_servers_are_written_by_nine_statements(
    postgresql_url: str, tmp_path: Path
) -> None:
    """However many profiles and sets of tools they have: each statement is a round trip."""
    store = SqlStore(make_url(postgresql_url))
    new = [
        beat
        for n in range(60)
        for beat in beats(
            f"s{n}",
            database=f"d{n}",
            database_uuid=f"u{n}",
            ip_addresses=IpAddresses(primary=f"10.0.{n}.1", all=(f"10.0.{n}.1",)),
            capabilities=("a", f"tool {n % 2}"),
        )
    ]
    store.servers.apply(
        [each for n in range(2) for each in beats(f"o{n}", capabilities=("a", f"tool {n}"))]
    )

    with traced(store, tmp_path / "trace") as sent:
        store.servers.apply(new)
    store.close()

    found = [re.sub(r"\W+", " ", statement).split()[0] for statement in sent]
    assert [
        "BEGIN",
        "SELECT",  # the rows of the servers
        "WITH",  # servers, texts, facets, profiles and tallies
        "SELECT",  # sets of tools
        "SELECT",  # the numbering of events
        "SELECT",  # relatives and labels
        "INSERT",  # events
        "INSERT",  # the number of the transaction
        "COMMIT",
    ] == found


def test_profiles_that_servers_get_and_lose_are_locked_by_one_statement(
    postgresql_url: str, tmp_path: Path
) -> None:
    """Two transactions that locked some first and others later would wait for each other."""
    store = SqlStore(make_url(postgresql_url))
    store.servers.apply(beats("a", odoo_version="18.0"))

    with traced(store, tmp_path / "trace") as sent:
        store.servers.apply(
            [*beats("a", odoo_version="19.0"), *beats("b"), *beats("c", odoo_version="18.0")]
        )
    store.close()

    found = [
        re.sub(r"\W+", " ", statement).split()[0] for statement in sent if "profiles" in statement
    ]
    assert ["WITH", "DELETE", "DELETE"] == found, "the last ones delete what nobody has any more"


def test_events_are_announced_once_after_their_commit(fleet: Watched) -> None:
    seen: list[int] = []
    fleet.on_events = lambda: seen.append(fleet.store.events.last())

    fleet.beat("a", "b")
    fleet.beat("a")
    fleet.beat("a", hostname="x")
    fleet.clock.advance(136)
    fleet.sweep()
    fleet.store.servers.delete("nobody", fleet.now)
    fleet.store.servers.delete("a", fleet.now)

    assert [2, 3, 5, 6] == seen
    assert {"registered": 2, "updated": 1, "late": 2, "deleted": 1} == fleet.counts


def test_event_with_odd_characters_is_stored_unchanged(fleet: Watched) -> None:
    odd = "<script>\u202e\U0001f40d'\"\\ %_"
    fleet.beat(odd, hostname="a", capabilities=("x",))
    fleet.beat(odd, hostname=odd, capabilities=(odd,))

    found = fleet.store.events.page(EventFilter(server_id=odd), before=None, limit=9).events

    moved, changed = sorted(found[:2], key=lambda each: each.event.kind.value)[::-1]
    assert {"hostname": {"from": "a", "to": odd}} == moved.event.details
    assert {"capabilities": {"gained": [odd], "lost": ["x"]}} == changed.event.details
    assert {
        "id": moved.id,
        "kind": "moved",
        "at": "2026-01-31T12:00:00Z",
        "server_id": odd,
        "details": {"hostname": {"from": "a", "to": odd}},
    } == moved.to_json()


@contextmanager
def traced(store: SqlStore, file: Path) -> Iterator[list[str]]:
    """The statements that PostgreSQL gets in transactions that write; complete after the block."""
    sent: list[str] = []
    held: list[Any] = []
    store.transactions.write(
        lambda connection: held.append(connection.connection.driver_connection)
    )
    with file.open("w") as trace:
        held[0].pgconn.trace(trace.fileno())
        yield sent
        held[0].pgconn.untrace()
    sent += re.findall(r'\t(?:Query\t|Parse\t "[^"]*") "([^"]*)', file.read_text())

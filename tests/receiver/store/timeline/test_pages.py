"""Filters and pages of the timeline."""

from datetime import timedelta
from itertools import pairwise

import pytest
from sqlalchemy import Engine, bindparam, update

from contract import EventKind
from odoos import DATABASE
from receiver.domain.queries import ALL_EVENTS, EventFilter
from receiver.store import SqlStore
from receiver.store.events import MOST_SEARCHED
from receiver.store.tables import servers
from timeline import add_events
from watched import Watched


def test_event_pages_come_newest_first(fleet: Watched) -> None:
    fleet.beat(*"abcdefg")

    pieces: list[list[int]] = []
    before = None
    while not pieces or pieces[-1]:
        found = fleet.store.events.page(ALL_EVENTS, before=before, limit=3).events
        pieces.append([each.id for each in found])
        before = found[-1].id if found else before

    assert [[7, 6, 5], [4, 3, 2], [1], []] == pieces


@pytest.mark.parametrize("late_by", [0, 1, 30])
def test_since_filter_keeps_events_at_or_after_the_time(fleet: Watched, late_by: int) -> None:
    began = fleet.now
    for n in range(40):
        fleet.beat(f"s{n}")
        fleet.clock.advance(1)

    since = began + timedelta(seconds=10, microseconds=late_by)
    found = fleet.store.events.page(EventFilter(since=since), before=None, limit=99).events

    expected = [f"s{n}" for n in range(39, 9 if late_by == 0 else 10, -1)]
    assert expected == [each.event.server_id for each in found]


def test_since_filter_in_the_future_finds_no_event(fleet: Watched) -> None:
    fleet.beat("a")
    event_filter = EventFilter(since=fleet.now + timedelta(days=1))

    assert [] == fleet.store.events.page(event_filter, before=None, limit=9).events


def test_since_filter_finds_events_of_clocks_that_differ(fleet: Watched) -> None:
    began = fleet.now
    for n in range(100):
        fleet.clock.now = began + timedelta(seconds=[0, 5 if n < 50 else 4][n % 2])
        fleet.beat(f"s{n}")

    found = fleet.store.events.page(
        EventFilter(since=began + timedelta(seconds=3)), before=None, limit=99
    ).events

    assert [f"s{n}" for n in range(99, 0, -2)] == [each.event.server_id for each in found]


def test_combined_filters_must_all_match(fleet: Watched) -> None:
    began = fleet.now
    for n in range(6):
        fleet.beat("a", "b", hostname=f"h{n}", version=f"v{n}")
        fleet.clock.advance(60)
    event_filter = EventFilter(
        kinds=frozenset({EventKind.MOVED, EventKind.UPGRADED}),
        server_id="b",
        since=began + timedelta(seconds=240),
    )

    newest = fleet.store.events.page(event_filter, before=None, limit=99).events
    oldest = fleet.store.events.after(0, event_filter, limit=99)

    found_events = [(each.event.kind.value, each.event.server_id) for each in newest]
    assert [("moved", "b"), ("upgraded", "b")] * 2 == sorted(found_events[:2]) + sorted(
        found_events[2:]
    )
    assert newest == oldest[::-1]


def test_events_include_a_hundred_superseded_servers(fleet: Watched, engine: Engine) -> None:
    """Of a hundred rebuilds, each new server supersedes the one before."""
    for n in range(100):
        fleet.beat(f"s{n:03}", **DATABASE)
        fleet.sweep()
        fleet.clock.advance(136)
    fleet.beat("last", **DATABASE)
    fleet.sweep()

    assert ["last"] == fleet.ids()
    whose = {who for kind, who in fleet.told(of="last", but=()) if kind == "registered"}
    assert {"last", *(f"s{n:03}" for n in range(100))} == whose


def test_events_include_at_most_a_thousand_superseded_servers(
    fleet: Watched, engine: Engine
) -> None:
    ids = [f"s{n:04}" for n in range(1500)]
    fleet.beat(*ids)
    supersede(engine, ids)

    assert 1001 == len(fleet.told(of=ids[-1], but=()))


def supersede(engine: Engine, ids: list[str]) -> None:
    """Store in each server that the next one of `ids` supersedes it."""
    change = update(servers).where(servers.c.server_id == bindparam("old"))
    pairs = [{"old": old, "new": new} for old, new in pairwise(ids)]
    with engine.begin() as connection:
        connection.execute(change.values(superseded_by=bindparam("new")), pairs)


def test_events_of_a_superseding_cycle_are_finite(fleet: Watched, engine: Engine) -> None:
    fleet.beat("a", "b", "c")
    supersede(engine, ["a", "b", "c", "a"])

    assert {"a", "b", "c"} == {who for _, who in fleet.told(of="b", but=())}


def test_search_for_rare_events_of_a_server_goes_on_page_by_page(
    store: SqlStore, engine: Engine
) -> None:
    add_events(engine, "a", "moved", count=2)
    add_events(engine, "a", "late", count=MOST_SEARCHED + 5)
    add_events(engine, "b", "moved", count=1)
    matching = EventFilter(server_id="a", kinds=frozenset({EventKind.MOVED}))

    pages, before = [], None
    for _ in range(3):
        page = store.events.page(matching, before=before, limit=1)
        pages.append(([each.id for each in page.events], page.next_before))
        before = page.next_before

    assert [([], 8), ([2], 2), ([1], None)] == pages

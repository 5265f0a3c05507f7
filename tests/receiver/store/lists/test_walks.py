"""
Reading all pages of a list while servers are heard, deleted and created.

The model is a dict of plain rows; it shares no code with the SQL.
"""

from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from itertools import count, islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, text

from contract import Heartbeat
from receiver.domain.cursors import read_cursor, write_cursor
from receiver.domain.outcomes import Incoming
from receiver.domain.queries import ALL_SERVERS, Filter, Order, PageRequest, Place, ServerPage
from receiver.store import SqlStore
from strategies import share_of_examples
from watched import hear, kept_in

START = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
MOVING = [Order.LAST_SEEN, Order.LAST_SEEN_DOWN]
IDS = [f"s{n}" for n in range(9)]

seconds = st.sampled_from([0.0, 1e-6, 0.5, 4.0, 5.0, 6.0, 60.0])
delays = st.sampled_from([0.0, 0.0, 0.0, 1e-6, 0.5, 4.0])

heartbeats = st.tuples(st.sampled_from(IDS), delays)


class Walker:
    """
    Reads the pages of a list, one at a time, and has each cursor written and read.

    Attributes:
        ids: The servers of each page so far.
        after: Where the next page begins.
        is_done: Whether the last page was read.
    """

    def __init__(self, store: SqlStore, order: Order, limit: int, matching: Filter) -> None:
        self._store = store
        self._order = order
        self._limit = limit
        self._matching = matching
        self.after: Place | None = None
        self.ids: list[list[str]] = []
        self.is_done = False

    def turn(self, now: datetime) -> None:
        page = self.page(self.after, now)
        self.ids.append([record.server_id for record in page.records])
        self.is_done = page.next_after is None
        if page.next_after is not None:
            order, self.after = read_cursor(write_cursor(self._order, page.next_after))
            assert self._order is order

    def page(self, after: Place | None, now: datetime) -> ServerPage:
        asked = PageRequest(limit=self._limit, now=now, after=after)
        return self._store.servers.page(self._matching, self._order, asked)

    @property
    def listed(self) -> list[str]:
        return [each for page in self.ids for each in page]


class World:
    """A store, a clock, and a dict that says when each server was last heard."""

    def __init__(self, store: SqlStore) -> None:
        self.store = store
        self.now = START
        self.heard: dict[str, datetime] = {}
        for record in kept_in(store):
            store.servers.delete(record.server_id, START)

    def hear(self, *ids: str, late: float = 0.0) -> None:
        """
        Commit heartbeats which a receiver received some seconds ago.

        Those of one server are committed in the order in which they were received.
        """
        at = self.now - timedelta(seconds=late)
        said = {each: max(at, self.heard.get(each, at)) for each in ids}
        beats = {each: Heartbeat(server_id=each, version="1") for each in ids}
        hear(self.store, [Incoming(beats[each], said[each]) for each in ids])
        self.heard |= said

    def delete(self, server_id: str) -> None:
        assert (server_id in self.heard) == self.store.servers.delete(server_id, self.now)
        self.heard.pop(server_id, None)

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def walk(
        self,
        order: Order,
        limit: int,
        between: Callable[[], None],
        matching: Filter = ALL_SERVERS,
    ) -> Walker:
        """Read all pages, and let something happen after each."""
        walker = Walker(self.store, order, limit, matching)
        while not walker.is_done:
            assert len(walker.ids) < 1000, "the walk does not end"
            walker.turn(self.now)
            between()
        return walker


def once(happens: Callable[[], None]) -> Callable[[], None]:
    """A function of which only the first call does something."""
    left = [happens]
    return lambda: left.pop()() if left else None


def in_order(heard: dict[str, datetime], order: Order) -> list[str]:
    found = sorted(heard, key=lambda each: (heard[each], each))
    return found[::-1] if order is Order.LAST_SEEN_DOWN else found


@pytest.mark.hypothesis
@pytest.mark.parametrize("order", [*MOVING, Order.SERVER_ID_DOWN, Order.FIRST_SEEN])
def test_walk_through_pages_lists_each_server_that_stays_and_ends(
    store: SqlStore, order: Order
) -> None:
    @given(data=st.data(), limit=st.integers(2, 5), matching=st.sampled_from(FILTERS))
    @settings(max_examples=share_of_examples(0.5))
    def explore(data: st.DataObject, limit: int, matching: Filter) -> None:
        world = World(store)
        for server_id in data.draw(st.permutations(IDS)):
            world.hear(server_id)
            world.advance(data.draw(seconds))
        stayed = set(world.heard)

        def something_happens() -> None:
            for server_id, late in data.draw(st.lists(heartbeats, max_size=4)):
                world.advance(data.draw(seconds))
                world.hear(server_id, late=late)
            for server_id in data.draw(st.lists(st.sampled_from(IDS), max_size=1)):
                world.delete(server_id)
                stayed.discard(server_id)

        walker = world.walk(order, limit, something_happens, matching)

        times = Counter(each for each in walker.listed if each in stayed)
        assert stayed == {*times}
        assert order in MOVING or {1} >= {*times.values()}
        assert {limit} >= {len(page) for page in walker.ids[:-1]}

    explore()


FILTERS = [
    ALL_SERVERS,
    Filter(version="1"),
    Filter(state="up"),
    Filter(stage=""),
    Filter(words="S"),
]


@pytest.mark.parametrize("order", MOVING)
@pytest.mark.parametrize("limit", [1, 4, 8, 9, 10])
def test_quiet_fleet_is_listed_once_in_order(store: SqlStore, order: Order, limit: int) -> None:
    world = World(store)
    for ids in (IDS[3:7], IDS[:3], IDS[7:]):
        world.hear(*ids)
        world.advance(1)

    walker = world.walk(order, limit, lambda: None)

    assert in_order(world.heard, order) == walker.listed
    assert all(walker.ids)


def test_fleet_whose_silence_is_checked_while_one_pages_is_listed_once(
    store: SqlStore, database_url: str
) -> None:
    world = World(store)
    world.hear(*IDS)
    engine = create_engine(database_url)

    def check() -> None:
        with engine.begin() as connection:  # what the watchdog writes of a server that is up
            connection.execute(
                text("UPDATE liveness SET due_at = due_at + 1, revision = revision + 1")
            )

    walker = world.walk(Order.LAST_SEEN_DOWN, 2, check)
    engine.dispose()

    assert in_order(world.heard, Order.LAST_SEEN_DOWN) == walker.listed


@pytest.mark.parametrize("order", MOVING)
def test_servers_that_are_heard_while_one_pages_come_last_by_id(
    store: SqlStore, order: Order
) -> None:
    world = World(store)
    for server_id in IDS:
        world.hear(server_id)
        world.advance(60)
    before = in_order(world.heard, order)
    walker = world.walk(order, 2, once(lambda: world.hear(*before[:1:-1], "new")))

    assert [*before[:2], *sorted([*before[2:], "new"])] == walker.listed


def test_walk_ends_while_every_server_is_heard_all_the_time(store: SqlStore) -> None:
    world = World(store)
    world.hear(*IDS)

    def all_are_heard() -> None:
        world.advance(1)
        world.hear(*IDS)

    for order in MOVING:
        times = Counter(world.walk(order, 1, all_are_heard).listed)
        assert {*IDS} == {*times}
        assert {1, 2} >= {*times.values()}


@pytest.mark.parametrize("late", [0.0, 0.5, 4.0])
def test_server_whose_message_was_under_way_is_listed(store: SqlStore, late: float) -> None:
    """Another receiver commits a message after the first page which it received before it."""
    world = World(store)
    for server_id in IDS:
        world.hear(server_id)
        world.advance(60)
    world.hear("top", late=2)

    walker = world.walk(Order.LAST_SEEN_DOWN, 3, once(lambda: world.hear("s0", late=late)))

    assert {*IDS, "top"} == set(walker.listed)


def test_server_is_listed_that_was_heard_when_another_of_its_time_was_deleted(
    store: SqlStore,
) -> None:
    """Both were last heard in the microsecond in which the first page is read."""
    world = World(store)
    world.hear(*IDS[:5], "s8")
    world.advance(5)
    world.hear("s5", "s6", "s7")

    def one_takes_the_place_of_another() -> None:
        world.hear("s8")  # before the two that were listed
        world.delete("s7")

    walker = world.walk(Order.LAST_SEEN_DOWN, 2, once(one_takes_the_place_of_another))

    assert {*IDS} == set(walker.listed)


@pytest.mark.parametrize("order", MOVING)
def test_cursor_of_an_earlier_version_goes_on_where_it_was(store: SqlStore, order: Order) -> None:
    world = World(store)
    for server_id in IDS:
        world.hear(server_id)
        world.advance(60)
    expected = in_order(world.heard, order)
    walker = Walker(store, order, 4, ALL_SERVERS)
    old = walker.page(None, world.now).next_after
    assert old is not None

    walker.after = Place(old.server_id, old.moment)
    while not walker.is_done:
        walker.turn(world.now)

    assert expected[4:] == walker.listed


def test_many_new_servers_do_not_shorten_a_page(store: SqlStore) -> None:
    world = World(store)
    world.hear(*IDS)
    world.advance(60)
    fresh = (f"t{n:03}" for n in count())

    def more_come() -> None:
        world.advance(1)
        if len(world.heard) < 40:
            world.hear(*islice(fresh, 7))

    walker = world.walk(Order.LAST_SEEN_DOWN, 5, more_come)

    assert {5} == {len(page) for page in walker.ids[:-1]}
    assert set(world.heard) == set(walker.listed)

"""The timeline: one event for every change, in the order of commits, until it is trimmed."""

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import pairwise
from threading import Barrier, Event, Thread
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, bindparam, create_engine, make_url, update
from sqlalchemy.exc import IntegrityError

import messages
from contract import EventKind, Heartbeat
from receiver.domain.errors import StoreUnavailable
from receiver.domain.outcomes import Incoming
from receiver.domain.queries import ALL_EVENTS, EventFilter, RecordedEvent
from receiver.store import SqlStore
from receiver.store.events import MOST_SEARCHED
from receiver.store.tables import servers
from servers import PATIENCE_SECONDS, Clock, wait_until
from watched import Watched, have_patience

DATABASE = {"database_uuid": "u-1", "database": "acme", "odoo_stage": "production"}

REFUSE_INSERTS = {
    "sqlite": "CREATE TRIGGER no BEFORE INSERT ON {} BEGIN SELECT RAISE(ABORT, 'no'); END",
    "postgresql": """
        CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE 'no' USING ERRCODE = 'check_violation'; END $$;
        CREATE TRIGGER no BEFORE INSERT ON {} FOR EACH ROW EXECUTE FUNCTION no()
    """,
}
ALLOW_INSERTS = {
    "sqlite": "DROP TRIGGER no",
    "postgresql": "DROP FUNCTION no() CASCADE",
}


def run(engine: Engine, statement: str) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql(statement)


MANY_EVENTS = """
INSERT INTO events (at, kind, server_id, details)
WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {count})
SELECT 1000000 + n, '{kind}', '{server_id}', {details} FROM numbers ORDER BY 1
"""


def add_events(engine: Engine, server_id: str, kind: str, *, count: int) -> None:
    details = "json '{}'" if engine.dialect.name == "postgresql" else "'{}'"
    known = {"server_id": server_id, "kind": kind, "count": count, "details": details}
    run(engine, MANY_EVENTS.format(**known))


# An event is inserted in the transaction of its change


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
    run(engine, REFUSE_INSERTS[engine.dialect.name].format("servers"))

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
    run(engine, REFUSE_INSERTS[engine.dialect.name].format("events"))

    with pytest.raises(IntegrityError):
        do[action]()

    assert (before, counted, []) == (fleet.record("a"), fleet.counts, news)
    run(engine, ALLOW_INSERTS[engine.dialect.name])
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


# Event ids


def test_event_ids_rise_and_are_never_reused(fleet: Watched, engine: Engine) -> None:
    fleet.beat("a", "b", "c")
    run(engine, "DELETE FROM events")
    fleet.beat("d")

    assert [4] == [each.id for each in fleet.store.events.after(0, limit=9)]
    assert 4 == fleet.store.events.last()


def test_last_event_id_of_an_empty_timeline_is_zero(store: SqlStore) -> None:
    assert (0, []) == (store.events.last(), store.events.after(0, limit=9))


def beat_with_retries(fleet: Watched, *ids: str, **said: str) -> None:
    """Retry as clients do: under many writers SQLite may report that the database is locked."""
    while True:
        try:
            fleet.beat(*ids, **said)
        except StoreUnavailable:
            continue
        return


def test_reader_that_continues_after_the_last_id_misses_no_event(
    store: SqlStore, other: SqlStore
) -> None:
    """Also while four threads write batches of many sizes at the same time."""
    fleets = [Watched(store), Watched(other)]
    is_over, read = Event(), list[RecordedEvent]()
    barrier = Barrier(5)

    def write(number: int) -> None:
        choose, fleet = random.Random(number), fleets[number % 2]
        barrier.wait(PATIENCE_SECONDS)
        for n in range(30):
            ids = [f"{number}-{n}-{m}" for m in range(choose.choice([1, 1, 2, 40]))]
            ids += ["shared"] * (n % 5 == 0)
            beat_with_retries(fleet, *ids, hostname=f"{number}-{n}")

    def follow() -> None:
        barrier.wait(PATIENCE_SECONDS)
        while True:
            was_over = is_over.is_set()
            news = store.events.after(read[-1].id if read else 0, limit=7)
            read.extend(news)
            if was_over and not news:
                return

    with ThreadPoolExecutor(5) as threads:
        reading = threads.submit(follow)
        try:
            for writing in [threads.submit(write, number) for number in range(4)]:
                writing.result(PATIENCE_SECONDS)
        finally:
            is_over.set()
        reading.result(PATIENCE_SECONDS)

    everything = store.events.after(0, limit=100_000)
    assert len(everything) > 120
    assert everything == read
    counted = [sum(each.counts.values()) for each in fleets]
    assert len(everything) == sum(counted)


SLOW_COMMIT = """
    CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF NEW.server_id = 'slow' THEN PERFORM pg_advisory_xact_lock(1); END IF;
            RETURN NULL;
        END $$;
    CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON events
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wait()
"""
WAITING = """
    SELECT count(*) FROM pg_stat_activity
    WHERE wait_event_type = 'Lock' AND datname = current_database()
"""


def test_event_of_a_slow_commit_is_readable_before_higher_ids(postgresql_url: str) -> None:
    """A reader that has seen a higher id would never ask for a lower one again."""
    stores = [SqlStore(make_url(postgresql_url)) for _ in range(2)]
    have_patience(*stores)
    engine = create_engine(postgresql_url, isolation_level="AUTOCOMMIT")
    slow, quick = map(Watched, stores)

    def write_and_read() -> list[tuple[str, str | None]]:
        quick.beat("quick")
        return quick.told(but=())

    with engine.connect() as connection, ThreadPoolExecutor(2) as threads:

        def number_of_waiting() -> int:
            return int(connection.exec_driver_sql(WAITING).scalar_one())

        connection.exec_driver_sql(SLOW_COMMIT)
        connection.exec_driver_sql("SELECT pg_advisory_lock(1)")
        try:
            writing = threads.submit(slow.beat, "slow")
            wait_until(lambda: number_of_waiting() == 1)
            reading = threads.submit(write_and_read)
            wait_until(lambda: reading.done() or number_of_waiting() == 2)
        finally:
            connection.exec_driver_sql("SELECT pg_advisory_unlock(1)")
        found_events = reading.result(PATIENCE_SECONDS)
        writing.result(PATIENCE_SECONDS)
    for store in stores:
        store.close()
    engine.dispose()

    assert [("registered", "slow"), ("registered", "quick")] == found_events


# Filters and pages


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


# Trimming old events


def test_trim_deletes_old_events_only(fleet: Watched) -> None:
    for n in range(10):
        fleet.beat(f"s{n}")
        fleet.clock.advance(10)

    is_more = fleet.store.events.trim(fleet.now - timedelta(seconds=50))
    again = fleet.store.events.trim(fleet.now - timedelta(seconds=50))

    assert (False, False) == (is_more, again)
    assert [f"s{n}" for n in range(5, 10)] == [who for _, who in fleet.told(but=())]
    assert 10 == len(fleet.ids())


def test_trim_deletes_at_most_a_thousand_events_per_call(fleet: Watched) -> None:
    for n in range(3):
        fleet.beat(*(f"s{n}-{m}" for m in range(500)))
        fleet.clock.advance(1)
    left = []
    for _ in range(3):
        is_more = fleet.store.events.trim(fleet.now)
        left.append((is_more, len(fleet.told(but=()))))

    assert [(True, 500), (False, 0), (False, 0)] == left


def test_concurrent_trims_of_two_stores_keep_recent_events(
    store: SqlStore, other: SqlStore
) -> None:
    fleet = Watched(store)
    fleet.beat(*(f"s{n}" for n in range(3000)))
    fleet.clock.advance(10)
    fleet.beat("young")
    until = fleet.now - timedelta(seconds=5)

    def trim(store: SqlStore) -> None:
        for _ in range(6):
            store.events.trim(until)

    threads = [Thread(target=trim, args=(each,)) for each in (store, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)

    assert [("registered", "young")] == fleet.told(but=())


# Over HTTP


def test_empty_timeline_is_an_empty_list(receiver: httpx.Client) -> None:
    assert {"events": [], "count": 0, "next_cursor": None} == receiver.get("/events").json()
    assert {"events": [], "count": 0, "next_cursor": None} == receiver.get(
        "/servers/nobody/events"
    ).json()


def listed(answer: httpx.Response) -> list[tuple[str, str | None]]:
    return [(each["kind"], each["server_id"]) for each in answer.json()["events"]]


def send_messages(receiver: httpx.Client, clock: Clock) -> None:
    """Send messages of two servers, one of which moves, is upgraded, and falls silent."""
    receiver.post("/heartbeat", json=messages.slim(server_id="b", heartbeat_interval_seconds=1e6))
    receiver.post("/heartbeat", json=messages.heartbeat(server_id="a"))
    clock.advance(10)
    receiver.post("/heartbeat", json=messages.heartbeat(server_id="a", hostname="other"))
    clock.advance(10)
    receiver.post("/heartbeat", json=messages.slim(server_id="a", version="2.0.0"))
    clock.advance(136)
    wait_until(lambda: ("late", "a") in listed(receiver.get("/events")))


KINDS_BY_PATH = {
    "/events": ["late", "upgraded", "moved", "registered", "registered"],
    "/events?kind=moved": ["moved"],
    "/events?kind=late&kind=moved&kind=down": ["late", "moved"],
    "/events?kind=twin": [],
    "/events?server_id=a": ["late", "upgraded", "moved", "registered"],
    "/events?server_id=b": ["registered"],
    "/events?server_id=nobody": [],
    "/events?since=2026-01-31T12:00:20Z": ["late", "upgraded"],
    "/events?since=2026-01-31T13:00:20%2B01:00": ["late", "upgraded"],
    "/events?since=2026-01-31T12:00:20.000001Z": ["late"],
    "/events?since=2027-01-31T12:00:20Z": [],
    "/events?since=0001-01-01T00:00:00Z&limit=2": ["late", "upgraded"],
    "/events?since=2026-01-31T12:00:10Z&kind=moved&server_id=a": ["moved"],
    "/servers/a/events": ["late", "upgraded", "moved", "registered"],
    "/servers/a/events?kind=late&limit=9": ["late"],
    "/servers/b/events": ["registered"],
}


def test_event_query_parameters_filter_events(receiver: httpx.Client, clock: Clock) -> None:
    send_messages(receiver, clock)

    answers = {path: receiver.get(path).json() for path in KINDS_BY_PATH}

    found = {path: [e["kind"] for e in answer["events"]] for path, answer in answers.items()}
    assert KINDS_BY_PATH == found
    assert [len(kinds) for kinds in KINDS_BY_PATH.values()] == [
        a["count"] for a in answers.values()
    ]


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


def test_page_without_events_leads_to_older_ones(receiver: httpx.Client, engine: Engine) -> None:
    add_events(engine, "a", "moved", count=1)
    add_events(engine, "a", "late", count=MOST_SEARCHED)

    answer = receiver.get("/events?server_id=a&kind=moved").json()
    page = receiver.get("/timeline?server_id=a&kind=moved").text

    assert (0, True) == (answer["count"], answer["next_cursor"] is not None)
    assert [True, True] == [each in page for each in ("None of the last 10,000", "Older events")]
    older = receiver.get(f"/events?server_id=a&kind=moved&cursor={answer['next_cursor']}").json()
    assert (1, None) == (older["count"], older["next_cursor"])


def test_event_json_has_kind_server_time_and_details(receiver: httpx.Client, clock: Clock) -> None:
    send_messages(receiver, clock)

    late, _, moved, *_ = receiver.get("/events?server_id=a").json()["events"]

    assert {
        "id": 5,
        "kind": "late",
        "at": "2026-01-31T12:02:36Z",
        "server_id": "a",
        "details": {"last_seen": "2026-01-31T12:00:20Z"},
    } == late
    assert {
        "id": 3,
        "kind": "moved",
        "at": "2026-01-31T12:00:10Z",
        "server_id": "a",
        "details": {"hostname": {"from": "web-1", "to": "other"}},
    } == moved


def test_pages_hold_every_event_once_while_events_are_added(receiver: httpx.Client) -> None:
    for n in range(10):
        receiver.post("/heartbeat", json=messages.heartbeat(server_id="a", hostname=f"h{n}"))

    seen: dict[str, list[int]] = {"/events": [], "/servers/a/events": []}
    for path, found in seen.items():
        query = {"limit": "3"}
        last = receiver.get(path, params={"limit": "1"}).json()["events"][0]["id"]
        expected = [*range(last, 0, -1)]
        while True:
            page = receiver.get(path, params=query).json()
            found.extend(each["id"] for each in page["events"])
            if page["next_cursor"] is None:
                break
            query["cursor"] = page["next_cursor"]
            changed = f"{path}-{len(found)}"
            receiver.post("/heartbeat", json=messages.heartbeat(server_id="a", hostname=changed))

        assert expected == found


def test_last_page_of_events_has_no_next_cursor(receiver: httpx.Client) -> None:
    receiver.post("/heartbeats", json=[messages.slim(server_id=each) for each in "ab"])

    page = receiver.get("/events?limit=2").json()

    assert (2, None) == (page["count"], page["next_cursor"])


def test_page_of_long_events_is_cut_at_a_mebibyte(receiver: httpx.Client) -> None:
    for n in range(40):
        tools = [f"{n:02}_{tool:047}" for tool in range(1000)]
        receiver.post("/heartbeat", json=messages.slim(server_id="a", capabilities=tools))

    pages: list[dict[str, Any]] = []
    query = {"limit": "1000"}
    while not pages or pages[-1]["next_cursor"]:
        answer = receiver.get("/events", params=query)
        assert len(answer.content) < 1.1 * 1024 * 1024
        pages.append(answer.json())
        query["cursor"] = pages[-1]["next_cursor"]

    assert [*range(40, 0, -1)] == [event["id"] for page in pages for event in page["events"]]
    assert len(pages) in {4, 5}
    assert 200 == receiver.get("/timeline?limit=1000").status_code


def test_deletion_is_the_last_event_of_a_server(receiver: httpx.Client) -> None:
    receiver.post("/heartbeat", json=messages.slim(server_id="a"))
    receiver.delete("/servers/a")

    assert [("deleted", "a"), ("registered", "a")] == listed(receiver.get("/servers/a/events"))


def test_events_of_a_server_over_http_include_its_superseded_server(
    receiver: httpx.Client, clock: Clock
) -> None:
    receiver.post("/heartbeat", json=messages.heartbeat(server_id="old", database_uuid="u"))
    clock.advance(136)
    receiver.post("/heartbeat", json=messages.heartbeat(server_id="new", database_uuid="u"))
    wait_until(lambda: receiver.get("/servers/old").json().get("superseded_by") == "new")

    assert [("rebuilt", "old"), ("registered", "new"), ("registered", "old")] == [
        each for each in listed(receiver.get("/servers/new/events")) if each[0] != "late"
    ]
    assert ["new"] == ids(receiver.get("/servers"))
    assert ["old"] == ids(receiver.get("/servers?state=superseded"))
    assert 1 == receiver.get("/servers?total=true").json()["total"]


def ids(answer: httpx.Response) -> list[str]:
    return [server["server_id"] for server in answer.json()["servers"]]


def test_server_ids_with_reserved_characters_have_their_events(receiver: httpx.Client) -> None:
    for server_id in ("a/b", "ä ö%", "a?b#c", "events", "'\"<"):
        receiver.post("/heartbeat", json=messages.slim(server_id=server_id))
        path = "".join(f"%{byte:02X}" for byte in server_id.encode())

        of_one = receiver.get(f"/servers/{path}/events")
        chosen = receiver.get("/events", params={"server_id": server_id})

        assert [("registered", server_id)] == listed(of_one) == listed(chosen)


def test_server_id_that_ends_in_events_has_its_own_routes(
    receiver: httpx.Client,
) -> None:
    for server_id in ("x", "x/events"):
        receiver.post("/heartbeat", json=messages.slim(server_id=server_id))

    assert [("registered", "x")] == listed(receiver.get("/servers/x/events"))
    assert "x/events" == receiver.get("/servers/x%2Fevents").json()["server_id"]
    assert [("registered", "x/events")] == listed(receiver.get("/servers/x%2Fevents/events"))
    assert 404 == receiver.get("/servers/y%2fevents").status_code
    assert 200 == receiver.delete("/servers/x%2Fevents").status_code
    assert "x" == receiver.get("/servers/x").json()["server_id"]


def test_impossible_server_id_has_no_events(receiver: httpx.Client) -> None:
    for path in ("/servers/a%00b/events", "/servers//events"):
        answer = receiver.get(path)

        assert (200, []) == (answer.status_code, listed(answer))


def test_server_json_has_its_availability(receiver: httpx.Client, clock: Clock) -> None:
    beat = messages.slim(server_id="a", heartbeat_interval_seconds=3600.0)
    receiver.post("/heartbeat", json=beat)
    new = receiver.get("/servers/a").json()["availability"]
    for seconds in (6 * 3600.0, 18 * 3600.0):
        clock.advance(seconds)
        kinds = ["late"] if seconds == 6 * 3600.0 else ["late", "down"]
        wait_until(
            lambda kinds=kinds: {*kinds} <= {k for k, _ in listed(receiver.get("/events"))}  # type: ignore[misc]  # binds it
        )
    down = receiver.get("/servers/a").json()["availability"]
    receiver.post("/heartbeat", json=beat)
    clock.advance(6 * 3600 - 10_000)
    receiver.post("/heartbeat", json=beat)
    clock.advance(4000)
    back = receiver.get("/servers/a").json()["availability"]

    assert {"24h": None, "7d": None, "30d": None} == new
    assert {"24h": 0.25, "7d": 0.25, "30d": 0.25} == down
    hours = 24 + (6 * 3600 - 6000) / 3600
    assert pytest.approx((hours - 18) / hours) == back["7d"] == back["30d"]
    assert pytest.approx((24 - 18) / 24) == back["24h"]


def test_server_that_is_always_up_has_full_availability(
    receiver: httpx.Client, clock: Clock
) -> None:
    receiver.post("/heartbeat", json=messages.slim(server_id="a"))
    clock.advance(60)

    assert {"24h": 1.0, "7d": 1.0, "30d": 1.0} == receiver.get("/servers/a").json()["availability"]

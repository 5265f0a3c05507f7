"""Lists of servers: filters, the order by trouble, pages in both directions, and numbers."""

from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta, timezone
from itertools import product

import pytest
from sqlalchemy import Engine, make_url, select, text

from contract import Heartbeat, IpAddresses, ServerRecord
from keyring import keep, made
from receiver.domain.databases import Relabelling
from receiver.domain.filter_text import FilterText
from receiver.domain.lists.profiles import profile_of
from receiver.domain.outcomes import Incoming
from receiver.domain.queries import (
    LISTED,
    EventFilter,
    Order,
    PageRequest,
    Place,
    ServerPage,
    rank_of,
)
from receiver.store import SqlStore
from receiver.store.indexes.conditions import apply_conditions, conditions_of
from receiver.store.tables import servers
from watched import change_servers, count_anew, hear

NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
STAGES = ["production", "staging", "", None]
NOTES = {"s04": "Call Ann first", "s20": "100% for Ann: https://h1.example:8443/mcp"}
TOOLS = [("sale_order_confirm", "read"), ("Read",), (), None, ('a "b", c', "é")]


@pytest.fixture
def fleet(store: SqlStore, engine: Engine) -> list[ServerRecord]:
    """Servers with many combinations of values, in all states."""
    beats = [
        Heartbeat(
            server_id=f"s{n:02}",
            hostname=f"Web-{n % 7}.eu" if n % 3 else None,
            database=f"db{n % 5}",
            odoo_stage=STAGES[n % 4],
            odoo_version=["19.0", "18.0", None][n % 3],
            version=["1.0", "19.1"][n % 2],
            capabilities=TOOLS[n % 5],
            ip_addresses=IpAddresses(primary=f"10.19.{n % 2}.{n}", all=("fd00::5",)),
            database_uuid="u-20" if n == 20 else None,
            endpoint_url=f"https://h{n % 4}.example:8443/mcp" if n % 2 else None,
        )
        for n in range(40)
    ]
    hear(store, [Incoming(beat, NOON + timedelta(seconds=n % 6)) for n, beat in enumerate(beats)])
    for server_id, label in (("s04", "gold"), ("s15", "gold"), ("s20", "sha256:x")):
        asked = Relabelling.of({"add": [label], "note": NOTES.get(server_id, "")})
        store.labels.change([server_id], asked, at=NOON, by="Ada")
    changes = {
        "s01": "state = 'down', rank = 0",
        "s07": "state = 'down', rank = 0",
        "s03": "state = 'late', rank = 1",
        "s02": "state = 'new', rank = 4",
        "s05": "twin_of = 's06', rank = 3",
        "s09": "state = 'new', flapping_since = 0, rank = 2",
        "s11": "state = 'left', rank = 6",
        "s12": "node_of = 's13', rank = 7",
        "s14": "superseded_by = 's13', rank = 8",
    }
    with engine.begin() as connection:
        for server_id, change in changes.items():
            change_servers(connection, change, "server_id = :id", id=server_id)
        count_anew(connection)
    records = [store.servers.get(beat.server_id) for beat in beats]
    assert [each and rank_of(each).value for each in records] == ranks(engine)
    return [each for each in records if each is not None]


def ranks(engine: Engine) -> list[int]:
    with engine.connect() as connection:
        query = text("SELECT rank FROM servers ORDER BY server_id")
        return [*connection.execute(query).scalars()]


FEW = [2000, 3]
"""How many servers are few: either all that a test has, or hardly any."""

TEXTS = [
    "",
    "stage:production",
    "stage:none,staging odoo:19.0",
    "tool:read,Read",
    "tool:missing",
    "-tool:read",
    "-tool:read,Read -stage:none -odoo:18.0",
    "-version:1.0",
    "state:down,late",
    "state:up",
    "state:new -odoo:18.0",
    "state:down,superseded,node,left",
    "-state:up,new",
    "state:up -state:up",
    "database:db1,db4",
    "-database:db1 state:left",
    "server:s01,s02,s99",
    "-server:s01,s02 state:down,new",
    "network:10.19.1.0/24",
    "-network:10.19.1.0/24 tool:Read",
    "WEB-1",
    "web-1 db3",
    "10.19.1.",
    "fd00::5",
    "19",
    "order_conf",
    "https://h1.example:8443/mcp",
    '"a \\"b\\", c"',
    "é",
    "%",
    "_",
    "ANN",
    '"call ann" stage:none',
    "ann gold",
    "ld",
    "label:gold",
    "-label:gold ann",
    "label:gold,sha256:x stage:none",
    "db stage:production",
]


def test_list_holds_the_servers_that_match_the_text_of_its_filter(
    store: SqlStore, fleet: list[ServerRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The text says by itself, in Python, which records match."""
    for said, most_few in product(TEXTS, FEW):
        monkeypatch.setattr("receiver.store.indexes.conditions.MOST_FEW", most_few)
        wanted = FilterText.parse(said)
        matching = wanted.to_filter()
        expected = [
            each
            for each in fleet
            if wanted.matches(each, noted(wanted, each.server_id))
            and (wanted.state or rank_of(each) in LISTED)
        ]
        ids = [each.server_id for each in expected]
        by_trouble = sorted(expected, key=lambda each: (rank_of(each), each.server_id))

        asked = PageRequest(limit=100, now=NOON)
        page, before, breakdown = store.servers.overview(matching, Order.TROUBLE, asked)
        plain = store.servers.page(matching, Order.SERVER_ID, asked)
        counts = breakdown.count(matching)

        assert [each.server_id for each in by_trouble] == [r.server_id for r in page.records], said
        assert ids == [each.server_id for each in plain.records], said
        assert ids == [*reachable(store, wanted)], said
        assert (len(ids), len(ids), 0) == (counts.total, store.servers.count(matching), before)
        if not wanted.stage and not any(name == "stage" for name, _ in wanted.without):
            stages = Counter(profile_of(each, None).stage for each in expected)
            assert stages == counts.values["stage"], said
        if not wanted.label and not any(name == "label" for name, _ in wanted.without):
            gold = sum("gold" in (each.labels or ()) for each in expected)
            assert ({"gold": gold} if gold else {}) == counts.values["label"], said


def test_filter_of_states_alone_has_no_other_conditions() -> None:
    of_states = {
        "",
        "state:down,late",
        "state:up",
        "state:down,superseded,node,left",
        "-state:up,new",
        "state:up -state:up",
    }

    for said in TEXTS:
        matching = FilterText.parse(said).to_filter()
        assert (said in of_states) is matching.is_of_states_alone, said
        assert matching.is_of_states_alone is conditions_of(matching).are_none, said


@pytest.mark.usefixtures("fleet")
def test_words_are_searched_once_and_not_again_by_each_statement(engine: Engine) -> None:
    matching = FilterText.parse("web-1 19 order_conf").to_filter()
    with engine.connect() as connection:
        searched = conditions_of(matching, connection=connection)
        again = conditions_of(matching)

    for conditions, is_searched_again in ((searched, False), (again, True)):
        written = [str(each.compile(engine)) for each in conditions.of_servers]
        assert 3 == len(written)
        assert [is_searched_again] * 3 == ["LIKE" in each for each in written]


def noted(wanted: FilterText, server_id: str) -> list[str]:
    """The words of a filter that the note of a server contains."""
    note = NOTES.get(server_id, "").casefold()
    return [word for word in wanted.words if word.casefold() in note]


@pytest.mark.usefixtures("fleet")
def test_of_many_labels_the_most_frequent_are_counted_and_those_that_a_filter_names(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.labels.change(["s04"], Relabelling.of({"add": ["bronze", "zinc"]}), at=NOON, by="Ada")
    monkeypatch.setattr("receiver.store.lists.breakdown._MOST_LABELS", 1)

    def counted(said: str) -> dict[str, int]:
        matching = FilterText.parse(said).to_filter()
        return {**store.servers.breakdown(matching).count(matching).values["label"]}

    assert {"gold": 2} == counted("") == counted("label:gold") == counted("label:nothing")
    assert {"gold": 2, "zinc": 1} == counted("label:zinc")
    assert {"gold": 1} == counted("-label:zinc")


def test_labels_are_counted_without_those_that_the_filter_wants(
    store: SqlStore, fleet: list[ServerRecord]
) -> None:
    assert {"s04", "s15"} == {each.server_id for each in fleet if "gold" in (each.labels or ())}
    for said, number in (("label:silver", 2), ("-label:zinc", 2), ("label:gold stage:none", 1)):
        matching = FilterText.parse(said).to_filter()
        counts = store.servers.breakdown(matching).count(matching)
        assert {"gold": number} == counts.values["label"], said
    matching = FilterText.parse("-label:gold").to_filter()
    assert {} == store.servers.breakdown(matching).count(matching).values["label"]


def reachable(store: SqlStore, wanted: FilterText) -> Iterator[str]:
    """The ids of the servers that match, read seven at a time."""
    after = None
    while True:
        found = store.servers.reachable(wanted.to_filter(), after=after, limit=7).whereabouts
        yield from (each.server_id for each in found)
        if len(found) < 7:
            return
        after = found[-1].server_id


def test_pages_of_the_list_can_be_turned_in_both_directions(
    store: SqlStore, fleet: list[ServerRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    matching = FilterText.parse("-database:db0").to_filter()
    now = NOON + timedelta(minutes=1)
    total = sum(each.database != "db0" and rank_of(each) in LISTED for each in fleet)

    def read(order: Order, place: Place | None) -> tuple[list[str], int, ServerPage]:
        asked = PageRequest(limit=7, now=now, after=place)
        page, before, _ = store.servers.overview(matching, order, asked)
        return [each.server_id for each in page.records], before, page

    for order, most_few in product(Order, FEW):
        monkeypatch.setattr("receiver.store.indexes.conditions.MOST_FEW", most_few)
        pages = [read(order, None)]
        while (place := pages[-1][2].next_after) is not None:
            pages.append(read(order, place))
        every = [server_id for ids, *_ in pages for server_id in ids]
        assert total == len({*every}) == len(every)
        assert [7 * n for n in range(len(pages))] == [before for _, before, _ in pages]

        previous = pages[-1][2].previous
        for n in range(len(pages) - 2, -1, -1):
            ids, before, page = read(order, previous)
            assert (ids, before) == pages[n][:2]
            assert read(order, page.next_after)[0] == pages[n + 1][0]
            previous = page.previous
        assert previous is None


@pytest.mark.parametrize(("order", "limit"), [(Order.LAST_SEEN, 10), (Order.LAST_SEEN_DOWN, 2)])
def test_previous_page_of_servers_heard_meanwhile_is_the_last_page_of_the_others(
    store: SqlStore, fleet: list[ServerRecord], order: Order, limit: int
) -> None:
    matching = FilterText.parse("state:up").to_filter()
    now = NOON + timedelta(minutes=1)
    heard = {f"s{n:02}" for n in range(20, 26)}

    def read(place: Place | None, seconds: int = 9) -> tuple[ServerPage, int]:
        asked = PageRequest(limit=limit, now=now + timedelta(seconds=seconds), after=place)
        page, before, _ = store.servers.overview(matching, order, asked)
        return page, before

    def ids(page: ServerPage) -> list[str]:
        return [each.server_id for each in page.records]

    listed = [read(None, 0)[0]]
    later = [Heartbeat(server_id=each) for each in sorted(heard)]
    hear(store, [Incoming(beat, now + timedelta(seconds=5)) for beat in later])
    while (place := listed[-1].next_after) is not None:
        page, before = read(place)
        listed.append(page)
    assert before >= 20
    assert heard <= {server_id for page in listed for server_id in ids(page)}

    page = listed[-1]
    for expected in listed[-2:0:-1][: 12 // limit]:
        following = page
        page, _ = read(page.previous)
        forth, _ = read(page.next_after)
        assert (ids(expected), ids(following)) == (ids(page), ids(forth))


def test_servers_are_found_and_counted_by_their_keys(database_url: str, store: SqlStore) -> None:
    one, other = (key for key, _ in (made("agent", name="one"), made("agent", name="other")))
    keep(database_url, one, other)
    for key, server_id in ((one, "a"), (other, "b"), (None, "c")):
        store.servers.apply([Incoming(Heartbeat(server_id=server_id), NOON, key)])

    for said, ids in (
        ("key:one", ["a"]),
        (f"key:{other.id},one", ["a", "b"]),
        ("key:none,one", ["a", "c"]),
        ("-key:none", ["a", "b"]),
        ("-key:one", ["b", "c"]),
        ("key:unknown", []),
    ):
        matching = FilterText.parse(said).to_filter()
        asked = PageRequest(limit=9, now=NOON)
        page, _, breakdown = store.servers.overview(matching, Order.SERVER_ID, asked)
        counts = breakdown.count(matching)
        assert (ids, len(ids)) == ([each.server_id for each in page.records], counts.total), said
    assert {one.id: 1, other.id: 1, "": 1} == counts.values["key"]


def test_list_rows_of_servers_change_and_are_deleted_with_the_servers(
    store: SqlStore, engine: Engine
) -> None:
    for version in ("1", "2"):
        beats = [Heartbeat(server_id=each, version=version, hostname=version) for each in "ab"]
        hear(store, [Incoming(beat, NOON) for beat in beats])
    hear(store, [Incoming(Heartbeat(server_id="a", version="3"), NOON)])

    assert (["2", "3"], [("a", "a\n2"), ("b", "b\n2")]) == kept(engine)
    for server_id in "ab":
        store.servers.delete(server_id, NOON)
    assert ([], []) == kept(engine)


def kept(engine: Engine) -> tuple[list[str], list[tuple[str, str]]]:
    """The versions of the profiles, and the texts that are searched."""
    with engine.connect() as connection:
        versions = connection.execute(text("SELECT version FROM profiles ORDER BY version"))
        texts = connection.execute(text("SELECT server_id, names FROM search_texts"))
        return [*versions.scalars()], sorted((row.server_id, row.names) for row in texts)


def test_event_list_with_a_filter_has_the_events_of_matching_servers(store: SqlStore) -> None:
    for server_id, stage in (("a", "dev"), ("b", "production")):
        beat = Heartbeat(server_id=server_id, odoo_stage=stage)
        hear(store, [Incoming(beat, NOON)])

    servers = FilterText.parse("stage:dev").to_filter()
    page = store.events.page(EventFilter(servers=servers), before=None, limit=9)

    assert ["a"] == [each.event.server_id for each in page.events]


@pytest.mark.parametrize("order", [Order.TROUBLE, Order.SERVER_ID])
def test_page_of_a_large_list_reads_one_index_in_its_order(sqlite_url: str, order: Order) -> None:
    with closing(SqlStore(make_url(sqlite_url))) as store:
        seen: list[str] = []
        with store.transactions.read() as connection:
            driver = connection.connection.dbapi_connection
            assert driver is not None
            driver.set_trace_callback(seen.append)
        asked = PageRequest(
            limit=9, now=NOON, after=Place("a", 3 if order is Order.TROUBLE else None)
        )
        store.servers.page(FilterText.parse("").to_filter(), order, asked)
        (query,) = (each for each in seen if "SELECT liveness.revision" in each)
        with store.transactions.read() as connection:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}").all()

    steps = [row[-1] for row in plan]
    first = "rank_server_id" if order is Order.TROUBLE else "server_id_rank"
    assert any(f"COVERING INDEX ix_servers_{first}_profile (" in step for step in steps), steps
    assert not any(step.startswith("SCAN servers") for step in steps), steps


def test_servers_with_a_tool_are_read_from_one_index(sqlite_url: str) -> None:
    with closing(SqlStore(make_url(sqlite_url))) as store:
        hear(store, [Incoming(Heartbeat(server_id="a", capabilities=("read",)), NOON)])
        with store.transactions.read() as connection:
            matching = FilterText.parse("tool:read").to_filter()
            conditions = conditions_of(matching, connection=connection)
            query = apply_conditions(select(servers.c.server_id), conditions, wide=False)
            written = query.compile(connection, compile_kwargs={"literal_binds": True})
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {written}").all()

    (step,) = (row[-1] for row in plan)
    assert step.startswith("SEARCH servers USING COVERING INDEX ix_servers_toolset (toolset=?)")

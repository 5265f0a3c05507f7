"""Reading servers: the list with its filters, sort orders and pages, and single servers."""

import json
from base64 import urlsafe_b64encode
from datetime import datetime
from functools import partial

import httpx
import pytest

import messages
from servers import Clock, wait_until

pytestmark = pytest.mark.both_databases


def send_heartbeats(receiver: httpx.Client, *ids: str) -> None:
    receiver.post("/heartbeats", json=[messages.slim(server_id=each) for each in ids])


def listed(answer: httpx.Response) -> list[str]:
    return [server["server_id"] for server in answer.json()["servers"]]


def test_empty_fleet_is_an_empty_list(receiver: httpx.Client) -> None:
    assert {"servers": [], "count": 0, "next_cursor": None} == receiver.get("/servers").json()


def test_servers_are_sorted_by_id(receiver: httpx.Client) -> None:
    send_heartbeats(receiver, "b", "Z", "a", "é")

    assert ["Z", "a", "b", "é"] == listed(receiver.get("/servers"))


def test_pages_hold_every_server_once(receiver: httpx.Client) -> None:
    ids = [f"s{n}" for n in range(7)]
    send_heartbeats(receiver, *ids)

    seen: list[list[str]] = []
    cursor = None
    while cursor or not seen:
        query = {"limit": "3"} | ({"cursor": cursor} if cursor else {})
        answer = receiver.get("/servers", params=query)
        seen.append(listed(answer))
        cursor = answer.json()["next_cursor"]

    assert [["s0", "s1", "s2"], ["s3", "s4", "s5"], ["s6"]] == seen


def test_pages_stay_correct_while_servers_are_added_and_deleted(receiver: httpx.Client) -> None:
    send_heartbeats(receiver, "a", "b", "c", "d")
    cursor = receiver.get("/servers", params={"limit": "2"}).json()["next_cursor"]
    receiver.delete("/servers/b")
    send_heartbeats(receiver, "aa", "cc")

    assert ["c", "cc", "d"] == listed(receiver.get("/servers", params={"cursor": cursor}))


def test_query_holds_the_filters_as_one_text(receiver: httpx.Client) -> None:
    servers: dict[str, messages.Json] = {
        "a": {"odoo_stage": "production", "database": "my shop"},
        "b": {"odoo_stage": "", "database": "my shop"},
        "c": {"odoo_stage": "production", "capabilities": ["a:b"]},
    }
    for server_id, fields in servers.items():
        receiver.post("/heartbeat", json=messages.heartbeat(server_id=server_id, **fields))

    found = {
        query: listed(receiver.get("/servers", params={"query": query, "total": "true"}))
        for query in (
            "stage:production",
            'database:"my shop" stage:none',
            "tool:a:b state:up",
            "SHOP",
            "stage:production -tool:a:b",
            "stage:none,production -server:c",
            "server:a,b",
            "shop my",
            "",
        )
    }
    assert {
        "stage:production -tool:a:b": ["a"],
        "stage:none,production -server:c": ["a", "b"],
        "server:a,b": ["a", "b"],
        "shop my": ["a", "b"],
        "stage:production": ["a", "c"],
        'database:"my shop" stage:none': ["b"],
        "tool:a:b state:up": ["c"],
        "SHOP": ["a", "b"],
        "": ["a", "b", "c"],
    } == found


WORDS = [f"w{n:02}" for n in range(51)]
"""One word more than a list may be searched for."""


def test_list_is_searched_for_many_words(receiver: httpx.Client) -> None:
    words = WORDS[1:]
    send_heartbeats(receiver, "".join(words), "".join(words[1:]))

    found = receiver.get("/servers", params={"query": " ".join(words), "total": "true"})

    assert ["".join(words)] == listed(found)
    assert 1 == found.json()["total"]
    assert listed(found) == listed(receiver.get("/servers", params={"q": words, "total": "true"}))


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("query=colour:red", "query: 'colour' is no name that a filter knows"),
        ("query=a&query=b", "query: is there more than once"),
        ("query=a&query=b&query=c", "query: is there more than once"),
        ("query=stage:a&state=up&q=x", "query: cannot stand beside state, q: write these in it"),
        (f"query={'+'.join(WORDS)}", "query: A filter has 50 words without a name at most; this"),
        (f"q={'&q='.join(WORDS)}", "q: expected 50 different texts at most"),
    ],
)
def test_query_that_no_list_can_have_is_refused(
    shared_receiver: httpx.Client, query: str, why: str
) -> None:
    answer = shared_receiver.get(f"/servers?{query}")

    assert (400, "invalid_parameter") == (answer.status_code, answer.json()["code"])
    assert 1 == answer.json()["detail"].count(why)


def test_last_page_has_no_next_cursor(receiver: httpx.Client) -> None:
    send_heartbeats(receiver, "a", "b")

    answer = receiver.get("/servers", params={"limit": "2"}).json()

    assert (2, None) == (answer["count"], answer["next_cursor"])


def test_total_parameter_counts_all_servers(receiver: httpx.Client) -> None:
    send_heartbeats(receiver, "a", "b", "c")

    answer = receiver.get("/servers", params={"limit": "1", "total": "true"}).json()

    assert (1, 3) == (answer["count"], answer["total"])
    assert "total" not in receiver.get("/servers", params={"total": "false"}).json()


FILTERED = {
    "capability=sale_order_create": ["a", "b"],
    "capability=stock_read": ["c"],
    "capability=sale": [],
    "database=acme": ["a", "c"],
    "stage=": ["b", "d"],
    "stage=&database=blue": ["b"],
    "stage=&state=up": ["b", "d"],
    "stage=&state=down": [],
    "stage=&stage=production": ["a", "b", "c", "d"],
    "state=down,up": ["a", "b", "c", "d"],
    "state=down&state=new": [],
    "database=acme&database=blue&odoo_version=19.0": ["a", "b"],
    "capability=stock_read&capability=res_partner_search": ["a", "b", "c"],
    "server_id=a&server_id=d": ["a", "d"],
    "q=acme&q=web": ["a", "c"],
    "network=10.0.0.7/24": ["a", "b", "c"],
    "network=10.0.1.0/24": [],
    "key=": ["a", "b", "c", "d"],
    "key=acme": [],
    "query=-odoo:18.0 -database:blue": ["a", "d"],
    "query=-stage:none -version:2": ["a", "c"],
    "query=-stage:production": ["b", "d"],
    "query=-state:up": [],
    "query=-server:a,b": ["c", "d"],
    "version=1.0.0": ["a", "b", "c"],
    "odoo_version=18.0": ["c"],
    "capability=sale_order_create&database=acme": ["a"],
    "database=acme&stage=production&odoo_version=19.0&version=1.0.0": ["a"],
}
"""Queries, and the servers that they find in the fleet of the test."""


def test_filters_find_the_matching_servers(receiver: httpx.Client) -> None:
    fleet = [
        messages.heartbeat(server_id="a"),
        messages.heartbeat(server_id="b", database="blue", odoo_stage=""),
        messages.heartbeat(server_id="c", odoo_version="18.0", capabilities=["stock_read"]),
        messages.slim(server_id="d"),
    ]
    receiver.post("/heartbeats", json=fleet)

    answers = {query: receiver.get(f"/servers?{query}&total=true") for query in FILTERED}

    assert FILTERED == {query: listed(answer) for query, answer in answers.items()}
    assert {query: len(ids) for query, ids in FILTERED.items()} == totals(answers)


def totals(answers: dict[str, httpx.Response]) -> dict[str, int]:
    return {query: answer.json()["total"] for query, answer in answers.items()}


def test_pages_of_a_filtered_list_hold_each_server_once(receiver: httpx.Client) -> None:
    fleet = [messages.heartbeat(server_id=f"s{n}", database=f"db{n % 2}") for n in range(8)]
    receiver.post("/heartbeats", json=fleet)
    query = {"database": "db1", "capability": "sale_order_create", "limit": "3"}

    first = receiver.get("/servers", params=query)
    cursor = first.json()["next_cursor"]
    second = receiver.get("/servers", params={**query, "cursor": cursor})

    assert (["s1", "s3", "s5"], ["s7"]) == (listed(first), listed(second))
    assert second.json()["next_cursor"] is None


def test_state_filter_finds_servers_by_their_stored_state(
    receiver: httpx.Client, clock: Clock
) -> None:
    send_heartbeats(receiver, "down")
    clock.advance(136)
    wait_until(lambda: ["down"] == listed(receiver.get("/servers?state=late")))
    clock.advance(121)
    wait_until(lambda: ["down"] == listed(receiver.get("/servers?state=down")))
    receiver.post("/heartbeat", json=messages.heartbeat(server_id="old", database_uuid="u"))
    send_heartbeats(receiver, "late")
    clock.advance(136)
    receiver.post("/heartbeat", json=messages.heartbeat(server_id="new-one", database_uuid="u"))
    receiver.post("/register", json=messages.registration(server_id="new"))
    wait_until(
        lambda: (
            (["late"], ["old"])
            == (
                listed(receiver.get("/servers?state=late")),
                listed(receiver.get("/servers?state=superseded")),
            )
        )
    )

    found = {
        query: listed(receiver.get(f"/servers?{query}"))
        for query in (
            "state=new",
            "state=up",
            "state=late&q=late",
            "state=late&database=acme",
            "state=superseded&database=acme",
            "database=acme",
            "q=o",
            "state=down&sort=-last_seen",
            "",
        )
    }
    assert {
        "state=new": ["new"],
        "state=up": ["new-one"],
        "state=late&q=late": ["late"],
        "state=late&database=acme": [],
        "state=superseded&database=acme": ["old"],
        "database=acme": ["new", "new-one"],
        "q=o": ["down", "new", "new-one"],  # one of them offers sale_order_create
        "state=down&sort=-last_seen": ["down"],
        "": ["down", "late", "new", "new-one"],
    } == found


SEARCHED = {
    "": ["50%", "5OO", "a\\b", "a_b", "axb", "é/1"],
    "acme": ["50%"],
    "ACME": ["50%"],
    "web-": ["5OO"],
    "Web-ONE": ["5OO"],
    "5oo": ["5OO"],
    "%": ["50%"],
    "a_": ["a_b"],
    "_": ["a_b"],
    "\\": ["a\\b"],
    "a\\B": ["a\\b"],
    "/": ["é/1"],
    "é": ["é/1"],
    "nobody": [],
    "'": [],
}
"""Texts, and the servers that a search for them finds in the fleet of the test."""


def test_search_finds_literal_text_in_either_case(receiver: httpx.Client) -> None:
    fleet = [
        messages.slim(server_id="50%", database="Acme"),
        messages.slim(server_id="5OO", hostname="wEb-one"),
        *(messages.slim(server_id=each) for each in ("a_b", "axb", "a\\b", "é/1")),
    ]
    receiver.post("/heartbeats", json=fleet)

    answers = {q: receiver.get("/servers", params={"q": q, "total": "true"}) for q in SEARCHED}

    assert SEARCHED == {q: listed(answer) for q, answer in answers.items()}
    assert {q: len(ids) for q, ids in SEARCHED.items()} == totals(answers)


ORDERS = ["server_id", "-server_id", "first_seen", "-first_seen", "last_seen", "-last_seen"]


def ids_by_order(receiver: httpx.Client, clock: Clock) -> dict[str, list[str]]:
    """Make servers, some first or last seen at the same time; the ids in each sort order."""
    first = dict.fromkeys("dab", 0) | dict.fromkeys("ec", 1) | dict.fromkeys("fg", 2)
    last = dict.fromkeys("bfg", 2) | dict.fromkeys("ad", 3) | dict.fromkeys("ce", 4)
    for time in range(5):
        send_heartbeats(receiver, *(each for each in first if time in (first[each], last[each])))
        clock.advance(1)
    by: dict[str, list[str]] = {
        "server_id": sorted(first),
        "first_seen": sorted(first, key=lambda each: (first[each], each)),
        "last_seen": sorted(last, key=lambda each: (last[each], each)),
    }
    return by | {f"-{name}": ids[::-1] for name, ids in by.items()}


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
def test_pages_of_each_sort_order_hold_every_server_once(
    receiver: httpx.Client, clock: Clock, limit: int
) -> None:
    expected = ids_by_order(receiver, clock)

    found: dict[str, list[str]] = {order: [] for order in ORDERS}
    for order in ORDERS:
        query = {"sort": order, "limit": str(limit)}
        cursor = ""
        while cursor is not None:
            answer = receiver.get("/servers", params=query)
            found[order] += listed(answer)
            query["cursor"] = cursor = answer.json()["next_cursor"]

    assert expected == found


@pytest.mark.parametrize(
    ("order", "rest"), [("first_seen", ["f", "g", "new"]), ("-first_seen", ["c", "d", "b", "a"])]
)
def test_pages_sorted_by_time_stay_correct_while_servers_change(
    receiver: httpx.Client, clock: Clock, order: str, rest: list[str]
) -> None:
    ids_by_order(receiver, clock)
    limit = {"first_seen": "5", "-first_seen": "3"}[order]
    query = {"sort": order, "limit": limit}
    cursor = receiver.get("/servers", params=query).json()["next_cursor"]
    receiver.delete("/servers/e")
    send_heartbeats(receiver, "new", "d")

    assert rest == listed(receiver.get("/servers", params={"sort": order, "cursor": cursor}))


@pytest.mark.parametrize("order", ["last_seen", "-last_seen"])
def test_paging_by_last_seen_skips_no_server_that_is_heard_meanwhile(
    receiver: httpx.Client, clock: Clock, order: str
) -> None:
    ids = [f"s{n:02}" for n in range(30)]
    for each in ids:
        send_heartbeats(receiver, each)
        clock.advance(1)

    query = {"sort": order, "limit": "4"}
    found: list[str] = []
    cursor = ""
    while cursor is not None:
        answer = receiver.get("/servers", params=query)
        found += listed(answer)
        query["cursor"] = cursor = answer.json()["next_cursor"]
        clock.advance(1)
        send_heartbeats(receiver, *ids[:: len(found) % 5 + 1])

    assert {*ids} == {*found}
    assert len(found) <= 2 * len(ids)


@pytest.mark.parametrize(
    ("order", "rest"), [("last_seen", ["a", "d", "c", "e"]), ("-last_seen", ["g", "f", "b"])]
)
def test_cursor_by_last_seen_of_an_earlier_version_is_valid(
    receiver: httpx.Client, clock: Clock, order: str, rest: list[str]
) -> None:
    ids_by_order(receiver, clock)
    before = {"last_seen": "g", "-last_seen": "a"}[order]
    seen = datetime.fromisoformat(receiver.get(f"/servers/{before}").json()["last_seen"])
    place = [order, before, round(seen.timestamp() * 1e6)]
    cursor = urlsafe_b64encode(json.dumps(place).encode()).decode()

    assert rest == listed(receiver.get("/servers", params={"sort": order, "cursor": cursor}))


def test_changed_server_is_found_by_its_new_values(receiver: httpx.Client) -> None:
    receiver.post("/heartbeat", json=messages.heartbeat(version="1.0.0", capabilities=["old"]))
    receiver.post("/heartbeat", json=messages.heartbeat(version="2.0.0", capabilities=["new"]))

    found = {
        query: listed(receiver.get(f"/servers?{query}"))
        for query in ("version=1.0.0", "version=2.0.0", "capability=old", "capability=new")
    }

    assert {
        "version=1.0.0": [],
        "version=2.0.0": ["acme_web-1"],
        "capability=old": [],
        "capability=new": ["acme_web-1"],
    } == found


@pytest.mark.parametrize("server_id", ["a/b", "ä ö%", "..", "a?b#c", "servers/health"])
def test_server_ids_with_reserved_characters_can_be_read_and_deleted(
    receiver: httpx.Client, server_id: str
) -> None:
    send_heartbeats(receiver, server_id)
    path = "/servers/" + "".join(f"%{byte:02X}" for byte in server_id.encode())

    found = receiver.get(path)
    deleted = receiver.delete(path)

    assert server_id == found.json()["server_id"]
    assert {"status": "deleted", "server_id": server_id} == deleted.json()
    assert 404 == receiver.get(path).status_code


def test_deleted_server_is_created_again_by_a_heartbeat(
    receiver: httpx.Client, clock: Clock
) -> None:
    receiver.post("/heartbeat", json=messages.heartbeat())
    receiver.delete("/servers/acme_web-1")
    clock.advance(60)

    receiver.post("/heartbeat", json=messages.slim())

    after = receiver.get("/servers/acme_web-1").json()
    assert (1, "2026-01-31T12:01:00Z") == (after["heartbeat_count"], after["first_seen"])
    assert after["hostname"] is None


def is_listed(receiver: httpx.Client, path: str) -> bool:
    return bool(listed(receiver.get(path)))


def test_state_becomes_late_and_down_with_silence(receiver: httpx.Client, clock: Clock) -> None:
    receiver.post("/register", json=messages.registration())
    states = []
    for wait, state in ((0, "new"), (136, "late"), (121, "down")):
        clock.advance(wait)
        server = receiver.get("/servers/acme_web-1").json()
        states.append((server["state"], server["stale"]))
        wait_until(partial(is_listed, receiver, f"/servers?state={state}"))
    receiver.post("/heartbeat", json=messages.slim())
    states.append((receiver.get("/servers").json()["servers"][0]["state"], False))

    assert [("new", False), ("late", True), ("down", True), ("up", False)] == states


def test_server_that_has_left_is_never_late_or_down(receiver: httpx.Client, clock: Clock) -> None:
    receiver.post("/heartbeat", json=messages.slim(status="uninstalled"))
    states = set()
    for _ in range(2):
        record = receiver.get("/servers/acme_web-1").json()
        (listed,) = receiver.get("/servers?state=left").json()["servers"]
        states |= {(each["state"], each["stale"]) for each in (record, listed)}
        clock.advance(86400)

    assert {("left", False)} == states


def test_uptime_is_never_negative(receiver: httpx.Client, clock: Clock) -> None:
    clock.advance(-3600)

    assert 0.0 == receiver.get("/health").json()["uptime_seconds"]


def test_health_has_uptime_and_server_count(receiver: httpx.Client, clock: Clock) -> None:
    send_heartbeats(receiver, "a", "b")
    clock.advance(5)

    assert {
        "status": "healthy",
        "uptime_seconds": 5.0,
        "server_count": 2,
        "alerts": {"waiting": 0, "given_up": 0, "oldest_waiting_seconds": None},
    } == receiver.get("/health").json()

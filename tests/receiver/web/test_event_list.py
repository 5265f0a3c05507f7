"""Reading events: the list of all and that of a server, with filters and pages."""

from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

import messages
from receiver.store.events import MOST_SEARCHED
from servers import Clock, wait_until
from timeline import add_events, listed

pytestmark = pytest.mark.both_databases


def test_empty_timeline_is_an_empty_list(receiver: httpx.Client) -> None:
    assert {"events": [], "count": 0, "next_cursor": None} == receiver.get("/events").json()
    assert {"events": [], "count": 0, "next_cursor": None} == receiver.get(
        "/servers/nobody/events"
    ).json()


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

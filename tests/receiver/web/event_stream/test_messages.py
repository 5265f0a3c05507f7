"""The event stream: new events of the timeline as server-sent events."""

import threading
from contextlib import ExitStack

import httpx
import pytest

import messages
from event_streams import make_events, stream, timeline
from servers import DIRECT, Clock, wait_until

pytestmark = pytest.mark.both_databases


def test_live_messages_equal_the_events_of_the_timeline(receiver: httpx.Client) -> None:
    with stream(receiver.base_url) as live:
        receiver.post("/register", json=messages.registration())
        receiver.post("/heartbeat", json=messages.heartbeat(hostname="web-2\n\u2028é", port=1))
        receiver.delete("/servers/acme_web-1")
        live.wait_for(3)

        assert timeline(receiver) == [message.data for message in live.messages]
    assert ["registered", "moved", "deleted"] == [message.event for message in live.messages]
    assert live.ids == [message.data["id"] for message in live.messages] == sorted(set(live.ids))


def test_stream_headers_forbid_caching_and_buffering(receiver: httpx.Client) -> None:
    with stream(receiver.base_url) as live:
        headers = {name.lower(): text for name, text in live.headers.items()}

    assert "text/event-stream; charset=utf-8" == headers["content-type"]
    assert "no-store" == headers["cache-control"]
    assert "no" == headers["x-accel-buffering"]
    assert 2000 == live.retry


def test_head_request_of_a_stream_ends_at_once(receiver: httpx.Client) -> None:
    assert 200 == receiver.head("/events/stream").status_code


def test_stream_starts_with_new_events(receiver: httpx.Client) -> None:
    make_events(receiver, "a", "b")

    with stream(receiver.base_url) as live:
        make_events(receiver, "c")
        live.wait_for(1)

    assert [("registered", "c")] == live.news


def test_first_message_has_an_id_to_reconnect_with(
    receiver: httpx.Client,
) -> None:
    make_events(receiver, "a")
    with stream(receiver.base_url) as live:
        pass
    make_events(receiver, "b")

    with stream(receiver.base_url, after=live.start_id) as again:
        again.wait_for(1)

    assert [("registered", "b")] == again.news


def test_reconnecting_client_gets_each_event_once(receiver: httpx.Client) -> None:
    stop = threading.Event()

    def go_on() -> None:
        with httpx.Client(base_url=receiver.base_url, **DIRECT) as other:
            number = 0
            while not stop.is_set():
                make_events(other, f"s{number}", f"t{number}")
                number += 1

    with stream(receiver.base_url) as live:
        writer = threading.Thread(target=go_on)
        writer.start()
        live.wait_for(1)
    received = live.ids
    for _ in range(15):
        with stream(receiver.base_url, after=received[-1]) as live:
            live.wait_for(3)
        received += live.ids
    stop.set()
    writer.join()
    with stream(receiver.base_url, after=received[-1]) as live:
        wait_until(lambda: (received + live.ids)[-1] == newest(receiver))

    received += live.ids
    assert [*range(received[0], received[-1] + 1)] == received


def newest(receiver: httpx.Client) -> int:
    (event,) = receiver.get("/events", params={"limit": "1"}).json()["events"]
    return int(event["id"])


def test_many_missed_events_arrive_in_order(receiver: httpx.Client) -> None:
    ids = [f"s{n}" for n in range(2100)]
    for first in range(0, len(ids), 700):
        make_events(receiver, *ids[first : first + 700])

    with stream(receiver.base_url, after=0) as live:
        live.wait_for(len(ids))
        make_events(receiver, "last")
        live.wait_for(len(ids) + 1)

    assert [("registered", each) for each in [*ids, "last"]] == live.news


def test_last_event_id_beyond_the_timeline_gets_new_events(receiver: httpx.Client) -> None:
    """The client has followed a database that was replaced by another one."""
    make_events(receiver, "a")

    with stream(receiver.base_url, after=10**17) as live:
        make_events(receiver, "b")
        live.wait_for(1)

    assert [("registered", "b")] == live.news


MATCHING = {
    "?kind=deleted": [("deleted", "a"), ("deleted", "b")],
    "?kind=deleted&kind=moved": [("moved", "a"), ("deleted", "a"), ("deleted", "b")],
    "?server_id=a": [("registered", "a"), ("updated", "a"), ("moved", "a"), ("deleted", "a")],
    "?server_id=b&kind=registered&kind=moved": [("registered", "b")],
}
"""Filters of streams, and the events of the test that match them."""


def test_stream_sends_only_events_that_match_its_filter(receiver: httpx.Client) -> None:
    with ExitStack() as stack:
        live = {query: stack.enter_context(stream(receiver.base_url, query)) for query in MATCHING}
        make_events(receiver, "a", "b")
        receiver.post("/heartbeat", json=messages.slim(server_id="a", hostname="web-1"))
        receiver.post("/heartbeat", json=messages.slim(server_id="a", hostname="web-2"))
        receiver.delete("/servers/a")
        receiver.delete("/servers/b")
        missed = {
            query: stack.enter_context(stream(receiver.base_url, query, after=0))
            for query in MATCHING
        }
        for query, news in MATCHING.items():
            live[query].wait_for(len(news))
            missed[query].wait_for(len(news))

    assert MATCHING == {query: each.news for query, each in live.items()}
    assert MATCHING == {query: each.news for query, each in missed.items()}


def test_stream_of_a_server_includes_its_superseded_server(
    receiver: httpx.Client, clock: Clock
) -> None:
    uuid = "1f2e3d4c-0000-4000-8000-000000000001"
    same = {"database_uuid": uuid, "hostname": "web"}
    receiver.post("/heartbeat", json=messages.heartbeat(server_id="old", **same))
    with stream(receiver.base_url, "?server_id=new") as live:
        clock.advance(150)
        wait_until(lambda: any(event["kind"] == "late" for event in timeline(receiver)))
        clock.advance(1)
        receiver.post("/heartbeat", json=messages.heartbeat(server_id="new", **same))
        live.wait_for(2)

    with stream(receiver.base_url, "?server_id=new", after=0) as missed:
        missed.wait_for(4)

    assert {("rebuilt", "old"), ("registered", "new")} == set(live.news)
    assert [("registered", "old"), ("late", "old"), *live.news] == missed.news


UUID = {"database_uuid": "1f2e3d4c-0000-4000-8000-000000000001", "hostname": "web"}


def kinds(receiver: httpx.Client) -> list[tuple[str, str]]:
    return [(event["kind"], event["server_id"]) for event in timeline(receiver)]


def test_stream_of_a_server_equals_its_list_of_events(receiver: httpx.Client, clock: Clock) -> None:
    """Also events of superseded servers from before the server existed."""
    for older, newer in (("first", "second"), ("second", "third")):
        receiver.post("/heartbeat", json=messages.heartbeat(server_id=older, **UUID))
        clock.advance(150)
        receiver.post("/heartbeat", json=messages.heartbeat(server_id=newer, **UUID))
        wait_until(lambda older=older: ("rebuilt", older) in kinds(receiver))  # type: ignore[misc]  # binds it

    listed = receiver.get("/events?server_id=third&limit=1000").json()["events"][::-1]
    with stream(receiver.base_url, "?server_id=third", after=0) as missed:
        missed.wait_for(len(listed))
        receiver.post("/heartbeat", json=messages.heartbeat(server_id="first", port=1))
        missed.wait_for(len(listed) + 1)

    assert {"first", "second", "third"} == {event["server_id"] for event in listed}
    assert listed == [message.data for message in missed.messages][: len(listed)]
    assert "first" == missed.messages[len(listed)].data["server_id"]


def test_stream_includes_a_server_superseded_while_it_is_open(
    receiver: httpx.Client, clock: Clock
) -> None:
    receiver.post("/heartbeat", json=messages.heartbeat(server_id="old", **UUID))
    clock.advance(150)
    receiver.post("/heartbeat", json=messages.slim(server_id="new"))
    with stream(receiver.base_url, "?server_id=new") as live:
        receiver.post("/heartbeat", json=messages.heartbeat(server_id="new", **UUID))
        wait_until(lambda: ("rebuilt", "old") in live.news)
        receiver.delete("/servers/old")
        wait_until(lambda: ("deleted", "old") in live.news)


@pytest.mark.parametrize(
    ("query", "path", "message"),
    [
        ("kind=exploded", "kind", "expected one of registered, moved,"),
        ("server_id=%00", "server_id", "expected text without a NUL"),
        ("server_id=a&server_id=b", "server_id", "is there more than once"),
        ("limit=1", "limit", "is no parameter here; these are: kind, server_id"),
    ],
)
def test_invalid_stream_parameter_is_named(
    receiver: httpx.Client, query: str, path: str, message: str
) -> None:
    answer = receiver.get(f"/events/stream?{query}")

    assert 400 == answer.status_code
    assert "application/problem+json" == answer.headers["content-type"]
    assert "invalid_parameter" == answer.json()["code"]
    (error,) = answer.json()["errors"]
    assert path == error["path"]
    assert message in error["message"]


@pytest.mark.parametrize("text", ["-1", "1.5", "x", "1" * 19, "²"])
def test_invalid_last_event_id_is_refused(receiver: httpx.Client, text: str) -> None:
    answer = receiver.get("/events/stream", headers={b"Last-Event-ID": text.encode()})

    assert (400, "invalid_parameter") == (answer.status_code, answer.json()["code"])
    assert "Last-Event-ID" == answer.json()["errors"][0]["path"]


def test_empty_last_event_id_counts_as_absent(receiver: httpx.Client) -> None:
    make_events(receiver, "a")
    headers = {"Last-Event-ID": ""}
    with receiver.stream("GET", "/events/stream", headers=headers) as answer:
        assert 200 == answer.status_code
        assert "id: 1\nretry: 2000" == next(answer.iter_text()).strip()

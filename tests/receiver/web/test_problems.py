"""Invalid requests: answered with a problem document, and without a change of any record."""

import json
import socket
from typing import Any

import httpx
import pytest

import messages
from receiver.app import Tuning, create_app
from servers import Clock, serve

JSON = {"Content-Type": "application/json"}


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """SQLite only, since refused requests do not reach the database."""
    return sqlite_url


def body(**changed: Any) -> bytes:
    return json.dumps(messages.heartbeat(**changed)).encode()


def without_server_id() -> bytes:
    beat = messages.heartbeat()
    del beat["server_id"]
    return json.dumps(beat).encode()


def of_65_kib() -> bytes:
    return body().ljust(65 * 1024)


WRONG: dict[str, tuple[bytes, dict[str, str], int, str, str | None]] = {
    "broken JSON": (b'{"server_id": ', JSON, 400, "malformed_json", None),
    "no JSON at all": (b"", JSON, 400, "malformed_json", None),
    "NaN": (b'{"server_id": "a", "uptime_seconds": NaN}', JSON, 400, "malformed_json", None),
    "broken UTF-8": (b'{"server_id": "\xff"}', JSON, 400, "malformed_json", None),
    "a deep nest": (b"[" * 60_000, JSON, 400, "malformed_json", None),
    "another content type": (
        body(),
        {"Content-Type": "text/plain"},
        415,
        "unsupported_media_type",
        None,
    ),
    "no content type": (body(), {}, 415, "unsupported_media_type", None),
    "a compressed body": (
        body(),
        {**JSON, "Content-Encoding": "gzip"},
        415,
        "unsupported_media_type",
        None,
    ),
    "a port in quotes": (body(port="8768"), JSON, 422, "invalid_message", "port"),
    "true as port": (body(port=True), JSON, 422, "invalid_message", "port"),
    "port 0": (body(port=0), JSON, 422, "invalid_message", "port"),
    "a number as hostname": (body(hostname=5), JSON, 422, "invalid_message", "hostname"),
    "a timestamp without offset": (
        body(timestamp="2026-01-31T12:00:00"),
        JSON,
        422,
        "invalid_message",
        "timestamp",
    ),
    "an address that is none": (
        body(ip_addresses={"primary": "10.0.0", "all": []}),
        JSON,
        422,
        "invalid_message",
        "ip_addresses.primary",
    ),
    "half a surrogate pair": (
        b'{"server_id": "acme_web-1", "hostname": "\\ud800"}',
        JSON,
        400,
        "malformed_json",
        None,
    ),
    "a NUL": (body(hostname="\x00"), JSON, 422, "invalid_message", "hostname"),
    "65 KiB": (of_65_kib(), JSON, 413, "body_too_large", None),
    "no server_id": (without_server_id(), JSON, 422, "invalid_message", "server_id"),
    "a list": (b"[]", JSON, 422, "invalid_message", ""),
}


@pytest.mark.parametrize("path", ["/heartbeat", "/register"])
@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_message_is_refused_and_changes_nothing(
    shared_receiver: httpx.Client, wrong: str, path: str
) -> None:
    content, headers, status, code, where = WRONG[wrong]
    if path == "/register" and status == 413:
        content += b" " * 448 * 1024
    elif path == "/register":
        content = content.replace(b'"timestamp"', b'"started_at"')
        where = "started_at" if where == "timestamp" else where
    shared_receiver.post("/register", json=messages.registration())
    before = shared_receiver.get("/servers").json()

    answer = shared_receiver.post(path, content=content, headers=headers)

    problem = answer.json()
    assert "application/problem+json" == answer.headers["content-type"]
    assert (status, code) == (answer.status_code, problem["code"])
    assert {"type", "title", "status", "detail", "code"} <= set(problem)
    assert ([] if where is None else [where]) == [e["path"] for e in problem.get("errors", [])]
    assert before == shared_receiver.get("/servers").json()


def test_every_invalid_field_is_listed_with_its_expectation(shared_receiver: httpx.Client) -> None:
    answer = shared_receiver.post(
        "/heartbeat",
        json=messages.heartbeat(
            port="8768", ip_addresses={"primary": "10.0.0", "all": ["10.0.0.1", 7]}
        ),
    )

    assert [
        {"path": "ip_addresses.primary", "message": 'expected an IP address, got "10.0.0"'},
        {"path": "ip_addresses.all[1]", "message": "expected an IP address, got 7"},
        {"path": "port", "message": 'expected a port from 1 to 65535, got "8768"'},
    ] == answer.json()["errors"]


def test_body_of_64_kib_is_accepted(receiver: httpx.Client) -> None:
    answer = receiver.post("/heartbeat", content=body().ljust(64 * 1024), headers=JSON)

    assert 200 == answer.status_code


def test_batch_may_have_1_mib_and_no_more(receiver: httpx.Client) -> None:
    batch = json.dumps([messages.slim()]).encode()
    mib = 1024 * 1024

    fits = receiver.post("/heartbeats", content=batch.ljust(mib), headers=JSON)
    too_large = receiver.post("/heartbeats", content=batch.ljust(mib + 1), headers=JSON)

    assert (200, 413) == (fits.status_code, too_large.status_code)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({}, "expected a list of heartbeats"),
        ([{"server_id": "a"}] * 1001, "expected at most 1000 heartbeats, got 1001"),
    ],
)
def test_invalid_batch_is_refused_as_a_whole(
    receiver: httpx.Client, batch: object, message: str
) -> None:
    answer = receiver.post("/heartbeats", json=batch)

    assert 422 == answer.status_code
    assert [{"path": "", "message": message}] == answer.json()["errors"]
    assert 0 == receiver.get("/health").json()["server_count"]


def test_endless_body_is_cut_off(receiver: httpx.Client) -> None:
    def endless() -> Any:
        for _ in range(2000):  # 128 MiB in total
            yield b" " * 65536

    try:
        answer = receiver.post("/heartbeat", content=endless(), headers=JSON)
    except httpx.WriteError:
        return  # the receiver may close the connection instead
    assert 413 == answer.status_code


def test_too_large_content_length_is_refused_before_the_body(receiver: httpx.Client) -> None:
    with socket.create_connection((receiver.base_url.host, receiver.base_url.port or 80)) as raw:
        raw.sendall(
            b"POST /heartbeat HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: 99999999999\r\n\r\n"
        )
        assert raw.recv(65536).startswith(b"HTTP/1.1 413 ")


def test_body_that_does_not_arrive_times_out_with_408(database_url: str, clock: Clock) -> None:
    app = create_app(
        environ={"FLEET_DATABASE_URL": database_url}, clock=clock, tuning=Tuning(body_seconds=0.05)
    )
    with (
        serve(app) as receiver,
        socket.create_connection((receiver.base_url.host, receiver.base_url.port or 80)) as raw,
    ):
        raw.sendall(
            b"POST /heartbeat HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b'Content-Length: 50\r\n\r\n{"s'
        )
        answer = raw.makefile("rb").read()  # until the receiver hangs up

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"body_too_slow"' in answer


def test_chunked_body_over_the_limit_is_refused(receiver: httpx.Client) -> None:
    pieces = iter([body(), b" " * 65536])

    assert 413 == receiver.post("/heartbeat", content=pieces, headers=JSON).status_code


def test_content_type_may_have_parameters(receiver: httpx.Client) -> None:
    headers = {"Content-Type": "Application/JSON; charset=utf-8"}

    assert 200 == receiver.post("/heartbeat", content=body(), headers=headers).status_code


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("limit=0", "limit: expected a whole number from 1 to 1000"),
        ("limit=1001", "limit: expected a whole number from 1 to 1000"),
        ("limit=%C2%B2", "limit: expected a whole number from 1 to 1000"),
        ("limit=-1", "limit: expected a whole number from 1 to 1000"),
        ("total=yes", "total: expected true or false"),
        ("stage=a%00b", "stage: expected text without a NUL"),
        ("cursor=!", "cursor: expected the next_cursor of an earlier answer"),
        ("cursor=e30=", "cursor: expected the next_cursor of an earlier answer"),
        ("cursor=WzFd", "cursor: expected the next_cursor of an earlier answer"),
        ("cursor=IngI", "cursor: expected the next_cursor of an earlier answer"),
        ("cursor=eyJhIjoxfQ==", "cursor: expected the next_cursor of an earlier answer"),
        ("limit=1&limit=2", "limit: is there more than once"),
        (
            "colour=red",
            (
                "colour: is no parameter here; these are: "
                "limit, cursor, total, sort, query, state, "
                "stage, database, version, odoo_version, capability, server_id, network, key, "
                "label, q"
            ),
        ),
    ],
)
def test_invalid_parameter_of_the_server_list_is_named(
    shared_receiver: httpx.Client, query: str, message: str
) -> None:
    answer = shared_receiver.get(f"/servers?{query}")

    assert (400, "invalid_parameter") == (answer.status_code, answer.json()["code"])
    assert message == answer.json()["detail"]


STATES = "new, up, late, down, left, superseded, node"
ORDERS = "server_id, -server_id, first_seen, -first_seen, last_seen, -last_seen"
KINDS = (
    "registered, moved, restarted, upgraded, capabilities_changed, tools_changed, stage_changed, "
    "updated, late, down, recovered, rebuilt, twin, node, node_left, copies, conflict, "
    "flapping, calm, left, deleted, "
    "refused_write, fleet_silent"
)
SINCE = "expected an ISO 8601 time with an offset, such as 2026-01-31T12:00:00Z"
CURSOR = "expected the next_cursor of an earlier answer"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/servers?state=dead", f"state: expected one of {STATES}"),
        ("/servers?state=", f"state: expected one of {STATES}"),
        ("/servers?sort=hostname", f"sort: expected one of {ORDERS}"),
        ("/servers?sort=", f"sort: expected one of {ORDERS}"),
        ("/servers?q=a%00b", "q: expected text without a NUL"),
        ("/servers?limit=1&limit=2", "limit: is there more than once"),
        ("/servers?kind=late", "kind: is no parameter here; these are: limit, cursor, total"),
        ("/events?kind=death", f"kind: expected one of {KINDS}"),
        ("/events?kind=late&kind=", f"kind: expected one of {KINDS}"),
        ("/events?since=yesterday", f"since: {SINCE}"),
        ("/events?since=", f"since: {SINCE}"),
        ("/events?since=2026-01-31T12:00:00", f"since: {SINCE}"),
        ("/events?since=0001-01-01T00:00:00%2B23:00", f"since: {SINCE}"),
        ("/events?since=2026-01-31T12:00:00Z&since=2026-01-31T12:00:00Z", "since: is there more"),
        ("/events?server_id=a%00b", "server_id: expected text without a NUL"),
        ("/events?server_id=a&server_id=b", "server_id: is there more than once"),
        (f"/events?server_id={'a' * 4001}", "server_id: expected at most 4000 bytes of text"),
        (f"/servers?stage={'%C3%A9' * 2001}", "stage: expected at most 4000 bytes of text"),
        ("/events?limit=1001", "limit: expected a whole number from 1 to 1000"),
        ("/events?total=true", "total: is no parameter here; these are: limit, cursor, since"),
        ("/servers/a/events?server_id=a", "server_id: is no parameter here; these are: limit"),
        ("/servers/a/events?since=now", f"since: {SINCE}"),
        ("/servers/a/events?query=a", "query: is no parameter here; these are: limit"),
        ("/events?query=colour:red", "query: 'colour' is no name that a filter knows"),
        ("/events/stream?since=2026-01-31T12:00:00Z", "since: is no parameter here; these are:"),
        ("/events/stream?kind=death", f"kind: expected one of {KINDS}"),
        *(
            (f"/events?cursor={cursor}", f"cursor: {CURSOR}")
            for cursor in (
                "",
                "!",
                "e30=",
                "W10=",
                "WzBd",
                "Wy0xXQ==",
                "WzEsMV0=",
                "WyJhIl0=",
                "W3RydWVd",
                "WzEuMF0=",
                "Wzk5OTk5OTk5OTk5OTk5OTk5OTld",
                "W251bGxd",
                "\u0661",
                "MQ==",
            )
        ),
        *(
            (f"/servers?sort=last_seen&cursor={cursor}", f"cursor: {CURSOR}")
            for cursor in (
                "",
                "WyJsYXN0X3NlZW4iLCAiYSIsICIxIl0=",
                "WyJsYXN0X3NlZW4iLCAiYSIsIHRydWVd",
                "WyJsYXN0X3NlZW4iLCAiYSIsIDEuNV0=",
                "WyJsYXN0X3NlZW4iLCAiYSIsIDEsIDFd",
                "WyJsYXN0X3NlZW4iLCAiYSIsIDk5OTk5OTk5OTk5OTk5OTk5OTk5XQ==",
                "WyJsYXN0X3NlZW4iLCAiYSIsIDkyMjMzNzIwMzY4NTQ3NzU4MDhd",
                "WyJsYXN0X3NlZW4iLCAiXHUwMDAwIiwgMV0=",
                "WyJsYXN0X3NlZW4iLCAxLCAxXQ==",
                "WyJjb2xvdXIiLCAiYSIsIDFd",
                "WyJsYXN0X3NlZW4iLCAiYSJd",
                "WyJsYXN0X3NlZW4iLCAiYSIsIG51bGxd",
                "WyJsYXN0X3NlZW4iLCAiYSIsIG51bGwsIG51bGxd",
                "WyJsYXN0X3NlZW4iLCAiYSIsIG51bGwsIDEuNV0=",
                "WyJsYXN0X3NlZW4iLCAiYSIsIG51bGwsIDkyMjMzNzIwMzY4NTQ3NzU4MDhd",
                "WyJsYXN0X3NlZW4iLCAiYSIsIDEsIDEsIHRydWVd",
                "WyJsYXN0X3NlZW4iLCAiYSIsIDEsIDEsIDkyMjMzNzIwMzY4NTQ3NzU4MDhd",
                "WyJsYXN0X3NlZW4iLCAiYSIsIDEsIC05MjIzMzcyMDM2ODU0Nzc1ODA3LCAwXQ==",
                "WyJsYXN0X3NlZW4iLCAiYSIsIG51bGwsIDEsIDFd",
                "WyJsYXN0X3NlZW4iLCAiYSIsIDEsIDEsIDEsIDFd",
            )
        ),
        *(
            (f"/servers?sort={sort}&cursor={cursor}", f"cursor: {CURSOR}")
            for sort, cursor in (
                ("server_id", "WyJzZXJ2ZXJfaWQiLCAiYSIsIDFd"),
                ("-server_id", "WyItc2VydmVyX2lkIiwgImEiLCAxXQ=="),
                ("first_seen", "WyJmaXJzdF9zZWVuIiwgImEiLCBudWxsXQ=="),
                ("server_id", "WyJzZXJ2ZXJfaWQiLCAiYSIsIG51bGwsIDFd"),
                ("first_seen", "WyJmaXJzdF9zZWVuIiwgImEiLCAxLCAxLCAxXQ=="),
                ("-first_seen", "WyItZmlyc3Rfc2VlbiIsICJhIiwgbnVsbCwgMV0="),
            )
        ),
    ],
)
def test_invalid_parameter_of_any_list_is_named(
    shared_receiver: httpx.Client, path: str, message: str
) -> None:
    answer = shared_receiver.get(path)

    problem = answer.json()
    assert (400, "invalid_parameter") == (answer.status_code, problem["code"])
    assert problem["detail"].startswith(message)
    assert [message.partition(":")[0]] == [error["path"] for error in problem["errors"]]


def test_every_invalid_parameter_is_named(shared_receiver: httpx.Client) -> None:
    answer = shared_receiver.get("/events?kind=death&since=now&limit=0&cursor=x&colour=red")

    assert ["kind", "since", "limit", "cursor", "colour"] == [
        error["path"] for error in answer.json()["errors"]
    ]


@pytest.mark.parametrize("path", ["/servers", "/events", "/servers/a/events", "/sd/prometheus"])
def test_more_than_a_hundred_parameters_are_refused(
    shared_receiver: httpx.Client, path: str
) -> None:
    few = shared_receiver.get(f"{path}?{'x&' * 100}")
    many = shared_receiver.get(f"{path}?{'x=1&' * 10_000}")

    assert 400 == few.status_code == many.status_code
    message = "expected at most 100 parameters, got 10000"
    assert [{"path": "", "message": message}] == many.json()["errors"]
    assert message == many.json()["detail"]


@pytest.mark.parametrize("of", ORDERS.split(", "))
def test_cursor_of_a_list_in_another_order_is_refused(receiver: httpx.Client, of: str) -> None:
    receiver.post("/heartbeats", json=[messages.slim(server_id=each) for each in "ab"])
    query = {"sort": of, "limit": "1"}
    cursor = receiver.get("/servers", params=query).json()["next_cursor"]

    for sort in ORDERS.split(", "):
        answer = receiver.get("/servers", params={"sort": sort, "cursor": cursor})
        if sort == of:
            assert 200 == answer.status_code
        else:
            assert (400, "cursor: is of a list in another order") == (
                answer.status_code,
                answer.json()["detail"],
            )


def test_search_takes_up_to_1000_bytes(receiver: httpx.Client) -> None:
    receiver.post("/heartbeat", json=messages.slim(database="a" * 50_000))

    found = [
        receiver.get("/servers", params={"q": letter * 1000}).json()["count"] for letter in "ab"
    ]
    assert [1, 0] == found
    answer = receiver.get("/servers", params={"q": "a" * 1001})
    assert (400, "q: expected at most 1000 bytes of text") == (
        answer.status_code,
        answer.json()["detail"],
    )


def test_unknown_path_is_not_found(shared_receiver: httpx.Client) -> None:
    answer = shared_receiver.get("/nowhere")

    assert (404, "not_found") == (answer.status_code, answer.json()["code"])
    assert "There is nothing at /nowhere." == answer.json()["detail"]


def test_wrong_method_is_answered_with_the_allowed_one(shared_receiver: httpx.Client) -> None:
    answer = shared_receiver.get("/heartbeat")

    assert (405, "method_not_allowed") == (answer.status_code, answer.json()["code"])
    assert "POST" == answer.headers["allow"]


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("server_id", ["nobody", "a%00b", "a%2Fb", "%FF", ""])
def test_unknown_server_is_not_found(
    shared_receiver: httpx.Client, method: str, server_id: str
) -> None:
    answer = shared_receiver.request(method, f"/servers/{server_id}")

    assert (404, "not_found") == (answer.status_code, answer.json()["code"])


def test_client_that_hangs_up_in_a_body_changes_nothing(
    receiver: httpx.Client,
) -> None:
    def half() -> Any:
        yield b'{"server_id":'
        raise ConnectionAbortedError

    with pytest.raises(ConnectionAbortedError):
        receiver.post("/heartbeat", content=half(), headers=JSON)

    assert 0 == receiver.get("/health").json()["server_count"]


def test_wrong_method_is_answered_with_every_allowed_one(shared_receiver: httpx.Client) -> None:
    """Also when two routes share the path."""
    answer = shared_receiver.post("/servers/acme_web-1")

    assert (405, "DELETE, GET, HEAD") == (answer.status_code, answer.headers["allow"])


@pytest.mark.parametrize("path", ["%ff", "%c0%80", "%ed%a0%80", "a%ef%bf%bd%ff"])
def test_path_that_is_no_utf_8_is_not_found(path: str, receiver: httpx.Client) -> None:
    """Bytes that are no UTF-8 must not find a server whose id has replacement characters."""
    for name in ("\ufffd", "\ufffd\ufffd", "\ufffd\ufffd\ufffd", "a\ufffd\ufffd"):
        receiver.post("/heartbeat", json=messages.slim(server_id=name)).raise_for_status()

    answers = [receiver.request(method, f"/servers/{path}") for method in ("GET", "DELETE")]

    assert [(404, "not_found")] * 2 == [(a.status_code, a.json()["code"]) for a in answers]
    assert 200 == receiver.get("/servers/%EF%BF%BD").status_code


BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


def test_browser_gets_a_page_for_an_unknown_path(
    shared_receiver: httpx.Client,
) -> None:
    asked = [("GET", "/nope"), ("GET", "/static/nope.css"), ("GET", "/sign-out")]
    for (method, path), status in zip(asked, (404, 404, 405), strict=True):
        answer = shared_receiver.request(method, path, headers=BROWSER)
        assert (status, "text/html; charset=utf-8") == (
            answer.status_code,
            answer.headers["content-type"],
        )
        assert "There is no such page" in answer.text
        assert path in answer.text
    assert "POST" == shared_receiver.get("/sign-out", headers=BROWSER).headers["allow"]


@pytest.mark.parametrize("accept", ["*/*", "application/json", "text/html;q=0, */*"])
def test_program_gets_a_problem_document_for_an_unknown_path(
    shared_receiver: httpx.Client, accept: str
) -> None:
    answer = shared_receiver.get("/nope", headers={"Accept": accept})

    assert (404, "not_found") == (answer.status_code, answer.json()["code"])


def test_remote_browser_gets_a_page_that_says_that_there_are_no_keys(
    shared_receiver: httpx.Client,
) -> None:
    answer = shared_receiver.get("/nope", headers={**BROWSER, "Via": "1.1 a proxy"})

    assert (403, "text/html; charset=utf-8") == (
        answer.status_code,
        answer.headers["content-type"],
    )
    assert "This receiver has no keys yet" in answer.text

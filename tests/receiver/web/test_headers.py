"""Security headers, cache headers and request ids of every answer."""

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount, Route

import messages
from receiver.app import Tuning, create_app
from receiver.service.fleet import Fleet
from receiver.store import Servers
from receiver.web.headers import request_id
from servers import ANY_PAUSE_SECONDS, Clock, serve

SECURITY_HEADERS = {
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
is_generated = re.compile(r"[0-9a-f]{16}").fullmatch


@pytest.fixture
def app(sqlite_url: str, clock: Clock) -> Starlette:
    environ = {"FLEET_DATABASE_URL": sqlite_url}
    return create_app(
        environ=environ, clock=clock, tuning=Tuning(absence_seconds=ANY_PAUSE_SECONDS)
    )


@pytest.fixture
def receiver(app: Starlette) -> Iterator[httpx.Client]:
    with serve(app) as client:
        yield client


def calls(app: Starlette) -> Iterator[tuple[str, str]]:
    """The methods and an example path of each route."""
    for route in app.routes:
        if isinstance(route, Mount):
            yield "GET", f"{route.path}/fleet.css"
        else:
            assert isinstance(route, Route)
            path = re.sub(r"{\w+(:path)?}", "any", route.path)
            yield from ((method, path) for method in route.methods or ())


def lacking(answer: httpx.Response) -> dict[str, Any]:
    """The expected security headers that an answer lacks or that differ."""
    found = {name: answer.headers.get(name) for name in SECURITY_HEADERS}
    wrong: dict[str, Any] = dict(SECURITY_HEADERS.items() - found.items())
    for name in ("permissions-policy", "cache-control", "content-security-policy", "x-request-id"):
        if len(answer.headers.get_list(name)) != 1:
            wrong[name] = answer.headers.get_list(name)
    if "frame-ancestors 'none'" not in answer.headers.get("content-security-policy", ""):
        wrong["frame-ancestors"] = "missing"
    return wrong


def test_every_route_sends_the_security_headers(app: Starlette, receiver: httpx.Client) -> None:
    asked = [*calls(app), ("GET", "/nowhere"), ("PUT", "/servers"), ("POST", "/static/fleet.css")]
    wrong = {}
    for method, path in asked:
        with receiver.stream(method, path) as answer:
            if lacking(answer):
                wrong[method, path] = lacking(answer)

    assert {} == wrong
    assert {"/heartbeat", "/", "/events/stream", "/keys", "/static/fleet.css"} <= {
        path for _, path in asked
    }


def test_only_pages_have_a_content_security_policy_with_scripts(receiver: httpx.Client) -> None:
    policies = {
        path: receiver.get(path).headers["content-security-policy"] for path in ("/", "/servers")
    }

    assert "script-src 'self'" in policies["/"]
    assert "default-src 'none'; frame-ancestors 'none'" == policies["/servers"]


def test_policy_of_the_stream_worker_allows_only_its_receiver(receiver: httpx.Client) -> None:
    policy = receiver.get("/static/stream.js").headers["content-security-policy"]

    assert "default-src 'none'; connect-src 'self'; frame-ancestors 'none'" == policy


@pytest.mark.parametrize("path", ["/", "/servers", "/server/nobody", "/nowhere", "/metrics"])
def test_dynamic_answers_are_not_cached(receiver: httpx.Client, path: str) -> None:
    assert "no-store" == receiver.get(path).headers["cache-control"]


def test_versioned_static_files_are_cached_forever(receiver: httpx.Client) -> None:
    (versioned,) = re.findall(r'href="\./(static/fleet\.css\?v=\w+)"', receiver.get("/").text)

    kept = {
        path: receiver.get(path).headers["cache-control"]
        for path in (versioned, "/static/fleet.css?v=0", "/static/fleet.css")
    }
    gone = receiver.get("/static/nothing.css")

    assert ["public, max-age=31536000, immutable", "no-cache", "no-cache"] == [*kept.values()]
    assert (404, "no-store") == (gone.status_code, gone.headers["cache-control"])


def test_https_answers_send_strict_transport_security(receiver: httpx.Client) -> None:
    name = "strict-transport-security"

    by_https = receiver.get("/", headers={"X-Forwarded-Proto": "https"})

    assert "max-age=31536000" == by_https.headers[name]
    assert name not in receiver.get("/").headers


@pytest.mark.parametrize("sent_id", ["a", "0af7651916cd43dd8448eb211c80319c", "x" * 128, "A-1_b.c"])
def test_valid_request_id_of_a_proxy_is_kept(shared_receiver: httpx.Client, sent_id: str) -> None:
    assert (
        sent_id
        == shared_receiver.get("/health", headers={"X-Request-ID": sent_id}).headers["x-request-id"]
    )


@pytest.mark.parametrize(
    "sent_id", [b"", b"x" * 129, b"a b", b"a\tb", b"\xe4", b"a/b", b"a,b", b"{}"]
)
def test_invalid_request_id_is_replaced(shared_receiver: httpx.Client, sent_id: bytes) -> None:
    answer = shared_receiver.get("/health", headers={b"X-Request-ID": sent_id})

    assert is_generated(answer.headers["x-request-id"])


def test_each_request_gets_its_own_id(shared_receiver: httpx.Client) -> None:
    assert 20 == len({shared_receiver.get("/health").headers["x-request-id"] for _ in range(20)})


def test_only_refused_messages_answer_with_a_request_id(receiver: httpx.Client) -> None:
    taken = receiver.post("/heartbeat", json=messages.heartbeat())
    refused = receiver.post("/heartbeat", json={}, headers={"X-Request-ID": "mine"})

    assert (200, 422) == (taken.status_code, refused.status_code)
    assert "x-request-id" not in taken.headers
    assert "mine" == refused.headers["x-request-id"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_internal_error_sends_the_headers_too(
    receiver: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> int:
        raise LookupError

    monkeypatch.setattr(Servers, "count_active", fail)

    answer = receiver.get("/health", headers={"X-Request-ID": "mine"})

    assert (500, "internal_error") == (answer.status_code, answer.json()["code"])
    assert ({}, "mine") == (lacking(answer), answer.headers["x-request-id"])


def test_handler_and_its_threads_know_the_request_id(
    receiver: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids: list[str | None] = []

    def uptime(_: Fleet) -> float:
        ids.append(request_id())  # in the handler
        return 0.0

    def count(*_: object) -> int:
        ids.append(request_id())  # in a thread
        return 0

    monkeypatch.setattr(Fleet, "uptime_seconds", uptime)
    monkeypatch.setattr(Servers, "count_active", count)
    answer = receiver.get("/health")

    assert [answer.headers["x-request-id"]] * 2 == ids


def test_request_id_is_none_outside_of_a_request() -> None:
    assert request_id() is None


def test_request_with_a_matching_etag_gets_304(
    receiver: httpx.Client,
) -> None:
    receiver.post("/heartbeat", json=messages.heartbeat(server_id="a"))
    for path in ("/servers", "/servers/a"):
        tag = receiver.get(path).headers["etag"]
        asked = [tag, f'"other", {tag}', f"W/{tag.removeprefix('W/')}", "*", '"other"', tag[:-1]]

        answers = [receiver.get(path, headers={"If-None-Match": each}) for each in asked]

        assert [304, 304, 304, 304, 200, 200] == [each.status_code for each in answers]
        assert {tag} == {each.headers["etag"] for each in answers}
        assert [{}, b""] == [lacking(answers[0]), answers[0].content]


def test_etag_changes_with_every_heartbeat(receiver: httpx.Client, clock: Clock) -> None:
    tags = []
    for _ in range(2):
        receiver.post("/heartbeat", json=messages.heartbeat(server_id="a"))
        clock.advance(1)
        tags.append([receiver.get(path).headers["etag"] for path in ("/servers", "/servers/a")])

    assert [True, True] == [before != after for before, after in zip(*tags, strict=True)]


def test_etag_of_a_server_is_unchanged_by_a_hundredth_of_a_percent_of_availability(
    receiver: httpx.Client, clock: Clock
) -> None:
    receiver.post("/heartbeat", json=messages.heartbeat(server_id="a"))
    clock.advance(20 * 86_400)
    receiver.post("/heartbeat", json=messages.heartbeat(server_id="a"))
    first = receiver.get("/servers/a")
    clock.advance(1)

    same = receiver.get("/servers/a", headers={"If-None-Match": first.headers["etag"]})

    assert (True, 304) == (first.headers["etag"].startswith("W/"), same.status_code)

"""What every request and every answer has, whatever they are about."""

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

CAREFUL = {
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
MADE = re.compile(r"[0-9a-f]{16}").fullmatch


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
    """A method and a path of each route."""
    for route in app.routes:
        if isinstance(route, Mount):
            yield "GET", f"{route.path}/fleet.css"
        else:
            assert isinstance(route, Route)
            path = re.sub(r"{\w+(:path)?}", "any", route.path)
            yield from ((method, path) for method in route.methods or ())


def lacking(answer: httpx.Response) -> dict[str, Any]:
    """The careful headers that an answer lacks."""
    found = {name: answer.headers.get(name) for name in CAREFUL}
    wrong: dict[str, Any] = dict(CAREFUL.items() - found.items())
    for name in ("permissions-policy", "cache-control", "content-security-policy", "x-request-id"):
        if len(answer.headers.get_list(name)) != 1:
            wrong[name] = answer.headers.get_list(name)
    if "frame-ancestors 'none'" not in answer.headers.get("content-security-policy", ""):
        wrong["frame-ancestors"] = "anybody"
    return wrong


def test_every_answer_of_every_route_is_careful(app: Starlette, receiver: httpx.Client) -> None:
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


def test_only_pages_may_load_anything(receiver: httpx.Client) -> None:
    policies = {
        path: receiver.get(path).headers["content-security-policy"] for path in ("/", "/servers")
    }

    assert "script-src 'self'" in policies["/"]
    assert "default-src 'none'; frame-ancestors 'none'" == policies["/servers"]


@pytest.mark.parametrize("path", ["/", "/servers", "/server/nobody", "/nowhere", "/metrics"])
def test_what_changes_is_not_kept(receiver: httpx.Client, path: str) -> None:
    assert "no-store" == receiver.get(path).headers["cache-control"]


def test_files_are_kept_as_long_as_they_stay_the_same(receiver: httpx.Client) -> None:
    (versioned,) = re.findall(r'href="\./(static/fleet\.css\?v=\w+)"', receiver.get("/").text)

    kept = {
        path: receiver.get(path).headers["cache-control"]
        for path in (versioned, "/static/fleet.css?v=0", "/static/fleet.css")
    }
    gone = receiver.get("/static/nothing.css")

    assert ["public, max-age=31536000, immutable", "no-cache", "no-cache"] == [*kept.values()]
    assert (404, "no-store") == (gone.status_code, gone.headers["cache-control"])


def test_who_comes_by_https_is_to_stay_there(receiver: httpx.Client) -> None:
    name = "strict-transport-security"

    by_https = receiver.get("/", headers={"X-Forwarded-Proto": "https"})

    assert "max-age=31536000" == by_https.headers[name]
    assert name not in receiver.get("/").headers


@pytest.mark.parametrize("said", ["a", "0af7651916cd43dd8448eb211c80319c", "x" * 128, "A-1_b.c"])
def test_name_that_a_proxy_gives_is_kept(receiver: httpx.Client, said: str) -> None:
    assert said == receiver.get("/health", headers={"X-Request-ID": said}).headers["x-request-id"]


@pytest.mark.parametrize("said", [b"", b"x" * 129, b"a b", b"a\tb", b"\xe4", b"a/b", b"a,b", b"{}"])
def test_another_name_is_replaced(receiver: httpx.Client, said: bytes) -> None:
    answer = receiver.get("/health", headers={b"X-Request-ID": said})

    assert MADE(answer.headers["x-request-id"])


def test_each_request_gets_a_name_of_its_own(receiver: httpx.Client) -> None:
    assert 20 == len({receiver.get("/health").headers["x-request-id"] for _ in range(20)})


def test_only_a_refused_message_tells_its_name(receiver: httpx.Client) -> None:
    taken = receiver.post("/heartbeat", json=messages.heartbeat())
    refused = receiver.post("/heartbeat", json={}, headers={"X-Request-ID": "mine"})

    assert (200, 422) == (taken.status_code, refused.status_code)
    assert "x-request-id" not in taken.headers
    assert "mine" == refused.headers["x-request-id"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_failure_has_them_too(receiver: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> int:
        raise LookupError

    monkeypatch.setattr(Servers, "count", fail)

    answer = receiver.get("/health", headers={"X-Request-ID": "mine"})

    assert (500, "internal_error") == (answer.status_code, answer.json()["code"])
    assert ({}, "mine") == (lacking(answer), answer.headers["x-request-id"])


def test_handler_and_its_threads_know_the_name(
    receiver: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    known: list[str | None] = []

    def uptime(_: Fleet) -> float:
        known.append(request_id())  # in the handler
        return 0.0

    def count(*_: object) -> int:
        known.append(request_id())  # in a thread
        return 0

    monkeypatch.setattr(Fleet, "uptime_seconds", uptime)
    monkeypatch.setattr(Servers, "count", count)
    answer = receiver.get("/health")

    assert [answer.headers["x-request-id"]] * 2 == known


def test_outside_of_a_request_there_is_no_name() -> None:
    assert request_id() is None

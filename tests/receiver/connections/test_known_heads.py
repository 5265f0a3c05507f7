"""Requests whose heads are known are answered as those that the parser reads."""

import logging
import re
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sqlalchemy import make_url

import messages
from keyring import bearer
from posting import (
    ADMINISTERING,
    KEY,
    LIMITED,
    LOST,
    READING,
    TOO_LATE,
    Watched,
    post,
    read_answer,
    read_answers,
    receiving,
    settle,
    told,
)
from raw_http import Timer, connected, is_open, rest, timed
from receiver.app import create_app
from receiver.connections.known_heads import KnownHeads
from servers import DIRECT, serve, wait_until
from strategies import share_of_examples

HEARTBEAT = post(messages.slim())
WRONG = "fleetkey_abcdefghij_" + 43 * "k"


class Parsing(Watched):
    """The protocol as it is if no head is ever known."""

    def take_known(self, data: bytes) -> bool:  # noqa: ARG002 - none is
        return False


@pytest.fixture(autouse=True)
def _count_anew() -> None:
    Watched.count_anew()


def ask(raw: socket.socket, request: bytes) -> bytes:
    raw.sendall(request)
    return read_answer(raw)


def statuses(answers: bytes) -> list[bytes]:
    return re.findall(rb"HTTP/1.1 (\d+) ", answers)


def test_head_that_a_request_had_before_is_known(sqlite_url: str) -> None:
    with receiving(sqlite_url) as port:
        with connected(port) as raw:
            answers = [ask(raw, HEARTBEAT), ask(raw, HEARTBEAT)]
        with connected(port) as raw:
            answers.append(ask(raw, HEARTBEAT))

    counts = [int(count) for each in answers for count in re.findall(rb'_count":(\d)', each)]
    assert [1, 2, 3] == counts
    assert (3, 2, 0) == (Watched.taken, Watched.known, Watched.called)


@pytest.mark.parametrize(
    "other",
    [
        post(messages.slim(server_id="another")),
        post(messages.slim(), b"Content-Type: application/x-www-form-urlencoded"),
        post(messages.slim(), token=LIMITED),
        post(messages.slim(), b"X-Request-ID: a"),
        post(messages.registration(), path=b"/register"),
        HEARTBEAT.replace(b"Host", b"host"),
        HEARTBEAT.replace(b"HTTP/1.1", b"HTTP/1.0"),
    ],
)
def test_head_that_differs_is_not_known(sqlite_url: str, other: bytes) -> None:
    with receiving(sqlite_url) as port, connected(port) as raw:
        ask(raw, HEARTBEAT)
        ask(raw, other)

    assert 0 == Watched.known


@pytest.mark.parametrize(
    "request_",
    [
        post(messages.slim(), b"Connection: close"),
        post(messages.slim(), b"X-Filler: " + 2048 * b"x"),
        post(messages.slim(), b"Transfer-Encoding: chunked", b"Content-Length: 0"),
        post(messages.slim(), token=LOST),
        post(messages.slim(), token=TOO_LATE),
        post(messages.slim(), path=b"/nowhere"),
        HEARTBEAT + b"\r\n",
    ],
)
def test_head_of_an_unusual_request_is_not_remembered(sqlite_url: str, request_: bytes) -> None:
    with receiving(sqlite_url) as port:
        answers = []
        for _ in range(2):
            with connected(port) as raw:
                answers.append(ask(raw, request_))

    assert statuses(answers[0]) == statuses(answers[1])
    assert 0 == Watched.known


def test_known_head_is_known_beside_many_others_but_not_beside_any_number(sqlite_url: str) -> None:
    """What clients make the server remember is bounded."""
    requests = [post(b"{", b"X-Request-ID: %d" % n) for n in range(1001)]
    with receiving(sqlite_url) as port, connected(port) as raw:
        for each in requests:
            ask(raw, each)
        ask(raw, requests[-2])
        known = Watched.known
        ask(raw, requests[-1])

    assert (1, 1) == (known, Watched.known)


def test_head_is_forgotten_after_a_while(sqlite_url: str) -> None:
    """It holds the secret of a key."""
    timer = Timer()

    class Timed(timed(timer), Watched):  # type: ignore[misc]  # a class that is made for the timer
        pass

    with receiving(sqlite_url, http=Timed) as port, connected(port) as raw:
        ask(raw, HEARTBEAT)
        timer.advance(0)
        ask(raw, HEARTBEAT)

    assert (2, 0) == (Watched.taken, Watched.known)


def test_key_that_was_revoked_or_rotated_is_refused(sqlite_url: str) -> None:
    with receiving(sqlite_url) as port, connected(port) as raw:
        url, headers = f"http://127.0.0.1:{port}/keys/{KEY.id}", bearer(ADMINISTERING)
        ask(raw, HEARTBEAT)
        token = httpx.post(f"{url}/rotate", headers=headers, **DIRECT).json()["token"]
        rotated = ask(raw, HEARTBEAT)
        request = post(messages.slim(), token=token)
        accepted = [ask(raw, request), ask(raw, request)]
        httpx.delete(url, headers=headers, **DIRECT).raise_for_status()
        revoked = ask(raw, request)

    assert b'"key_wrong"' in rotated
    assert [b"200", b"200"] == statuses(b"".join(accepted))
    assert b'"key_revoked"' in revoked
    assert 3 == Watched.known


def test_wrong_key_counts_for_the_client_that_a_proxy_names(sqlite_url: str) -> None:
    """Also if the key was right a moment ago, when the head became known."""

    def from_(client: bytes) -> bytes:
        return post(messages.slim(), b"X-Forwarded-For: " + client)

    environ = {"FLEET_FAILURES_PER_MINUTE": "2"}
    with receiving(sqlite_url, environ) as port, connected(port) as raw:
        ask(raw, from_(b"192.0.2.7"))
        url, headers = f"http://127.0.0.1:{port}/keys/{KEY.id}", bearer(ADMINISTERING)
        httpx.post(f"{url}/rotate", headers=headers, **DIRECT).raise_for_status()
        one = [ask(raw, from_(b"192.0.2.7")) for _ in range(3)]
        known = Watched.known
        other = [ask(raw, from_(b"192.0.2.8")) for _ in range(3)]

    assert [b"401", b"401", b"429"] * 2 == statuses(b"".join(one + other))
    assert 3 == known == Watched.known


def test_body_that_is_longer_or_shorter_than_the_head_says(sqlite_url: str) -> None:
    with receiving(sqlite_url) as port, connected(port) as raw:
        ask(raw, HEARTBEAT)
        longer = ask(raw, HEARTBEAT + HEARTBEAT[:10])
        next_ = ask(raw, HEARTBEAT[10:])
        raw.sendall(HEARTBEAT[:-1])
        settle(port)
        assert is_open(raw)
        shorter = ask(raw, HEARTBEAT[-1:])
        raw.sendall(HEARTBEAT.partition(b"\r\n\r\n")[0])
        settle(port)
        headless = ask(raw, b"\r\n\r\n" + HEARTBEAT.partition(b"\r\n\r\n")[2])
        known = Watched.known
        last = ask(raw, HEARTBEAT)

    assert 5 * [b"200"] == statuses(longer + next_ + shorter + headless + last)
    assert (0, 1) == (known, Watched.known)


def test_empty_body_belongs_to_a_head_that_is_complete(sqlite_url: str) -> None:
    empty = post(b"")
    with receiving(sqlite_url) as port, connected(port) as raw:
        first = ask(raw, empty)
        raw.sendall(empty[:-4])
        settle(port)
        assert (1, 0) == (Watched.taken, Watched.known)
        second = ask(raw, b"\r\n\r\n")

    assert told(first) == told(second)


def test_request_within_another_one_is_none(sqlite_url: str) -> None:
    """A read that looks like a request may be a part of the body, or of the head, of another."""
    body = post(b"[" + HEARTBEAT + b"]")
    at = body.index(HEARTBEAT, 1)
    other = post(messages.slim(), b"X-Request-ID: a")
    begun = b"POST /heartbeat HTTP/1.1\r\nX-Filler: "
    with receiving(sqlite_url) as port:
        with connected(port) as raw:
            ask(raw, HEARTBEAT)
            for piece in (body[:at], HEARTBEAT):
                raw.sendall(piece)
                settle(port)
            answers = ask(raw, body[at + len(HEARTBEAT) :])
            raw.sendall(begun)
            settle(port)
            answers += ask(raw, other) + ask(raw, other)
        with connected(port) as raw:
            raw.sendall(begun)
            settle(port)
            answers += ask(raw, other)

    assert [b"400", b"200", b"200", b"200"] == statuses(answers)
    assert (5, 0) == (Watched.taken, Watched.known)


@pytest.mark.parametrize("is_trusted", [True, False])
def test_client_that_a_proxy_names_is_logged(
    sqlite_url: str, caplog: pytest.LogCaptureFixture, *, is_trusted: bool
) -> None:
    one, other = (post(messages.slim(), b"X-Forwarded-For: 192.0.2.%d" % n) for n in (7, 8))
    with receiving(sqlite_url, proxy_headers=is_trusted) as port, connected(port) as raw:
        caplog.set_level("INFO", "uvicorn.access")
        logging.getLogger("uvicorn.access").addHandler(caplog.handler)
        for request in (one, other, one, other):
            ask(raw, request)

    lines = [each.getMessage() for each in caplog.records if each.name == "uvicorn.access"]
    named = [f"192.0.2.{n}" if is_trusted else "127.0.0.1" for n in (7, 8, 7, 8)]
    assert named == [line.partition(":")[0] for line in lines]
    assert (4, 2, 0) == (Watched.taken, Watched.known, Watched.called)


def test_trailer_ends_the_connection(sqlite_url: str) -> None:
    """The parser reads nothing after it, so that a later request would never be answered."""
    head, _, body = HEARTBEAT.partition(b"\r\n\r\n")
    head = re.sub(rb"Content-Length: \d+", b"Transfer-Encoding: chunked", head)
    pieces = (head, b"", b"%x" % len(body), body, b"0", b"Connection: close", b"", b"")
    request = b"\r\n".join(pieces)
    with receiving(sqlite_url) as port:
        for path in (b"/heartbeat", b"/nowhere"):
            with connected(port) as raw:
                answer = ask(raw, request.replace(b"/heartbeat", path))
                assert b"\r\nconnection: close\r\n" in answer.lower()
                assert b"" == rest(raw)


def test_trailer_after_the_answer_ends_the_connection(sqlite_url: str) -> None:
    head = b"GET /health/live HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    with receiving(sqlite_url) as port, connected(port) as raw:
        assert b" 200 " in ask(raw, head)
        raw.sendall(b"0\r\nConnection: close\r\n\r\n")
        assert b"" == rest(raw)


def test_head_of_a_local_client_lets_no_other_in(sqlite_url: str) -> None:
    """As long as there is no key, only clients on the same machine may write."""

    class Remote(Watched):
        is_remote = False

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if Remote.is_remote:
                self.client = ("192.0.2.7", 1234)

    request = post(messages.slim(), token=None)
    app = create_app(environ={"FLEET_DATABASE_URL": sqlite_url})
    with serve(app, http=Remote) as client:
        port = client.base_url.port or 0
        with connected(port) as raw:
            answers = [ask(raw, request), ask(raw, request)]
        Remote.is_remote = True
        with connected(port) as raw:
            answers.append(ask(raw, request))

    assert [b"200", b"200", b"403"] == statuses(b"".join(answers))
    assert 2 == Watched.known


def test_scope_is_that_of_the_request_and_of_no_other(sqlite_url: str) -> None:
    """Whatever an app does with it, as when it answers with an error."""
    scopes: list[Any] = []

    class Marking(Watched):
        def start(self, cycle: Any, app: Any) -> None:
            scope = cycle.scope
            scopes.append({**scope, "headers": [*scope["headers"]], "state": {**scope["state"]}})
            scope["state"]["mark"] = 1
            scope["headers"].append((b"mark", b"1"))
            super().start(cycle, app)

    clients = []
    with receiving(sqlite_url, http=Marking) as port:
        for _ in range(3):
            with connected(port) as raw:
                clients.append(raw.getsockname())
                ask(raw, post(b"{"))

    assert 2 == Watched.known
    assert clients == [each.pop("client") for each in scopes]
    errors = {repr(each.pop("receiver.error")) for each in scopes}
    begun = {each.pop("receiver.began") for each in scopes}
    assert (1, 3) == (len(errors), len(begun))
    assert scopes[0] == scopes[1] == scopes[2]


@contextmanager
def delayed(database_url: str) -> Iterator[None]:
    """Within it, no transaction ends, and none is answered."""
    with closing(sqlite3.connect(str(make_url(database_url).database))) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.rollback()


def test_request_waits_for_the_one_before_it(sqlite_url: str) -> None:
    with receiving(sqlite_url) as port, connected(port) as raw:
        ask(raw, HEARTBEAT)
        with delayed(sqlite_url):
            for _ in range(3):
                raw.sendall(HEARTBEAT)
                settle(port)
            counts = Watched.taken, Watched.known
        answers = b"".join(read_answers(raw, 3))

    assert (2, 1) == counts
    assert [b"2", b"3", b"4"] == re.findall(rb'_count":(\d)', answers)


def test_body_of_a_request_that_was_answered_before_is_no_request(sqlite_url: str) -> None:
    refused = post(b"[" + HEARTBEAT, token=READING)
    with receiving(sqlite_url) as port, connected(port) as raw:
        ask(raw, HEARTBEAT)
        answers = ask(raw, refused.removesuffix(HEARTBEAT))
        raw.sendall(HEARTBEAT)
        settle(port)
        answers += ask(raw, HEARTBEAT)

    assert [b"403", b"200"] == statuses(answers)
    assert (2, 0) == (Watched.taken, Watched.known)


class Lasting(KnownHeads):
    """Known heads that are not forgotten."""

    def forget(self) -> None:
        pass


def test_client_is_not_slow_while_it_waits_for_an_answer(sqlite_url: str) -> None:
    timer = Timer()
    heads = Lasting()

    class Timed(timed(timer), Watched):  # type: ignore[misc]  # a class that is made for the timer
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self.known_heads = heads

    with receiving(sqlite_url, http=Timed, timeout_keep_alive=1) as port:
        with connected(port) as raw:
            ask(raw, HEARTBEAT)
        with connected(port) as raw:
            for known in (1, 2):
                with delayed(sqlite_url):
                    raw.sendall(HEARTBEAT)
                    wait_until(lambda: known == Watched.known)  # noqa: B023 - it is called here
                    timer.advance(2)
                answer = read_answer(raw)
                assert answer.startswith(b"HTTP/1.1 200 ")


class Newer(Watched):
    """The protocol on a uvicorn that says more of each connection."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {"tls": {}}


def test_nothing_is_known_of_a_scope_of_which_not_all_is_known(sqlite_url: str) -> None:
    with receiving(sqlite_url, http=Newer) as port, connected(port) as raw:
        answers = ask(raw, HEARTBEAT) + ask(raw, HEARTBEAT)

    assert [b"200", b"200"] == statuses(answers)
    assert (2, 0) == (Watched.taken, Watched.known)


REQUESTS = [
    HEARTBEAT,
    HEARTBEAT,
    post(messages.slim(server_id="b")),
    post(messages.slim(server_id="another", text="longer")),
    post(messages.slim(port=0)),
    post(b"{"),
    post(b""),
    post(messages.registration(), path=b"/register"),
    post([messages.slim(), {"server_id": "b", "port": 0}], path=b"/heartbeats"),
    post(messages.slim(), token=None),
    post(messages.slim(), token=WRONG),
    post(messages.slim(), token=LIMITED),
    post(messages.slim(), b"X-Forwarded-For: 192.0.2.7"),
    post(messages.slim(), b"Connection: Upgrade", b"Upgrade: h2c"),
    post(messages.slim(), path=b"/heartbeat?a=b"),
    post(b"2\r\n{}\r\n0\r\n\r\n", b"Content-Length: 12").replace(
        b"Content-Length: 12", b"Transfer-Encoding: chunked"
    ),
    b"\r\n" + HEARTBEAT,
    b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
]
"""Requests after which the connection stays open."""

LAST = post(messages.slim(), b"Connection: close")

Read = tuple[bytes, int]
"""What is sent at once, and how many requests it completes."""


@st.composite
def in_reads(draw: st.DrawFn) -> list[Read]:
    """Some of these requests, cut into reads: most begin and end with a request."""
    found: list[Read] = []
    begun, completed = b"", 0
    for request in draw(st.lists(st.sampled_from(REQUESTS), min_size=2, max_size=10)):
        cut = draw(st.sampled_from([0, 0, 0, 0, 0, 0, 1, len(request) // 2, len(request) - 1]))
        if cut:
            found.append((begun + request[:cut], completed))
            begun, completed = b"", 0
        begun, completed = begun + request[cut:], completed + 1
        if draw(st.sampled_from([True, True, True, False])):
            found.append((begun, completed))
            begun, completed = b"", 0
    return [*found, (begun + LAST, completed + 1)]


def conversation(port: int, reads: list[Read]) -> list[object]:
    """The answers to some reads, after which the server has to close the connection."""
    with connected(port) as raw:
        answers: list[object] = []
        due = 0
        for sent, completed in reads:
            raw.sendall(sent)
            if not completed:
                settle(port)
            due += completed
            # One that is refused may be answered before its body is complete.
            answers += [told(each) for each in read_answers(raw, due - len(answers))]
        assert rest(raw) == b""
        return answers


@pytest.mark.hypothesis
def test_requests_are_answered_as_if_no_head_were_known(tmp_path: Path) -> None:
    with ExitStack() as stack:
        ports = [
            stack.enter_context(receiving(f"sqlite:///{tmp_path / each.__name__}.db", http=each))
            for each in (Watched, Parsing)
        ]

        @given(in_reads())
        @example([*((each, 1) for each in 2 * REQUESTS), (LAST, 1)])
        @settings(max_examples=share_of_examples(1))
        def compare(reads: list[Read]) -> None:
            answers = [conversation(port, reads) for port in ports]
            assert answers[1] == answers[0]

        compare()

    assert Watched.known > 20

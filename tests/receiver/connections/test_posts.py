"""Requests that are handled without an ASGI call are answered as those with one."""

import logging
import re
import socket
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import make_url

import messages
from keyring import bearer
from posting import (
    LIMITED,
    LOST,
    READING,
    TOO_LATE,
    Watched,
    post,
    read_answer,
    receiving,
    settle,
    told,
)
from raw_http import Timer, connected, is_open, rest, timed
from receiver.web.headers import request_id
from servers import DIRECT, wait_until


@pytest.fixture(autouse=True)
def _count_anew() -> None:
    Watched.count_anew()
    Watched.made.clear()


REQUESTS = {
    "a heartbeat": post(messages.slim()),
    "a registration": post(messages.registration(), path=b"/register"),
    "a batch": post([messages.slim(), {"server_id": "b", "port": 0}], path=b"/heartbeats"),
    "an invalid message": post({"server_id": "a", "port": 0}),
    "no JSON": post(b"{"),
    "an empty body": post(b""),
    "no key": post(messages.slim(), token=None),
    "a wrong key": post(messages.slim(), token="fleetkey_abcdefghij_" + 43 * "k"),
    "a key that may not write": post(messages.slim(), token=READING),
    "a server of others": post(messages.slim(), token=LIMITED),
    "a revoked key": post(messages.slim(), token=LOST),
    "an expired key": post(messages.slim(), token=TOO_LATE),
    "a form": post(messages.slim(), b"Content-Type: application/x-www-form-urlencoded"),
    "a media type with a parameter": post(
        messages.slim(), b"Content-Type: application/json; charset=utf-8"
    ),
    "a compressed body": post(messages.slim(), b"Content-Encoding: gzip"),
    "a body that is too long": post(messages.slim(text=70_000 * "x")),
    "the last request": post(messages.slim(), b"Connection: close"),
    "a query": post(messages.slim(), path=b"/heartbeat?a=b"),
    "another path": post(messages.slim(), path=b"/nowhere"),
    "another method": post(messages.slim()).replace(b"POST", b"PUT", 1),
}
"""A request of each kind."""


TAKEN = {
    "a heartbeat",
    "a registration",
    "a batch",
    "an invalid message",
    "no JSON",
    "an empty body",
    "a server of others",
    "an expired key",
    "the last request",
}
"""Those for which the app is not called, unless there is an error to answer with."""


@pytest.mark.parametrize("name", REQUESTS)
def test_request_is_answered_as_by_the_app(tmp_path: Path, name: str) -> None:
    answers, counts = [], []
    for protocol in (Watched, "httptools"):
        url = f"sqlite:///{tmp_path / str(protocol)}.db"
        with receiving(url, http=protocol) as port, connected(port) as raw:
            raw.sendall(REQUESTS[name])
            answers.append(told(read_answer(raw)))
            is_open_still = is_open(raw)
        assert (b"connection: close" not in answers[-1][1]) == is_open_still
        counts.append((Watched.taken, Watched.called))

    assert answers[0] == answers[1]
    status, _, _ = answers[0]
    is_taken = name in TAKEN
    assert [(is_taken, not is_taken or b" 20" not in status), (0, 0)] == counts


@pytest.mark.parametrize("path", [b"/heartbeat", b"/register", b"/heartbeats"])
def test_body_that_arrives_in_pieces_is_taken(sqlite_url: str, path: bytes) -> None:
    message = messages.registration()
    request = post([message] if path == b"/heartbeats" else message, path=path)
    with receiving(sqlite_url) as port, connected(port) as raw:
        for n in range(0, len(request), 200):
            raw.sendall(request[n : n + 200])
            settle(port)
        answer = read_answer(raw)

    assert re.match(rb"HTTP/1.1 20[01] ", answer)
    assert (1, 0) == (Watched.taken, Watched.called)


def test_app_is_called_for_a_body_that_is_slow(sqlite_url: str) -> None:
    request = post(messages.slim())
    timer = Timer()

    class Slow(timed(timer), Watched):  # type: ignore[misc]  # a class that is made for the timer
        body_seconds = 0.125

    with receiving(sqlite_url, http=Slow) as port, connected(port) as raw:
        raw.sendall(request[:-5])
        settle(port)
        calls = Watched.called
        timer.advance(0.1875)
        wait_until(lambda: Watched.called > calls)
        raw.sendall(request[-5:])
        answer = read_answer(raw)

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert 0 == Watched.taken


def test_slow_body_without_an_end_is_refused_by_the_app(sqlite_url: str) -> None:
    timer = Timer()

    class Slow(timed(timer), Watched):  # type: ignore[misc]  # a class that is made for the timer
        body_seconds = 0.125

    with receiving(sqlite_url, http=Slow) as port, connected(port) as raw:
        raw.sendall(post(messages.slim())[:-5])
        settle(port)
        timer.advance(0.1875)
        answer = rest(raw)

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"body_too_slow" in answer


def test_requests_that_do_not_wait_for_answers_are_answered_in_order(sqlite_url: str) -> None:
    requests = [
        post(messages.slim(server_id="b", port=0)),
        post(messages.slim(server_id="a")),
        post(messages.slim(server_id="c"), path=b"/nowhere"),
        post(messages.slim(server_id="d")),
        post(messages.slim(server_id="e"), b"Connection: close"),
    ]
    with receiving(sqlite_url) as port, connected(port) as raw:
        raw.sendall(b"".join(requests))
        answers = rest(raw)

    found = re.findall(rb'HTTP/1.1 (\d+)|"server_id":"(\w)"', answers)
    assert [b"422", b"200", b"a", b"404", b"200", b"d", b"200", b"e"] == [
        status or name for status, name in found
    ]


def test_message_counts_whose_sender_has_gone(sqlite_url: str) -> None:
    with receiving(sqlite_url) as port:
        for name, last in (("a", messages.slim), ("b", invalid)):
            with connected(port) as raw:
                raw.sendall(post(last(server_id=name)))
        url, headers = f"http://127.0.0.1:{port}/servers/a", bearer(READING)
        wait_until(lambda: httpx.get(url, headers=headers, **DIRECT).status_code == 200)
        wait_until(lambda: 2 == Watched.taken)


def invalid(**changed: Any) -> messages.Json:
    return messages.slim(port=0, **changed)


def test_request_under_way_is_answered_when_the_server_stops(sqlite_url: str) -> None:
    request = post(messages.slim())
    with ExitStack() as stack:
        thread = stack.enter_context(ThreadPoolExecutor(1))
        with receiving(sqlite_url) as port:
            raw = stack.enter_context(connected(port))
            raw.sendall(request[:-5])
            settle(port)
            (connection,) = [each for each in Watched.made if each.cycle and each.cycle.more_body]

            def send_the_rest() -> bytes:
                wait_until(lambda: not connection.cycle.keep_alive)  # uvicorn has begun to stop
                raw.sendall(request[-5:])
                return rest(raw)

            last = thread.submit(send_the_rest)

    answer = last.result()
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"\r\nconnection: close\r\n" in answer
    assert 1 == Watched.taken


def test_answers_are_logged_as_by_uvicorn(
    sqlite_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    forwarded = post(messages.slim(), b"X-Forwarded-For: 192.0.2.7")
    with receiving(sqlite_url) as port, connected(port) as raw:
        caplog.set_level("INFO", "uvicorn.access")
        logging.getLogger("uvicorn.access").addHandler(caplog.handler)
        for request in (REQUESTS["a heartbeat"], REQUESTS["no JSON"], forwarded):
            raw.sendall(request)
            read_answer(raw)

    lines = [each.getMessage() for each in caplog.records if each.name == "uvicorn.access"]
    assert ['"POST /heartbeat HTTP/1.1" 200', '"POST /heartbeat HTTP/1.1" 400'] == [
        re.sub(r"^127.0.0.1:\d+ - ", "", line) for line in lines[:2]
    ]
    assert '192.0.2.7:0 - "POST /heartbeat HTTP/1.1" 200' == lines[2]


class Ids(logging.Handler):
    """A handler that notes the id of the request of each line."""

    def __init__(self) -> None:
        super().__init__()
        self.noted: list[str | None] = []

    def emit(self, _: logging.LogRecord) -> None:
        self.noted.append(request_id())


def test_line_of_the_access_log_names_its_request(sqlite_url: str) -> None:
    handler = Ids()
    with receiving(sqlite_url) as port, connected(port) as raw:
        logger = logging.getLogger("uvicorn.access")
        logger.setLevel("INFO")
        logger.addHandler(handler)
        for name in (b"first", b"second"):
            raw.sendall(post(messages.slim(), b"X-Request-ID: " + name))
            read_answer(raw)
        logger.removeHandler(handler)

    assert (["first", "second"], 2) == (handler.noted, Watched.taken)


def test_error_is_timed_from_the_arrival_of_its_request(sqlite_url: str) -> None:
    refused = REQUESTS["a server of others"]
    with receiving(sqlite_url) as port, connected(port) as raw:
        with closing(sqlite3.connect(str(make_url(sqlite_url).database))) as other:
            other.execute("BEGIN IMMEDIATE")  # so that the transaction has to wait
            raw.sendall(refused)
            wait_until(lambda: bool(Watched.taken))
            begun = time.monotonic()
            time.sleep(0.2)  # the shortest time that the request has to be said to take
            other.rollback()
        answer = read_answer(raw)
        url = f"http://127.0.0.1:{port}/metrics"
        metrics = httpx.get(url, headers=bearer(READING), **DIRECT).text

    assert answer.startswith(b"HTTP/1.1 403 ")
    (told,) = re.findall(r'request_duration_seconds_sum{kind="heartbeat"} (\S+)', metrics)
    assert 0.2 <= float(told) <= time.monotonic() - begun + 1


@pytest.mark.parametrize("options", [{"limit_concurrency": 100}, {"root_path": "/fleet"}])
def test_app_is_called_if_uvicorn_has_to_do_more(sqlite_url: str, options: dict[str, Any]) -> None:
    with receiving(sqlite_url, **options) as port, connected(port) as raw:
        raw.sendall(REQUESTS["a heartbeat"])
        read_answer(raw)

    assert (0, 1) == (Watched.taken, Watched.called)


def test_client_that_reads_no_answers_cannot_fill_the_memory(sqlite_url: str) -> None:
    """Its requests wait, as uvicorn makes them wait, once its answers fill the buffers."""
    batch = post([{"server_id": str(n)} for n in range(1000)], path=b"/heartbeats")
    with receiving(sqlite_url) as port, socket.socket() as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.connect(("127.0.0.1", port))
        wait_until(lambda: bool(Watched.made))
        for n in range(1, 1000):
            raw.sendall(batch)
            wait_until(partial(has_handled, n), every=0.001)
            if Watched.called:
                break
        (connection,) = Watched.made
        buffered = connection.transport.get_write_buffer_size()

    assert Watched.taken > 0
    assert 300_000 > buffered


def has_handled(requests: int) -> bool:
    """Whether so many requests were answered, or the app was called for the last one."""
    (connection,) = Watched.made
    is_taken = requests == Watched.taken and connection.cycle.response_complete
    return is_taken or requests == Watched.taken + Watched.called > Watched.taken

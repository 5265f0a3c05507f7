"""The limits on the headers of a request, and what is no request at all."""

import contextlib
from collections.abc import Callable
from itertools import repeat

import pytest

from raw_http import (
    GET,
    HELD,
    LAST,
    POST,
    Timer,
    answered,
    connected,
    is_open,
    rest,
    send_all,
    served,
    talk,
    timed,
    wait_until_read,
)


def header(length: int, n: int = 0) -> bytes:
    return b"x-%04d: %s\r\n" % (n, b"v" * length)


@pytest.mark.parametrize(
    "piece",
    [b"v" * 1000, header(20), b"\r\n " * 100, b"a:\r\n" * 10],
    ids=["a long one", "many", "a folded one", "short ones"],
)
def test_endless_headers_are_cut_off(port: int, piece: bytes) -> None:
    with connected(port) as raw:
        raw.sendall(POST + b"X: ")
        sent = send_all(raw, repeat(piece, 100_000))

    assert sent < 10_000_000  # most of it in buffers of the system


def test_endless_request_target_is_cut_off(port: int) -> None:
    with connected(port) as raw:
        for piece in [b"GET /", *[b"a" * 1000] * 5]:
            raw.sendall(piece)
            wait_until_read(port)
        answer = rest(raw)

    assert answer.startswith(b"HTTP/1.1 431 ")
    assert b'"code":"headers_too_large"' in answer
    assert b"application/problem+json" in answer
    assert b"\r\nconnection: close\r\n" in answer
    assert b"\r\nx-content-type-options: nosniff\r\n" in answer


@pytest.mark.parametrize("pause", [0.0, 0.05])
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([header(1, n) for n in range(98)], 200),
        ([header(1, n) for n in range(99)], 431),
        ([header(4000)], 200),
        ([header(4096)], 431),
        ([header(1000, n) for n in range(4)], 200),
        ([header(1000, n) for n in range(5)], 431),
    ],
)
def test_headers_over_number_or_size_are_refused(
    port: int, headers: list[bytes], status: int, pause: float
) -> None:
    head = LAST[:-2] + b"".join(headers) + b"\r\n"
    pieces = [head[: len(head) // 2], head[len(head) // 2 :]] if pause else [head]

    answers = talk(port, *pieces, pause=pause)
    later = talk(port, GET, *pieces, pause=0.05)

    assert answers.startswith(b"HTTP/1.1 %d " % status)
    assert 1 == answers.count(b"HTTP/1.1 ")
    assert [b"200", b"%d" % status] == [part[:3] for part in later.split(b"HTTP/1.1 ")[1:]]


def test_slow_headers_time_out() -> None:
    timer = Timer()
    with served(timed(timer)) as port, connected(port) as raw:
        for n in range(4):
            raw.sendall(POST[n : n + 1])
            wait_until_read(port)  # others are answered
            timer.advance(0.0625)
            assert is_open(raw)
        timer.advance(0.0625)
        answer = rest(raw)

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"headers_too_slow"' in answer


def test_headers_of_a_later_request_get_the_full_timeout() -> None:
    timer = Timer()
    with served(timed(timer)) as port:
        with connected(port) as raw:
            raw.sendall(GET)
            answers = answered(raw)
            timer.advance(0.1875)
            raw.sendall(GET[:10])
            wait_until_read(port)
            timer.advance(0.1875)
            raw.sendall(GET[10:])
            answers += answered(raw)
            raw.sendall(GET)
            answers += answered(raw)
            timer.advance(0.0625)
            raw.sendall(GET[:10])
            wait_until_read(port)
            timer.advance(0.3125)
            answers += rest(raw)
        with connected(port) as raw:
            raw.sendall(GET)
            answers += answered(raw)
            timer.advance(0.0625)
            raw.sendall(GET[:10])
            wait_until_read(port)
            timer.advance(0.3125)
            answers += rest(raw)

    assert [b"200"] * 3 + [b"408", b"200", b"408"] == [
        part[:3] for part in answers.split(b"HTTP/1.1 ")[1:]
    ]


@pytest.mark.parametrize("first", [b"", GET])
@pytest.mark.parametrize("said", [b"", b"\r\n"])
def test_connection_without_a_request_is_closed_without_an_answer(
    first: bytes, said: bytes
) -> None:
    timer = Timer()
    with served(timed(timer), timeout_keep_alive=1) as port, connected(port) as raw:
        raw.sendall(first)
        answers = answered(raw) if first else b""
        with contextlib.suppress(ConnectionError):  # an idle connection may be closed already
            for _ in range(3):
                raw.sendall(said)
                wait_until_read(port)
        timer.advance(1.25)
        answers += rest(raw)

    assert (1 if first else 0) == answers.count(b"HTTP/1.1 ")


def test_connection_is_kept_for_a_while_after_an_answer() -> None:
    timer = Timer()
    with served(timed(timer), timeout_keep_alive=1) as port, connected(port) as raw:
        for _ in range(2):
            raw.sendall(GET)
            answered(raw)
            timer.advance(0.875)
            assert is_open(raw)
        timer.advance(0.25)

        assert b"" == rest(raw)


def test_invalid_http_is_refused_with_a_problem(port: int) -> None:
    answer = talk(port, b"what?\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'"code":"malformed_request"' in answer


def test_invalid_http_behind_an_unanswered_request_gets_no_problem(
    port: int, release: Callable[[], None]
) -> None:
    answer = talk(port, HELD + b"what?\r\n\r\n")
    release()

    assert b"malformed_request" not in answer


@pytest.mark.parametrize("pieces", [1, 2, 7])
def test_pipelined_requests_are_answered_in_order_in_any_chunks(port: int, pieces: int) -> None:
    post = POST + b"Content-Length: 100000\r\n\r\n" + bytes(100_000)
    small = POST + b"Content-Length: 5\r\n\r\nhello"
    said = GET + small + post + GET + small + small + post + LAST
    size = len(said) // pieces + 1

    answers = talk(port, *(said[at : at + size] for at in range(0, len(said), size)), pause=0.02)

    bodies = [part.split(b" ")[0] for part in answers.split(b"<")[1:]]
    assert [b"0", b"5", b"100000", b"0", b"5", b"5", b"100000", b"0"] == bodies

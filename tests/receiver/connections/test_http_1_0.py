"""Answers of unknown length, to clients of HTTP/1.0 and of HTTP/1.1."""

import pytest

from raw_http import LAST, Small, connected, talk
from receiver.app import create_app
from servers import Clock, serve


def parted(answer: bytes) -> tuple[list[bytes], bytes]:
    """The lines of an answer's head in small letters, and its body."""
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.lower().split(b"\r\n"), body


@pytest.mark.parametrize("version", [b"0.9", b"1.0"])
@pytest.mark.parametrize("asked", [b"", b"Connection: keep-alive\r\n"])
def test_answer_without_length_ends_with_the_connection_for_http_1_0(
    port: int, version: bytes, asked: bytes
) -> None:
    lines, body = parted(talk(port, b"GET /stream HTTP/%b\r\n%b\r\n" % (version, asked)))

    assert b"one,two" == body
    assert b"connection: close" in lines
    assert not {b"transfer-encoding: chunked", b"connection: keep-alive"} & {*lines}


@pytest.mark.parametrize("path", [b"/stream", b"/echo"])
def test_head_of_http_1_0_has_no_body(port: int, path: bytes) -> None:
    lines, body = parted(talk(port, b"HEAD %b HTTP/1.0\r\n\r\n" % path))

    assert (b"", False) == (body, b"transfer-encoding: chunked" in lines)


def test_answer_with_length_keeps_its_length_for_http_1_0(port: int) -> None:
    lines, body = parted(talk(port, b"GET /echo HTTP/1.0\r\n\r\n"))

    assert (b"<0 >", True) == (body, b"content-length: 4" in lines)


def test_answer_without_length_is_chunked_for_http_1_1(port: int) -> None:
    answer = talk(port, LAST.replace(b"/echo", b"/stream"))

    lines, body = parted(answer)
    assert b"transfer-encoding: chunked" in lines
    assert b"4\r\none,\r\n3\r\ntwo\r\n0\r\n\r\n" == body


def test_http_1_0_gets_no_continue(port: int) -> None:
    head = b"POST /echo HTTP/1.0\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"

    assert talk(port, head, b"hello", pause=0.3).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("path", [b"/events/stream", b"/sd/prometheus"])
def test_streams_of_the_receiver_are_sent_plain_to_http_1_0(
    sqlite_url: str, clock: Clock, path: bytes
) -> None:
    receiver = create_app(environ={"FLEET_DATABASE_URL": sqlite_url}, clock=clock)
    with serve(receiver, http=Small) as client, connected(client.base_url.port or 0) as raw:
        raw.sendall(b"GET %b HTTP/1.0\r\n\r\n" % path)
        answer = b""
        while not answer.endswith((b"\n\n", b"[]")):
            piece = raw.recv(1000)
            assert piece, answer
            answer += piece

    lines, body = parted(answer)
    assert b"connection: close" in lines
    assert not {b"transfer-encoding: chunked", b"connection: keep-alive"} & {*lines}
    assert body in {b"[]", b"id: 0\nretry: 2000\n\n"}

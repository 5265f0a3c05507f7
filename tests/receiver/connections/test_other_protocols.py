"""Requests for another protocol or a tunnel, and those without a Host."""

import pytest

from raw_http import GET, LAST, POST, connected, talk
from receiver.app import create_app
from servers import Clock, serve

H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"


@pytest.mark.parametrize("protocol", [b"h2c", b"websocket", b"TLS/1.0"])
@pytest.mark.parametrize("framing", ["length", "chunked", "pieces"])
def test_body_of_a_request_that_asks_for_another_protocol_is_read(
    port: int, protocol: bytes, framing: str
) -> None:
    """As Java's HttpClient and `curl --http2` do."""
    upgrade = H2C.replace(b"h2c", protocol)
    if framing == "chunked":
        pieces = [
            POST + upgrade + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n" + LAST
        ]
    else:
        pieces = [POST + upgrade + b"Content-Length: 5\r\n\r\nhello" + LAST]
    if framing == "pieces":
        pieces = [pieces[0][n : n + 40] for n in range(0, len(pieces[0]), 40)]

    answers = talk(port, *pieces)

    assert 2 == answers.count(b"HTTP/1.1 200 OK")
    assert b"<5 host," in answers
    assert b"upgrade" not in answers.lower()


@pytest.mark.parametrize("number", [2, 3, 2000])
def test_upgrades_of_many_requests_in_one_read_are_ignored(port: int, number: int) -> None:
    asked = POST + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 5\r\n\r\nhello"

    answers = talk(port, asked * number + LAST)

    assert number == answers.count(b"<5 host,")
    assert number + 1 == answers.count(b"HTTP/1.1 200 OK")


def test_upgrade_of_http_1_0_needs_no_host(port: int) -> None:
    asked = b"GET /echo HTTP/1.0\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"

    assert 1 == talk(port, asked).count(b" 200 OK")


def test_request_that_asks_for_an_upgrade_may_close_the_connection(port: int) -> None:
    """Otherwise the server would keep it, until reading from it takes longer than it may."""
    asked = GET.replace(b"\r\n\r\n", b"\r\nConnection: Upgrade, close\r\nUpgrade: h2c\r\n\r\n")

    assert 1 == talk(port, asked).count(b"HTTP/1.1 200 OK")


def test_upgrade_is_ignored_with_each_request_of_a_connection(port: int) -> None:
    asked = POST + H2C + b"Content-Length: 5\r\n\r\nhello"

    answers = talk(port, asked, asked + GET, LAST)

    assert 4 == answers.count(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize("hosts", [b"", b"Host: a\r\nHost: b\r\n"])
def test_request_without_one_host_is_refused(port: int, hosts: bytes) -> None:
    answer = talk(port, b"GET /echo HTTP/1.1\r\n" + hosts + b"\r\n")

    assert answer.startswith(b"HTTP/1.1 400 Bad Request")
    assert b'"code":"host_missing"' in answer


def test_request_of_http_1_0_needs_no_host(port: int) -> None:
    assert b" 200 OK" in talk(port, b"GET /echo HTTP/1.0\r\n\r\n")


@pytest.mark.parametrize("target", [b"fleet:443", b"/echo", b"http://fleet/echo"])
@pytest.mark.parametrize("upgrade", [b"", H2C])
def test_connect_is_refused(port: int, target: bytes, upgrade: bytes) -> None:
    """Its parser stops after the headers, too."""
    answer = talk(port, b"CONNECT " + target + b" HTTP/1.1\r\nHost: fleet\r\n" + upgrade + b"\r\n")

    assert answer.startswith(b"HTTP/1.1 400 ")


def test_upgrade_hides_no_proxy_before_there_is_a_key(sqlite_url: str) -> None:
    """A proxy on this machine that lets clients upgrade is known by its header Connection."""
    asked = b"GET /servers HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: upgrade\r\n"
    app = create_app(environ={"FLEET_DATABASE_URL": sqlite_url}, clock=Clock())
    with serve(app) as client:
        assert client.base_url.port is not None  # of a server on a socket
        for upgrade in (b"", b"Upgrade: x\r\n"):
            with connected(client.base_url.port) as raw:
                raw.sendall(asked + upgrade + b"\r\n")
                assert raw.recv(1000).startswith(b"HTTP/1.1 403 ")

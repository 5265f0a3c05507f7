"""Requests that the MCP server cannot take, and what does not stop it."""

import socket
from pathlib import Path

import httpx
import pytest

from mcp_agent import HEADERS, PING, called, ids, send
from receiver.app import Tuning, create_app
from receiver.web.agents import mcp_server
from servers import DIRECT, Process, serve


def test_broken_mcp_sdk_does_not_end_the_receiver(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(mcp_server, "_SDK", "receiver.web.agents.nothing")
    with serve(create_app(environ={"FLEET_DATABASE_URL": sqlite_url})) as client:
        first, second = (client.post("/mcp", json=PING, headers=HEADERS) for _ in range(2))
        assert 200 == client.get("/health").status_code

    assert (503, "mcp_unavailable") == (first.status_code, first.json()["code"])
    assert 503 == second.status_code
    assert "the SDK of MCP cannot be imported" in caplog.text


def test_mcp_client_that_disconnects_is_no_error(
    receiver: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_connection((receiver.base_url.host, receiver.base_url.port or 80)) as raw:
        head = "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        raw.sendall(f"{head}Content-Length: 9\r\n\r\n{{".encode())
    for _ in range(3):
        assert 200 == receiver.post("/mcp", json=PING, headers=HEADERS).status_code

    assert "Traceback" not in caplog.text


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Content-Type": "text/plain"}, 415, "unsupported_media_type"),
        ({"Accept": "text/html"}, 406, "not_acceptable"),
    ],
)
def test_mcp_request_in_another_media_type_is_refused(
    receiver: httpx.Client, headers: dict[str, str], status: int, code: str
) -> None:
    answer = receiver.post("/mcp", json=PING, headers=headers)

    assert (status, code) == (answer.status_code, answer.json()["code"])


def test_slow_mcp_message_is_given_up(sqlite_url: str) -> None:
    app = create_app(environ={"FLEET_DATABASE_URL": sqlite_url}, tuning=Tuning(body_seconds=0.1))
    with serve(app) as client:
        url = client.base_url
        with socket.create_connection((url.host, url.port or 0)) as raw:
            head = "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            head += f"Accept: {HEADERS['Accept']}\r\nContent-Length: 99\r\n\r\n"
            raw.sendall(head.encode() + b'{"jsonrpc"')
            answer = raw.makefile("rb").read()  # until the receiver hangs up

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"body_too_slow"' in answer


def test_long_mcp_message_is_refused(receiver: httpx.Client) -> None:
    answer = receiver.post("/mcp", json={**PING, "params": {"x": "x" * 70_000}}, headers=HEADERS)

    assert 413 == answer.status_code


def test_any_worker_answers_any_mcp_request(sqlite_url: str, tmp_path: Path) -> None:
    careful = ("--http=receiver.connections:Careful", "--workers=2")
    process = Process(tmp_path, *careful, FLEET_DATABASE_URL=sqlite_url)
    process.wait_until_healthy()
    try:
        with httpx.Client(base_url=process.url, **DIRECT) as client:
            send(client)
            for mode in ("auto", "legacy") * 12:  # each agent opens connections of its own
                assert ["acme_web"] == ids(called(client, "list_servers", mode)), mode
    finally:
        process.terminate()
        process.wait()

    assert "Traceback" not in process.log.read_text()

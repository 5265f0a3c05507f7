"""Log injection: no request can forge a line of the receiver's log."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import messages
from attacks.law import Target
from servers import Process, wait_until

# The regular expression that finds each forgery in a log that does not escape it.
BREAKS = [
    *("\n", "\r", "\r\n", "\x0b", "\x0c", "\x85", "\u2028", "\u2029", "\x1b[2K\x1b[1G", "\x9b2K"),
    *("\t", "\x08", "\x7f", "\u202e"),
]
FORGED = "INFO:  FORGED by somebody"


@pytest.fixture(params=["text", "json"])
def log_format(request: pytest.FixtureRequest) -> str:
    said: str = request.param
    return said


@pytest.fixture(params=["auto", "receiver.connections:Careful"])
def process(request: pytest.FixtureRequest, tmp_path: Path, log_format: str) -> Iterator[Process]:
    """A receiver in a process of its own, whose whole output goes to a log file."""
    process = Process(
        tmp_path, f"--http={request.param}", FLEET_LOG_FORMAT=log_format, FLEET_OPEN="1"
    )
    try:
        process.wait_until_healthy()
        yield process
    finally:
        process.kill()


def quoted(text: str) -> str:
    return "".join(f"%{byte:02x}" for byte in text.encode())


def attack(target: Target, forged: str) -> None:
    """Send a text in every part of a request and of a message."""
    raw = forged.encode()
    target.ask("GET", f"/servers/{quoted(forged)}")
    target.ask("DELETE", f"/servers/{quoted(forged)}")
    target.ask("GET", f"/{quoted(forged)}?{quoted(forged)}={quoted(forged)}")
    target.ask("GET", f"/static/{quoted(forged)}")
    target.ask("DELETE", f"/keys/{quoted(forged)}")
    target.post("/register", messages.registration(server_id="a", hostname=forged))
    target.post("/heartbeat", messages.slim(server_id=forged, hostname=forged, status=forged))
    target.post("/heartbeat", {forged: forged})
    target.ask("DELETE", "/servers/a")
    for name in ("User-Agent", "X-Request-ID", "Referer", "Last-Event-ID", "Authorization"):
        target.ask("GET", "/servers", headers={name: raw.replace(b"\r", b"").replace(b"\n", b"")})
    # Requests that are invalid HTTP.
    target.send(b"GET /%b HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" % raw)
    target.send(b"%b\r\n\r\n" % raw)
    target.send(b"GET / HTTP/1.1\r\nX: %b\r\n\r\n%b" % (raw, raw), is_page=True)


def test_request_cannot_forge_a_log_line(process: Process, tmp_path: Path, log_format: str) -> None:
    target = Target(host="127.0.0.1", port=process.port, key=None, hidden=())
    for each in BREAKS:
        attack(target, f"x{each}{FORGED}")
        attack(target, f"x{each}{json.dumps({'level': 'INFO', 'message': 'FORGED'})}")
    target.ask("GET", "/the-last-line")
    wait_until(lambda: "/the-last-line" in process.log.read_text())

    log = process.log.read_bytes()
    text = log.decode()
    assert "FORGED" in text  # the attack reached the log
    assert re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202e]", text) is None
    for line in text.split("\n")[:-1]:
        assert not line.lstrip().startswith((FORGED, '{"level": "INFO", "message"'))
    if log_format == "json":
        # Lines before the receiver configures logging have uvicorn's own format.
        lines = text[text.index("\n{") + 1 :].split("\n")[:-1]
        for said in map(json.loads, lines):
            assert {"time", "level", "logger", "message"} <= set(said)
            assert "FORGED" != said["message"]

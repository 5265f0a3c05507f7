"""The log: one line per record, as text or JSON, without keys and bodies."""

import io
import json
import logging
import re
import socket
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from sqlalchemy import Engine
from uvicorn.config import LOGGING_CONFIG
from uvicorn.logging import AccessFormatter, DefaultFormatter

import messages
from receiver.app import create_app
from receiver.domain.errors import InvalidSetting
from receiver.domain.outcomes import Incoming
from receiver.logs import FORMATS, Logs
from receiver.settings import read_settings
from receiver.store import Servers
from receiver.web.headers import begin
from servers import DIRECT, Clock, Process, serve, wait_until

KEY = f"fleetkey_abcdefghij_{'S3cretS3cret' * 4}"[:63]
HOSTILE = 'a\r\nINFO:     forged\x1b[31m\x85\u2028{"level": "forged"}\x00\u202e\ud800z'
JSON = {"Content-Type": "application/json"}


@contextmanager
def written(
    log_format: str, formatter: logging.Formatter | None = None
) -> Iterator[tuple[logging.Logger, io.StringIO]]:
    """A logger while a receiver runs, and the stream that its handler writes to."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    logger = logging.getLogger("receiver.test")
    logger.addHandler(handler)
    logs = Logs()
    logs.begin(log_format)
    try:
        yield logger, stream
    finally:
        logs.end()
        logger.removeHandler(handler)
    assert formatter is handler.formatter


def raised(error: Exception) -> Exception:
    def fail() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        fail()
    return caught.value


def test_json_log_has_one_object_per_line() -> None:
    with written("json") as (logger, stream):
        logger.warning("%s fell %s", "a", "silent", extra={"server": "a", "color_message": "b"})

    (line,) = stream.getvalue().splitlines()
    found = json.loads(line)
    at = found.pop("time")
    assert {
        "level": "WARNING",
        "logger": "receiver.test",
        "message": "a fell silent",
        "server": "a",
    } == found
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", at)
    assert abs(datetime.now(timezone.utc) - datetime.fromisoformat(at[:-1] + "+00:00")).seconds < 60


def test_json_log_has_the_traceback_as_a_string() -> None:
    with written("json") as (logger, stream):
        logger.error("failed\n", exc_info=raised(ValueError(HOSTILE)), stack_info=True)

    (line,) = stream.getvalue().splitlines()
    found = json.loads(line)
    assert found["exception"].startswith("Traceback (most recent call last):\n")
    assert HOSTILE in found["exception"]
    assert found["stack"].startswith("Stack (most recent call last):\n")


def test_json_log_takes_any_message() -> None:
    with written("json") as (logger, stream):
        logger.warning(HOSTILE)
        logger.warning("%s", HOSTILE, extra={"what": [HOSTILE, object, b"\xff", {1, 2}]})

    lines = stream.getvalue().splitlines()
    assert [HOSTILE, HOSTILE] == [json.loads(line)["message"] for line in lines]
    assert stream.getvalue().isascii()


@pytest.mark.parametrize(
    "formatter",
    [
        None,
        logging.Formatter("%(levelname)s %(message)s"),
        DefaultFormatter("%(levelprefix)s %(message)s", use_colors=False),
    ],
)
def test_text_log_indents_continuation_lines(formatter: logging.Formatter | None) -> None:
    with written("text", formatter) as (logger, stream):
        logger.warning(HOSTILE)
        logger.warning("%s and %r\n", HOSTILE, HOSTILE)
        logger.error("failed", exc_info=raised(ValueError(HOSTILE)), stack_info=True)

    lines = stream.getvalue().splitlines()
    records = [line for line in lines if not line.startswith("    ")]
    escaped = r"a\r\nINFO:     forged\x1b[31m\x85\u2028"
    assert 3 == len(records)
    assert escaped in records[0]
    assert f"{escaped}{{" in records[1]
    assert records[2].endswith("failed")
    assert r"    INFO:     forged\x1b[31m\x85\u2028" in "\n".join(lines)
    assert all(line.isprintable() for line in lines)


def test_access_log_line_keeps_the_format_of_uvicorn() -> None:
    formatter = AccessFormatter(LOGGING_CONFIG["formatters"]["access"]["fmt"], use_colors=False)
    with written("text", formatter) as (logger, stream):
        logger.error('%s - "%s %s HTTP/%s" %d', "1.2.3.4\x9b:5", "GET", "/a?b\x85", "1.1", 200)

    assert 'ERROR:    1.2.3.4\\x9b:5 - "GET /a?b\\x85 HTTP/1.1" 200 OK\n' == stream.getvalue()


def test_text_log_keeps_the_colours_of_uvicorn() -> None:
    formatter = DefaultFormatter("%(levelprefix)s %(message)s", use_colors=True)
    with written("text", formatter) as (logger, stream):
        logger.error("Process [%d]", 5, extra={"color_message": "Process [\x1b[36m%d\x1b[0m]"})

    assert stream.getvalue().endswith("Process [\x1b[36m5\x1b[0m]\n")


def test_custom_formatter_keeps_its_output() -> None:
    class Own(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            return f"{record.getMessage()} | {record.exc_info is not None}"

    with written("text", Own()) as (logger, stream):
        logger.error("%s with %s", "a\nb", KEY, exc_info=raised(ValueError()))

    assert "a\\nb with fleetkey_abcdefghij_*** | True\n" == stream.getvalue()


@pytest.mark.parametrize("log_format", FORMATS)
def test_key_is_masked_in_the_log(log_format: str) -> None:
    with written(log_format) as (logger, stream):
        logger.warning("Bearer %s", KEY, extra={"key": KEY})
        logger.warning({"key": KEY})
        logger.error("%r", KEY.encode(), exc_info=raised(ValueError(f"{KEY}\n{KEY}")))

    assert KEY[-20:] not in stream.getvalue()
    assert "fleetkey_abcdefghij_***" in stream.getvalue()


def test_key_in_a_path_is_masked_in_the_access_log() -> None:
    form = '%(client_addr)s "%(request_line)s" %(status_code)s'
    with written("text", AccessFormatter(form, use_colors=False)) as (logger, stream):
        said = ("10.0.0.1:5", "GET", f"/registry/{KEY}/v0.1/servers", "1.1", 200)
        logger.warning('%s - "%s %s HTTP/%s" %d', *said)

    line = '10.0.0.1:5 "GET /registry/fleetkey_abcdefghij_***/v0.1/servers HTTP/1.1" 200 OK\n'
    assert line == stream.getvalue()


@pytest.mark.parametrize(("log_format", "shown"), [("text", " [mine]"), ("json", '"mine"')])
def test_log_line_has_the_request_id(log_format: str, shown: str) -> None:
    token = begin({"type": "http", "headers": [(b"x-request-id", b"mine")]})
    with written(log_format) as (logger, stream):
        logger.error("failed", exc_info=raised(ValueError()))
    token.var.reset(token)

    assert shown in stream.getvalue().splitlines()[0]


def test_logging_configuration_is_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.root, "handlers", [])
    loggers = [logging.getLogger(name) for name in ("receiver", "receiver.audit")]

    def state() -> list[Any]:
        shown = warnings.showwarning
        return [[*logging.root.handlers], [each.level for each in loggers], shown]

    before = state()
    logs = Logs()
    logs.begin("json")
    during = state()
    logs.end()

    assert all(one != other for one, other in zip(before, during, strict=True))
    assert before == state()


@pytest.mark.parametrize("formats", [("text", "json"), ("json", "text"), ("json", "json")])
@pytest.mark.parametrize("first_ends_first", [True, False])
def test_two_receivers_in_a_process_restore_the_logging(
    monkeypatch: pytest.MonkeyPatch, formats: tuple[str, str], *, first_ends_first: bool
) -> None:
    formatter = logging.Formatter("%(message)s")
    handler = logging.NullHandler()
    handler.setFormatter(formatter)
    logger = logging.getLogger("receiver.test")
    monkeypatch.setattr(logger, "handlers", [handler])
    both = [Logs(), Logs()]
    for logs, log_format in zip(both, formats, strict=True):
        logs.begin(log_format)
    for logs in both if first_ends_first else reversed(both):
        logs.end()

    assert formatter is handler.formatter
    assert logging.NOTSET == logging.getLogger("receiver").level


def test_warnings_captured_before_stay_captured() -> None:
    with warnings.catch_warnings():
        logging.captureWarnings(capture=True)
        shown = warnings.showwarning
        logs = Logs()
        logs.begin("text")
        logs.end()
        still = warnings.showwarning
        logging.captureWarnings(capture=False)

    assert shown is still


def test_record_without_a_handler_is_written_to_stderr_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(logging.root, "handlers", [])
    uvicorn = logging.getLogger("uvicorn")
    monkeypatch.setattr(uvicorn, "handlers", [logging.StreamHandler(stream)])
    monkeypatch.setattr(uvicorn, "propagate", True)
    logs = Logs()
    logs.begin("text")
    logging.getLogger("receiver.audit").info("audited")
    logging.getLogger("sqlalchemy.pool").warning("pooled")
    logging.getLogger("uvicorn.error").error("erred")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("warned", UserWarning, stacklevel=1)
    logs.end()

    lines = stream.getvalue().splitlines()
    assert 4 == len(lines)
    assert ["INFO:     receiver.audit: audited", "WARNING:  sqlalchemy.pool: pooled"] == lines[:2]
    assert "erred" == lines[2]
    assert lines[3].startswith("WARNING:  py.warnings: ")


def test_records_are_written_without_uvicorn(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    for name in (None, "uvicorn"):
        monkeypatch.setattr(logging.getLogger(name), "handlers", [])
    monkeypatch.setattr(logging.getLogger("uvicorn"), "propagate", True)
    monkeypatch.setattr(logging.getLogger("uvicorn.error"), "level", logging.NOTSET)
    logs = Logs()
    logs.begin("text")
    logging.getLogger("receiver.other").info("said")
    logging.getLogger("uvicorn.error").error("erred")
    logs.end()

    assert ["INFO:     receiver.other: said", "ERROR:    uvicorn.error: erred"] == [
        *stream.getvalue().splitlines()
    ]


@pytest.mark.parametrize("said", ["", "JSON", "xml", "text "])
def test_unknown_log_format_is_refused(said: str) -> None:
    with pytest.raises(InvalidSetting, match=r"^FLEET_LOG_FORMAT: expected one of text, json, got"):
        read_settings({"FLEET_LOG_FORMAT": said})


@pytest.mark.parametrize("log_format", FORMATS)
def test_hostile_message_cannot_forge_a_log_line(tmp_path: Path, log_format: str) -> None:
    receiver = Process(tmp_path, FLEET_LOG_FORMAT=log_format)
    receiver.wait_until_healthy()
    hostname = HOSTILE.replace("\x00", "").replace("\ud800", "")
    name = "a\u2028INFO:     forged\u202e"  # allowed in JSON and in a server_id
    with httpx.Client(base_url=receiver.url, **DIRECT) as client:
        for _ in range(2):
            client.post("/heartbeat", json=messages.slim(server_id=name, hostname=hostname))
        client.delete(f"/servers/{quote(name)}")
        client.get("/servers?q=%0AINFO:%0D%85%E2%80%A8", headers={b"X-Request-ID": b"a\x85b"})
        client.get("/health", headers={b"X-Forwarded-For": b"1.2.3.4\x85INFO: forged\x9b"})
    with socket.create_connection(("127.0.0.1", receiver.port)) as raw:
        raw.sendall(b"GET /\x1b[31m\x85 HTTP/1.1\r\nX: \x0b\r\n\r\n")
        raw.recv(1000)
    receiver.terminate()
    receiver.wait()

    lines = receiver.log.read_text().splitlines()
    if log_format == "json":
        # uvicorn logs two lines before the receiver starts and two after it has ended.
        lines = [json.dumps(json.loads(line)) for line in lines[2:-2]]
    assert all(line.isprintable() for line in lines)
    assert all(re.match(r"(INFO|WARNING): |{\"time\": ", line) for line in lines)
    assert 1 == sum("deleted the server" in line for line in lines)
    assert 1 == sum("Invalid HTTP request" in line for line in lines)
    assert 1 == sum("1.2.3.4" in line for line in lines)


def test_log_level_and_no_access_log_of_uvicorn_are_kept(tmp_path: Path) -> None:
    receiver = Process(tmp_path, "--no-access-log", "--log-level=warning")
    receiver.wait_until_healthy()
    httpx.post(f"{receiver.url}/heartbeat", json=messages.slim(server_id="a"), **DIRECT)
    httpx.delete(f"{receiver.url}/servers/a", **DIRECT)
    receiver.terminate()
    receiver.wait()

    lines = receiver.log.read_text().splitlines()
    assert ["receiver.access.gate", "receiver.audit"] == [line.split()[1][:-1] for line in lines]


@pytest.mark.parametrize("log_format", FORMATS)
def test_file_that_is_no_database_stops_the_start(tmp_path: Path, log_format: str) -> None:
    """The log says so in the chosen format."""
    file = tmp_path / "fleet.db"
    file.write_text("this is no database, but as long as the header of one that is broken" * 20)
    receiver = Process(tmp_path, FLEET_LOG_FORMAT=log_format)

    assert 3 == receiver.wait()
    log = receiver.log.read_text()
    assert "file is not a database" in log
    assert ('"logger": "uvicorn.error"' in log) == (log_format == "json")


def answers(receiver: httpx.Client, mark: str) -> list[int]:
    """Send valid and invalid messages with a key and marked values; the statuses."""
    headers = {**JSON, "Authorization": f"Bearer {KEY}"}
    beat = messages.heartbeat(server_id=mark, hostname=mark)
    bodies = [
        json.dumps(beat)[:-1],
        json.dumps(beat) + " " * 70_000,
        json.dumps({**beat, "port": mark}),
        json.dumps(beat),
    ]
    posts = [receiver.post("/heartbeat", content=each, headers=headers) for each in bodies]
    return [each.status_code for each in posts]


@pytest.mark.parametrize("log_format", FORMATS)
def test_keys_and_bodies_are_not_logged(  # noqa: PLR0917 - fixtures
    database_url: str,
    engine: Engine,
    clock: Clock,
    log_format: str,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mark = "m4rk3d-v4lu3"
    environ = {"FLEET_DATABASE_URL": database_url, "FLEET_LOG_FORMAT": log_format}
    statuses = []
    with serve(create_app(environ=environ, clock=clock)) as receiver:
        statuses += answers(receiver, mark)
        with engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE servers RENAME TO elsewhere")
        statuses += answers(receiver, mark)
        with engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE elsewhere RENAME TO servers")
    monkeypatch.setattr(Servers, "apply", failing)
    with serve(create_app(environ=environ, clock=clock)) as receiver:
        statuses += answers(receiver, mark)

    shown = "".join([*capfd.readouterr(), caplog.text])
    assert [400, 413, 422, 200] == statuses[:4]
    assert 500 <= statuses[7]
    assert [400, 413, 422, 500] == statuses[8:]
    assert "is broken" in shown
    assert KEY[-20:] not in shown
    assert mark not in shown


def failing(_: Servers, incoming: Sequence[Incoming], *, allowed: object) -> None:
    raise LookupError("the store is broken")


def test_records_still_reach_handlers_of_the_root_logger(
    sqlite_url: str, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    with serve(create_app(environ={"FLEET_DATABASE_URL": sqlite_url}, clock=clock)) as receiver:
        receiver.post("/heartbeat", json=messages.slim(server_id="a"))
        receiver.delete("/servers/a")
        wait_until(lambda: bool(caplog.records))

    assert "deleted the server 'a'" in caplog.text
    assert {"receiver.access.gate", "receiver.audit"} == {each.name for each in caplog.records}

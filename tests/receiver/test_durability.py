"""Acknowledged messages survive kills of the receiver and failures of its database."""

import json
import socket
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest

import messages
from receiver.app import create_app
from servers import DIRECT, PATIENCE_SECONDS, Process, receiver_process, serve, wait_until


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """SQLite only, since the tests damage or lock the file."""
    return sqlite_url


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Lock the database as another program, so that the receiver cannot write."""
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.close()


def counts(url: str) -> dict[str, int]:
    answer = httpx.get(f"{url}/servers", **DIRECT)
    servers = answer.json()["servers"]
    return {server["server_id"]: server["heartbeat_count"] for server in servers}


@contextmanager
def next_receiver(folder: Path) -> Iterator[httpx.Client]:
    """A receiver in this process on the database that another one has left in its folder."""
    url = f"sqlite:///{folder / 'fleet.db'}"
    with serve(create_app(environ={"FLEET_DATABASE_URL": url})) as client:
        yield client


def test_every_acknowledged_message_survives_kill_9(tmp_path: Path) -> None:
    """The receiver has no settings, so that its database is in the folder where it runs."""
    acknowledged = {f"s{n}": 0 for n in range(8)}

    def phone_home(server_id: str, url: str) -> None:
        with httpx.Client(base_url=url, **DIRECT) as client:
            while True:
                try:
                    answer = client.post("/heartbeat", json=messages.slim(server_id=server_id))
                except httpx.TransportError:
                    return
                acknowledged[server_id] += answer.status_code == 200
                if server_id == "s0" and acknowledged["s0"] == 50:
                    fifty_acknowledged.set()

    fifty_acknowledged = threading.Event()
    with receiver_process(tmp_path) as first:
        threads = [threading.Thread(target=phone_home, args=(s, first.url)) for s in acknowledged]
        for thread in threads:
            thread.start()
        assert fifty_acknowledged.wait(PATIENCE_SECONDS)
        first.kill()
        for thread in threads:
            thread.join()
    with next_receiver(tmp_path) as second:
        kept = counts(str(second.base_url))

    # The last heartbeat of each server may be committed although its answer was lost.
    lost = {s: (n, kept[s]) for s, n in acknowledged.items() if not n <= kept[s] <= n + 1}
    assert {} == lost


def test_record_is_unchanged_after_kill_9(tmp_path: Path) -> None:
    with receiver_process(tmp_path) as first:
        httpx.post(f"{first.url}/register", json=messages.registration(), **DIRECT)
        httpx.post(f"{first.url}/heartbeat", json=messages.heartbeat(), **DIRECT)
        before = httpx.get(f"{first.url}/servers/acme_web-1", **DIRECT).json()
        first.kill()
    with next_receiver(tmp_path) as second:
        after = second.get("/servers/acme_web-1").json()

    assert before == after


def test_stopping_receiver_answers_accepted_messages(tmp_path: Path) -> None:
    """The body arrives when the receiver has begun to stop, and so it is written after that."""
    content = json.dumps(messages.slim()).encode()
    head = f"POST /heartbeat HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(content)}\r\n"
    head += "Content-Type: application/json\r\n\r\n"

    with (
        receiver_process(tmp_path) as first,
        socket.create_connection(("127.0.0.1", first.port), PATIENCE_SECONDS) as sender,
    ):
        sender.sendall(head.encode())
        assert {} == counts(first.url)  # so the receiver has accepted the earlier connection
        first.terminate()
        wait_until(lambda: "Shutting down" in first.log.read_text())
        sender.sendall(content)
        answer = sender.recv(65536)
        first.wait()
    with next_receiver(tmp_path) as second:
        kept = counts(str(second.base_url))

    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert {"acme_web-1": 1} == kept


@pytest.mark.parametrize("url", ["oracle://me:secret@host/db", "sqlite:///no/such/folder/f.db"])
def test_invalid_database_url_stops_the_start_with_one_sentence(tmp_path: Path, url: str) -> None:
    process = Process(tmp_path, FLEET_DATABASE_URL=url)

    status = process.wait()

    log = process.log.read_text()
    assert 3 == status
    assert "Traceback" not in log
    assert "secret" not in log
    named = "sqlite:///no/such/folder/f.db cannot be opened: "
    assert "FLEET_DATABASE_URL" in log or f"{named}the database does not answer: unable to" in log


def is_taken(process: Process) -> bool:
    """Send a heartbeat, which is refused while another receiver keeps the database locked."""
    answer = httpx.post(
        f"{process.url}/heartbeat",
        json=messages.slim(),
        **DIRECT,
    )
    assert answer.status_code in {200, 503}
    return answer.status_code == 200


def test_three_receivers_start_on_one_new_database_concurrently(tmp_path: Path) -> None:
    processes = [Process(tmp_path) for _ in range(3)]
    try:
        for process in processes:
            process.wait_until_healthy()
            wait_until(partial(is_taken, process))
        assert {"acme_web-1": 3} == counts(processes[0].url)
    finally:
        for process in processes:
            process.kill()


def test_locked_database_is_answered_with_503_without_a_change(
    receiver: httpx.Client, tmp_path: Path
) -> None:
    receiver.post("/heartbeat", json=messages.heartbeat())
    with locked(tmp_path / "fleet.db"):
        answer = receiver.post("/heartbeat", json=messages.slim(), timeout=PATIENCE_SECONDS)

    assert (503, "store_unavailable") == (answer.status_code, answer.json()["code"])
    assert "5" == answer.headers["retry-after"]
    assert 1 == receiver.get("/servers/acme_web-1").json()["heartbeat_count"]
    assert 200 == receiver.post("/heartbeat", json=messages.slim()).status_code


def test_database_without_its_tables_is_answered_with_503_without_details(
    receiver: httpx.Client, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The details are in the log: one line for each request."""
    receiver.post("/heartbeat", json=messages.heartbeat())
    with sqlite3.connect(tmp_path / "fleet.db") as other:
        for table in ("servers", "liveness"):
            other.execute(f"ALTER TABLE {table} RENAME TO no_{table}")
    other.close()

    reads = [("GET", path) for path in ("/health", "/servers", "/servers/acme_web-1")]
    for method, path in [*reads, ("DELETE", "/servers/acme_web-1")]:
        caplog.clear()
        answer = receiver.request(method, path)
        assert (503, "store_unavailable") == (answer.status_code, answer.json()["code"])
        assert "table" not in answer.json()["detail"]
        lines = [each for each in caplog.records if each.name == "receiver.web.problems"]
        assert [("WARNING", None)] == [(each.levelname, each.exc_info) for each in lines]
        assert "no such table: " in lines[0].getMessage()


@pytest.mark.usefixtures("sqlite_url")
def test_unexpected_error_is_logged_and_changes_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with sqlite3.connect(tmp_path / "fleet.db") as other:
        other.execute(
            "CREATE TRIGGER no BEFORE INSERT ON servers BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
    other.close()

    with next_receiver(tmp_path) as receiver:
        answer = receiver.post("/heartbeat", json=messages.slim(hostname="a-private-name"))
        kept = counts(str(receiver.base_url))

    log = capfd.readouterr().err  # the receiver logs the error after it has answered
    assert (500, "internal_error") == (answer.status_code, answer.json()["code"])
    assert "Nothing was changed" in answer.json()["detail"]
    assert "Traceback" not in answer.text
    assert "IntegrityError" in log
    assert "a-private-name" not in log
    assert "close" == answer.headers["connection"]
    assert {} == kept

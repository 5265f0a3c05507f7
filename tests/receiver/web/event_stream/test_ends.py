"""Event streams during an outage of the database, and at the end of a receiver."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest
from sqlalchemy import make_url
from sse_starlette.sse import AppStatus

from contract import Heartbeat
from event_streams import make_events, make_long_events, receiver_of, slow_client, stream
from postgres import Postgres
from proxy import Once, Proxy
from receiver.domain.outcomes import Incoming
from receiver.store import SqlStore
from servers import DIRECT, Clock, Process, wait_until

pytestmark = pytest.mark.both_databases


@contextmanager
def proxied(postgres: Postgres, url: str) -> Iterator[tuple[Proxy, str]]:
    """A proxy before PostgreSQL, and the URL that leads through it to the database of `url`."""
    with closing(Proxy(postgres)) as proxy:
        yield proxy, url.replace(str(postgres.socket_folder), str(proxy.folder))


def test_stream_continues_after_a_database_outage(postgres: Postgres, postgresql_url: str) -> None:
    with (
        proxied(postgres, postgresql_url) as (proxy, url),
        receiver_of(url) as receiver,
        stream(receiver.base_url) as live,
        closing(SqlStore(make_url(postgresql_url))) as other,
    ):
        make_events(receiver, "a")
        live.wait_for(1)
        proxy.refuse()
        proxy.cut_all()
        refused = receiver.get("/events/stream")
        other.servers.apply([Incoming(Heartbeat(server_id="b"), Clock()())])
        proxy.listen()
        live.wait_for(2)

    assert [("registered", "a"), ("registered", "b")] == live.news
    assert (503, "store_unavailable") == (refused.status_code, refused.json()["code"])


def test_stream_ends_when_missed_events_cannot_be_read(
    postgres: Postgres, postgresql_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    query = "?kind=registered"
    with proxied(postgres, postgresql_url) as (proxy, url), receiver_of(url) as receiver:
        make_events(receiver, "a")
        # The feed reads events of all kinds, so this is no query of the feed.
        proxy.request_passes = cut = Once(b"events.kind IN ")
        with stream(receiver.base_url, query, after=0) as live:
            wait_until(lambda: live.ended is not None)
        assert cut.happened
        with stream(receiver.base_url, query, after=0) as again:
            again.wait_for(1)

    assert ([], True) == (live.messages, live.ended)
    assert "A stream of events ends" in caplog.text


def test_stream_ends_with_its_receiver(
    receiver: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stream(receiver.base_url) as live:
        monkeypatch.setattr(AppStatus, "should_exit", True)  # as a signal does
        wait_until(lambda: live.ended is not None)

    assert live.ended


class PatientProcess(Process):
    """A receiver in a process of its own, which waits for slow clients as long as it runs."""

    app = "patient_streams:app"

    def __init__(self, folder: Path, **environ: str) -> None:
        super().__init__(folder, f"--app-dir={Path(__file__).parents[3]}", **environ)


@contextmanager
def patient_receiver(folder: Path, **environ: str) -> Iterator[Process]:
    process = PatientProcess(folder, **environ)
    try:
        process.wait_until_healthy()
        yield process
    finally:
        process.kill()


def test_receiver_with_open_streams_stops_without_waiting_for_clients(
    database_url: str, tmp_path: Path
) -> None:
    with (
        patient_receiver(tmp_path, FLEET_DATABASE_URL=database_url) as process,
        httpx.Client(base_url=process.url, **DIRECT) as client,
        stream(process.url) as live,
        stream(process.url, "?kind=deleted") as quiet,
        slow_client(process.url),
    ):
        make_long_events(client, live)
        process.terminate()
        process.wait()
        wait_until(lambda: None not in (live.ended, quiet.ended))

    assert (True, True) == (live.ended, quiet.ended)
    assert "ERROR" not in process.log.read_text()
    assert "Traceback" not in process.log.read_text()

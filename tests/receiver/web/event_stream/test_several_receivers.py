"""The event streams of several receivers on one database."""

import threading
from contextlib import closing

import httpx
import pytest
from sqlalchemy import make_url

from contract import Heartbeat
from event_streams import NEVER, make_events, receiver_of, stream, timeline
from postgres import Postgres
from receiver.app import Tuning
from receiver.domain.outcomes import Incoming
from receiver.store import SqlStore
from servers import Clock, wait_until

pytestmark = pytest.mark.both_databases


@pytest.mark.parametrize("written_by", ["first", "second"])
def test_events_of_another_receiver_are_read_when_it_tells_of_them(
    postgres: Postgres, postgresql_url: str, written_by: str
) -> None:
    """The receivers never read events without being told that there are any."""

    def listeners() -> str:
        database = str(make_url(postgresql_url).database)
        return postgres.sql(
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE datname = current_database() AND query LIKE 'LISTEN %'",
            database=database,
        )

    told = Tuning(feed_seconds=NEVER)
    with (
        receiver_of(postgresql_url, told) as first,
        receiver_of(postgresql_url, told) as second,
        stream(first.base_url) as live,
    ):
        writer = {"first": first, "second": second}[written_by]
        wait_until(lambda: listeners() == "2")
        for n in range(1, 6):
            make_events(writer, f"s{n}")
            live.wait_for(n)

    assert [("registered", f"s{n}") for n in range(1, 6)] == live.news


def test_streams_of_two_receivers_have_the_same_order(postgresql_url: str) -> None:
    with (
        receiver_of(postgresql_url) as first,
        receiver_of(postgresql_url) as second,
        stream(first.base_url) as one,
        stream(second.base_url) as other,
    ):

        def go_on(receiver: httpx.Client, name: str) -> None:
            for n in range(40):
                make_events(receiver, *(f"{name}{n}-{k}" for k in range(5)))

        writers = [
            threading.Thread(target=go_on, args=args) for args in [(first, "a"), (second, "b")]
        ]
        for each in writers:
            each.start()
        for each in writers:
            each.join()
        one.wait_for(400)
        other.wait_for(400)

        assert [event["id"] for event in timeline(first)] == one.ids == other.ids


def test_events_of_another_process_on_sqlite_arrive(sqlite_url: str) -> None:
    with (
        receiver_of(sqlite_url) as receiver,
        stream(receiver.base_url) as live,
        closing(SqlStore(make_url(sqlite_url))) as other,
    ):
        other.servers.apply([Incoming(Heartbeat(server_id="a"), Clock()())])
        live.wait_for(1)

    assert [("registered", "a")] == live.news

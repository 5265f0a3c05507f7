"""Servers of keys that were revoked or have expired: marked in lists, and counted nowhere."""

from datetime import timedelta
from typing import Any

import httpx
import pytest
from attrs import evolve

import messages
from keyring import bearer, keep, made
from receiver.app import create_app
from servers import Clock, serve


def counts(receiver: httpx.Client) -> tuple[int, str, str]:
    """What `/health`, the first tile and `/metrics` say of how many servers there are."""
    tile = receiver.get("/").text.partition('<span class="number">')[2].partition("<")[0]
    (line,) = [
        line
        for line in receiver.get("/metrics").text.splitlines()
        if line.startswith('fleet_servers{stage="production",state="up"}')
    ]
    return receiver.get("/health").json()["server_count"], tile, line.rpartition(" ")[2]


@pytest.mark.both_databases
def test_servers_of_an_expired_key_are_listed_and_marked_and_not_counted(
    database_url: str, clock: Clock
) -> None:
    """The key expires while the receiver runs, and nothing is written."""
    (viewer, reads), kept, soon = made("viewer"), made("agent"), made("agent")
    keep(database_url, viewer, kept[0])
    keep(database_url, evolve(soon[0], expires_at=clock.now + timedelta(seconds=60)))
    app = create_app(environ={"FLEET_DATABASE_URL": database_url}, clock=clock)
    with serve(app) as receiver:
        for name, (_, token) in {"a": kept, "b": soon}.items():
            beat = messages.heartbeat(server_id=name)
            receiver.post("/heartbeat", json=beat, headers=bearer(token)).raise_for_status()
        receiver.headers.update(bearer(reads))
        before = counts(receiver), lapsed(receiver), receiver.get("/").text.count("key lapsed")
        clock.advance(61)
        after = counts(receiver), lapsed(receiver), receiver.get("/").text.count("key lapsed")
        page = receiver.get("/server/b").text
        one = receiver.get("/servers/b").json()["lapsed"]

    assert ((2, "2", "2.0"), {"a": False, "b": False}, 0) == before
    assert ((1, "1", "1.0"), {"a": False, "b": True}, 1) == after
    assert (True, True) == (one, "key lapsed" in page)


def lapsed(receiver: httpx.Client) -> dict[str, Any]:
    servers = receiver.get("/servers", params={"total": "true"}).json()
    assert 2 == servers["total"]
    return {each["server_id"]: each["lapsed"] for each in servers["servers"]}

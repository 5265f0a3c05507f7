"""The record of a server says for which share of the time it was up."""

import httpx
import pytest

import messages
from servers import Clock, wait_until
from timeline import listed

pytestmark = pytest.mark.both_databases


def test_server_json_has_its_availability(receiver: httpx.Client, clock: Clock) -> None:
    beat = messages.slim(server_id="a", heartbeat_interval_seconds=3600.0)
    receiver.post("/heartbeat", json=beat)
    new = receiver.get("/servers/a").json()["availability"]
    for seconds in (6 * 3600.0, 18 * 3600.0):
        clock.advance(seconds)
        kinds = ["late"] if seconds == 6 * 3600.0 else ["late", "down"]
        wait_until(
            lambda kinds=kinds: {*kinds} <= {k for k, _ in listed(receiver.get("/events"))}  # type: ignore[misc]  # binds it
        )
    down = receiver.get("/servers/a").json()["availability"]
    receiver.post("/heartbeat", json=beat)
    clock.advance(6 * 3600 - 10_000)
    receiver.post("/heartbeat", json=beat)
    clock.advance(4000)
    back = receiver.get("/servers/a").json()["availability"]

    assert {"24h": None, "7d": None, "30d": None} == new
    assert {"24h": 0.25, "7d": 0.25, "30d": 0.25} == down
    hours = 24 + (6 * 3600 - 6000) / 3600
    assert pytest.approx((hours - 18) / hours) == back["7d"] == back["30d"]
    assert pytest.approx((24 - 18) / 24) == back["24h"]


def test_server_that_is_always_up_has_full_availability(
    receiver: httpx.Client, clock: Clock
) -> None:
    receiver.post("/heartbeat", json=messages.slim(server_id="a"))
    clock.advance(60)

    assert {"24h": 1.0, "7d": 1.0, "30d": 1.0} == receiver.get("/servers/a").json()["availability"]

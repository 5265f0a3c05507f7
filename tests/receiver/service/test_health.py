"""Health: whether messages can be written, by what the receiver has just tried to write."""

import httpx
import pytest
from sqlalchemy import Engine, text

from servers import Clock, wait_until
from watched import lock


def health(receiver: httpx.Client) -> int:
    return receiver.get("/health", timeout=30).status_code


def store_up(receiver: httpx.Client) -> str:
    """The value of the metric that tells whether the database can be written."""
    lines = receiver.get("/metrics", timeout=30).text.splitlines()
    return next(line.split()[1] for line in lines if line.startswith("fleet_store_up "))


def test_receiver_that_cannot_write_is_unhealthy_without_a_message(
    receiver: httpx.Client, engine: Engine, clock: Clock
) -> None:
    """What the watchdog notes every two seconds tells."""

    def is_unhealthy() -> bool:
        clock.advance(3)
        return health(receiver) == 503

    receiver.post("/heartbeat", json={"server_id": "a"}).raise_for_status()
    before = health(receiver), store_up(receiver)
    with engine.begin() as other:
        other.execute(text(lock(engine, "watches")))
        wait_until(is_unhealthy)
        meanwhile = store_up(receiver)
        page = receiver.get("/", timeout=30).text
    wait_until(lambda: health(receiver) == 200)

    assert ((200, "1.0"), "0.0", "1.0") == (before, meanwhile, store_up(receiver))
    assert "Messages of servers cannot be stored." in page


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_receiver_that_could_not_write_the_last_message_is_unhealthy(
    receiver: httpx.Client, engine: Engine
) -> None:
    """The watchdog has not tried to write since then."""
    assert 200 == health(receiver)
    with engine.begin() as other:
        other.execute(text(lock(engine, "servers")))
        answer = receiver.post("/heartbeat", json={"server_id": "a"}, timeout=30)
        found = health(receiver)
    again = receiver.post("/heartbeat", json={"server_id": "a"})

    assert (503, 503) == (answer.status_code, found)
    assert (200, 200) == (again.status_code, health(receiver))

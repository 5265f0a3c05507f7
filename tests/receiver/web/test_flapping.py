"""A server that flaps is marked in the list and on its page, and counted in the metrics."""

import httpx
import pytest

from servers import Clock
from watched import Watched


@pytest.mark.both_databases
def test_flapping_server_is_marked_beside_its_state(receiver: httpx.Client, fleet: Watched) -> None:
    fleet.beat("calm")
    for _ in range(3):
        fleet.beat("a")
        fleet.go_on(150, "calm")
    fleet.beat("a")

    listed = {each["server_id"]: each for each in receiver.get("/servers").json()["servers"]}
    page, one = receiver.get("/").text, receiver.get("/server/a").text
    kinds = [each["kind"] for each in receiver.get("/servers/a/events").json()["events"]]
    assert (None, "2026-01-31T12:02:30Z") == (
        listed["calm"]["flapping_since"],
        listed["a"]["flapping_since"],
    )
    assert ["flapping", "late", "recovered", "late", "recovered", "late"] == kinds[:6]
    assert 1 == page.count('class="state flapping"')
    assert "falling silent and coming back again and again since" in one
    assert "is flapping" in one
    assert "fleet_servers_flapping 1.0" in receiver.get("/metrics").text
    assert 1 == len(receiver.get("/events", params={"kind": "flapping"}).json()["events"])


def test_time_of_flapping_is_drawn_and_counts_as_neither_up_nor_down(
    receiver: httpx.Client, fleet: Watched, clock: Clock
) -> None:
    for _ in range(40):
        fleet.beat("a")
        fleet.go_on(180)
    clock.now = fleet.now

    assert '<path class="flapping"' in receiver.get("/").text
    share = receiver.get("/servers/a").json()["availability"]["24h"]
    assert pytest.approx(450 / 540) == share  # late for three times 30 s, and then flapping

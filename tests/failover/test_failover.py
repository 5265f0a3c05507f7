"""Nothing that was answered is lost when the primary is killed, or hands over, under load."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from statistics import median
from time import monotonic

import httpx
import psycopg
import pytest
from attrs import frozen

from failover.cluster import Cluster, Node, running_cluster
from failover.reader import Reader
from faults.load import Exchange, counts, miscounted, statuses
from faults.senders import keep_sending
from servers import NO_AUTHORITIES, Process, receiver_process

SERVERS = [f"acme-{number:03}" for number in range(240)]
INTERVAL_SECONDS = 5.0
FAILOVERS = 3
ROUTES = ("haproxy", "haproxy", "nodes")
"""How each receiver finds the primary: two by HAProxy, one by the addresses of both nodes."""


@frozen(kw_only=True)
class Change:
    """
    How the primary became another node. Times are those of `time.monotonic`.

    Attributes:
        kind: `failover` or `switchover`.
        began: The old primary was killed, or was asked to hand over.
        writable: The new one had committed a row.
    """

    kind: str
    began: float
    writable: float


@frozen(kw_only=True)
class Observed:
    """
    What was seen around the changes of the primary.

    Attributes:
        seen: The heartbeats that were sent to each receiver.
        kept: `heartbeat_count` of each server at the end.
        events: The number of each event, in order.
        alarms: The events that say that somebody is silent.
        readers: One that stayed connected to each receiver, and one that came back again and
            again, to another receiver each time.
    """

    changes: list[Change]
    seen: list[list[Exchange]]
    kept: dict[str, int]
    events: list[int]
    alarms: list[str]
    readers: list[Reader]

    @property
    def heartbeats(self) -> list[Exchange]:
        return [each for seen in self.seen for each in seen]

    def seconds_until_accepted(self, change: Change) -> list[float]:
        """For each receiver, from when the new primary could be written to its first 200."""
        return [
            min(e.ended for e in seen if e.status == 200 and e.ended > change.writable)
            - change.writable
            for seen in self.seen
        ]


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> Observed:
    with ExitStack() as opened:
        cluster = opened.enter_context(running_cluster())
        urls = cluster.urls()
        receivers = [
            opened.enter_context(
                receiver_process(tmp_path_factory.mktemp(route), FLEET_DATABASE_URL=urls[route])
            )
            for route in ROUTES
        ]
        return asyncio.run(observe(cluster, receivers))


async def observe(cluster: Cluster, receivers: Sequence[Process]) -> Observed:
    seen: list[list[Exchange]] = [[] for _ in receivers]
    urls = [each.url for each in receivers]
    readers = [*(Reader([url]) for url in urls), Reader(urls, stay=1.5)]
    over = asyncio.Event()
    share = len(SERVERS) // len(receivers)
    async with asyncio.timeout(420), asyncio.TaskGroup() as group:
        reading = [group.create_task(reader.read()) for reader in readers]
        for index, receiver in enumerate(receivers):
            servers = SERVERS[index * share : (index + 1) * share]
            group.create_task(
                keep_sending([receiver.port], servers, seen[index], over, interval=INTERVAL_SECONDS)
            )
        await asyncio.sleep(INTERVAL_SECONDS)
        changes = await change_primary(cluster)
        over.set()
        await asyncio.sleep(INTERVAL_SECONDS)  # for answers that are still on their way
        events = all_events(urls[0])
        for reader in readers:
            await reader.read_up_to(events[-1])
        for task in reading:
            task.cancel()
    return Observed(
        changes=changes,
        seen=seen,
        kept=counts(urls[0]),
        events=events,
        alarms=alarms(urls[0]),
        readers=readers,
    )


async def change_primary(cluster: Cluster) -> list[Change]:
    """Kill the primary a few times, then let it hand over; the cluster is whole in between."""
    changes = []
    for _ in range(FAILOVERS):
        old = cluster.primary
        changes.append(await changed(cluster, "failover", old.kill))
        await asyncio.sleep(INTERVAL_SECONDS + 3)
        old.start()
        await asyncio.to_thread(cluster.wait_until_whole)
    changes.append(await changed(cluster, "switchover", cluster.hand_over))
    await asyncio.to_thread(cluster.wait_until_whole)
    await asyncio.sleep(INTERVAL_SECONDS + 3)
    return changes


async def changed(cluster: Cluster, kind: str, cause: Callable[[], None]) -> Change:
    new = cluster.other(cluster.primary)
    began = monotonic()
    asked = asyncio.create_task(asyncio.to_thread(cause))
    writable = await asyncio.to_thread(until_writable, new)
    await asked
    return Change(kind=kind, began=began, writable=writable)


def until_writable(node: Node) -> float:
    with psycopg.connect(node.conninfo("postgres"), autocommit=True) as connection:
        deadline = monotonic() + 60
        while not node.write(connection):
            assert monotonic() < deadline, "the standby has not become the primary"
    return monotonic()


def all_events(url: str) -> list[int]:
    """The number of each event, in order, page by page."""
    found: list[int] = []
    page = {"limit": "1000"}
    while True:
        answer = httpx.get(f"{url}/events", params=page, trust_env=False, verify=NO_AUTHORITIES)
        body = answer.raise_for_status().json()
        found += [event["id"] for event in body["events"]]
        if not body["next_cursor"]:
            return found[::-1]
        page["cursor"] = body["next_cursor"]


def alarms(url: str) -> list[str]:
    found: list[str] = []
    for kind in ("late", "down", "fleet_silent"):
        answer = httpx.get(
            f"{url}/events", params={"kind": kind}, trust_env=False, verify=NO_AUTHORITIES
        )
        found += [f"{kind} {event['server_id']}" for event in answer.json()["events"]]
    return found


def test_every_change_of_the_primary_was_seen(observed: Observed) -> None:
    assert [*["failover"] * FAILOVERS, "switchover"] == [each.kind for each in observed.changes]
    assert {200, 503} <= statuses(observed.heartbeats)


def test_no_acknowledged_heartbeat_is_lost_to_a_failover(observed: Observed) -> None:
    assert {} == miscounted(observed.heartbeats, observed.kept)


def test_receivers_accept_heartbeats_soon_after_the_new_primary_does(observed: Observed) -> None:
    took = [observed.seconds_until_accepted(each) for each in observed.changes]
    for change, seconds in zip(observed.changes, took, strict=True):
        print(  # noqa: T201 - for those who measure
            f"{change.kind}: writable after {change.writable - change.began:.2f} s, accepted",
            *(f"{each:.2f} s later" for each in seconds),
        )
    answered = [each for seconds in took for each in seconds]
    print(f"median {median(answered):.2f} s, worst {max(answered):.2f} s")  # noqa: T201

    assert max(answered) < 3


def test_no_server_that_keeps_sending_is_called_silent(observed: Observed) -> None:
    assert [] == observed.alarms


def test_readers_see_every_event_once_and_in_order(observed: Observed) -> None:
    for reader in observed.readers:
        assert observed.events == reader.numbers
    assert observed.readers[-1].connections > 10

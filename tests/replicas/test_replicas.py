"""
Three Odoo servers under three hostnames run on one database, as replicas behind a load balancer.

They and a real receiver run for `FLEET_REPLICAS_MINUTES`, 10 by default, in which Odoo's own
scheduler sends a heartbeat a minute, each from any of the three; and for longer if one of them has
its first turn late. To the receiver that is one database, which is alive all the time.
"""

import itertools
import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import httpx
import pytest
from attrs import frozen

from contract.fields import parse_moment
from odoo_program import OdooProgram, Server
from phoning import ADDON, administrator, health, our_lines, wait_until_up, wake_scheduler
from servers import Process, receiver_process
from tap import Sent, Tap, tapped

MINUTES = float(os.environ.get("FLEET_REPLICAS_MINUTES", "10"))
HOSTNAMES = ("web-1", "web-2", "web-3")
PROBED, UNPROBED = "replicas_probed", "replicas_unprobed"
NEW_UUID = "UPDATE ir_config_parameter SET value = gen_random_uuid() WHERE key = 'database.uuid'"

# Each would be an alarm about a database that has run all the time.
FALSE_ALARMS = {"rebuilt", "recovered", "late", "down", "restarted", "moved"}

# By so many heartbeats after the first one of a server, a receiver tells a node from a copy.
ENOUGH_HEARTBEATS = 5
# Odoo's scheduler sleeps a minute, unless PostgreSQL notifies it.
SCHEDULE_SECONDS = 70
PROBE_SECONDS = 5
# An administrator logs in once in so many probes.
LOGIN_PROBES = 6


@frozen(kw_only=True)
class Replicas:
    """
    The servers of one database, and their receiver.

    Attributes:
        tap: What the servers of all databases send.
        servers: By their hostnames.
    """

    odoo: OdooProgram
    database: str
    receiver: Process
    tap: Tap
    servers: dict[str, Server]

    def sent(self) -> list[Sent]:
        return self.tap.of(self.database)

    def heartbeats(self) -> list[dict[str, Any]]:
        return [each.message for each in self.sent() if each.path == "/heartbeat"]

    def listed(self) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = self._get("/servers", database=self.database)["servers"]
        return listed

    def events(self) -> list[dict[str, Any]]:
        """The events of all servers of the database, the newest first."""
        events = self._get("/events", limit=1000)["events"]
        return [each for each in events if each["server_id"].startswith(f"{self.database}_")]

    def _get(self, path: str, **query: Any) -> dict[str, Any]:
        url = f"{self.receiver.url}{path}"
        answer = httpx.get(url, params=query, trust_env=False).raise_for_status()
        found: dict[str, Any] = answer.json()
        return found


@pytest.fixture(scope="module")
def both(
    odoo: OdooProgram, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Replicas]]:
    """The replicas of two databases after their run; those of one were probed all the time."""
    folder = tmp_path_factory.mktemp("receiver")
    with ExitStack() as running:
        store = f"sqlite:///{folder}/fleet.db"
        receiver = running.enter_context(receiver_process(folder, FLEET_DATABASE_URL=store))
        tap = running.enter_context(tapped(receiver.url))
        found = {
            database: Replicas(
                odoo=odoo,
                database=database,
                receiver=receiver,
                tap=tap,
                servers=started(odoo, database, tap, running),
            )
            for database in (PROBED, UNPROBED)
        }
        run(found)
        yield found


@pytest.fixture(params=[PROBED, UNPROBED])
def replicas(both: dict[str, Replicas], request: pytest.FixtureRequest) -> Replicas:
    return both[request.param]


def test_each_replica_sends_under_its_hostname(replicas: Replicas) -> None:
    hostnames = {each.message["hostname"] for each in replicas.sent()}

    assert set(HOSTNAMES) == hostnames
    assert [] == [line for server in replicas.servers.values() for line in our_lines(server)]


def test_replicas_continue_each_others_numbers(replicas: Replicas) -> None:
    numbers = [each.message["sequence"] for each in replicas.sent()]

    assert list(range(1, len(numbers) + 1)) == sorted(numbers)


def test_each_replica_registers_once(replicas: Replicas) -> None:
    registered = [s.message["hostname"] for s in replicas.sent() if s.path == "/register"]

    assert dict.fromkeys(HOSTNAMES, 1) == Counter(registered)


def test_heartbeats_come_every_minute(replicas: Replicas) -> None:
    sent = [parse_moment(each["timestamp"]) for each in replicas.heartbeats()]
    minutes = (max(sent) - min(sent)) / timedelta(minutes=1)

    assert minutes > MINUTES - 2
    assert minutes - 2 <= len(sent) - 1 <= minutes + 2


def test_each_replica_tells_one_start_and_all_tell_one_address(replicas: Replicas) -> None:
    messages = [each.message for each in replicas.sent()]

    starts = {(each["hostname"], each["started_at"]) for each in messages}
    assert len(HOSTNAMES) == len(starts)
    assert 1 == len({each["endpoint_url"] for each in messages})


def test_receiver_lists_one_server(replicas: Replicas) -> None:
    assert [replicas.database] == [each["database"] for each in replicas.listed()]


def test_receiver_raises_no_alarm(replicas: Replicas) -> None:
    assert [] == [each for each in replicas.events() if each["kind"] in FALSE_ALARMS]


def test_nothing_is_sent_after_the_farewell(both: dict[str, Replicas]) -> None:
    replicas = both[UNPROBED]
    before = len(replicas.sent())
    server = replicas.servers["web-2"]
    with administrator(server, replicas.database) as call:
        (module,) = call("ir.module.module", "search", [("name", "=", ADDON)])
        call("ir.module.module", "button_immediate_uninstall", [module])
    for _ in every(PROBE_SECONDS, for_seconds=SCHEDULE_SECONDS):
        wake_scheduler(replicas.odoo, replicas.database)

    *others, last = replicas.sent()[before:]
    assert ("uninstalled", "web-2") == (last.message["status"], last.message["hostname"])
    assert len(others) <= 1, "a heartbeat may be due before the uninstallation"
    assert last.message["sequence"] == len(replicas.sent())


def started(odoo: OdooProgram, database: str, tap: Tap, running: ExitStack) -> dict[str, Server]:
    odoo.create_database_with_addon(database)
    odoo.set_parameters(database, phone_home_url=tap.url)
    odoo.postgres.sql(NEW_UUID, database=database)
    servers = {
        hostname: running.enter_context(odoo.server(database, hostname=hostname))
        for hostname in HOSTNAMES
    }
    for server in servers.values():
        wait_until_up(server)
    return servers


def run(both: dict[str, Replicas]) -> None:
    """
    Let the servers run, of which some are probed, and on which an administrator logs in.

    The scheduler is woken, as it is in a database that is used; else one server may take every
    turn. When an action is due stays as it is.
    """
    probed = both[PROBED]
    hosts = itertools.cycle(HOSTNAMES)
    end = time.monotonic() + MINUTES * 60
    for probe, _ in enumerate(every(PROBE_SECONDS, for_seconds=2 * MINUTES * 60)):
        if time.monotonic() > end and all(map(are_known, both.values())):
            break
        for replicas in both.values():
            wake_scheduler(replicas.odoo, replicas.database)
        for server in probed.servers.values():
            assert 200 == health(server).status_code
        if probe % LOGIN_PROBES:
            continue
        # Odoo takes the address of each login for that of the database.
        with administrator(probed.servers[next(hosts)], PROBED):
            pass


def are_known(replicas: Replicas) -> bool:
    """Whether each server has been heard for so long that a receiver can tell whose it is."""
    heard = [each["hostname"] for each in replicas.heartbeats()]
    return set(HOSTNAMES) == set(heard[:-ENOUGH_HEARTBEATS])


def every(seconds: float, *, for_seconds: float) -> Iterator[None]:
    """Yield every so many seconds, until the others have passed."""
    end = time.monotonic() + for_seconds
    while time.monotonic() < end:
        yield
        time.sleep(seconds)

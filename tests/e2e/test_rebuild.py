"""A rebuild changes the hostname, and so the server registers with another `server_id`."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from attrs import frozen

from odoo_program import OdooProgram, Server
from phoning import (
    SCHEDULE_SECONDS,
    get,
    health,
    let_action_run,
    our_lines,
    record_of,
    silent_receiver,
    wait_until_up,
)
from ports import free_port
from servers import PATIENCE_SECONDS, Process, receiver_process, wait_until

DATABASE = "rebuilt"
LAST_HOSTNAME = "SELECT value FROM ir_config_parameter WHERE key = 'mcp.last_hostname'"
NO_CRON = "--max-cron-threads=0"

TIMEOUT_SECONDS = 60


@frozen(kw_only=True)
class Fleet:
    """A database that hosts of different names serve in turn, and its receiver."""

    odoo: OdooProgram
    receiver: Process

    def record(self, hostname: str) -> dict[str, Any] | None:
        return record_of(self.receiver, DATABASE, hostname=hostname)

    def last_hostname(self) -> str:
        return self.odoo.postgres.sql(LAST_HOSTNAME, database=DATABASE)

    def registrations(self) -> int:
        """The number of registrations that the receiver has accepted."""
        return self.receiver.log.read_text().count('"POST /register HTTP/1.1" 20')

    def events(self, kind: str) -> list[dict[str, Any]]:
        answer = get(f"{self.receiver.url}/events").raise_for_status()
        events: list[dict[str, Any]] = answer.json()["events"]
        return [event for event in events if event["kind"] == kind]


@pytest.fixture(scope="module")
def fleet(odoo: OdooProgram, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A Fleet whose database has sent a heartbeat from the host `web-1`."""
    folder = tmp_path_factory.mktemp("receiver")
    odoo.create_database_with_addon(DATABASE)
    with receiver_process(folder, FLEET_DATABASE_URL=f"sqlite:///{folder}/fleet.db") as receiver:
        odoo.set_parameters(DATABASE, phone_home_url=receiver.url)
        fleet = Fleet(odoo=odoo, receiver=receiver)
        with odoo.server(DATABASE, hostname="web-1") as server:
            let_action_run(odoo, server, DATABASE)
            server.wait_until(lambda: _is_heard(fleet.record("web-1")), seconds=SCHEDULE_SECONDS)
        # A last heartbeat of the old server declares a short interval, so that it is down soon.
        last = {"server_id": f"{DATABASE}_web-1", "heartbeat_interval_seconds": 0.5}
        url = f"{fleet.receiver.url}/heartbeat"
        answer = httpx.post(url, json=last, timeout=PATIENCE_SECONDS, trust_env=False)
        answer.raise_for_status()
        yield fleet


def test_next_scheduled_action_registers_a_rebuilt_server(fleet: Fleet) -> None:
    assert "web-1" == fleet.last_hostname()
    with fleet.odoo.server(DATABASE, hostname="web-2") as server:
        let_action_run(fleet.odoo, server, DATABASE)
        server.wait_until(lambda: _is_heard(fleet.record("web-2")), seconds=SCHEDULE_SECONDS)
        server.wait_until(lambda: "web-2" == fleet.last_hostname(), seconds=SCHEDULE_SECONDS)

    old, new = fleet.record("web-1"), fleet.record("web-2")
    assert old is not None
    assert new is not None
    assert new["registered_at"] is not None
    assert old["database_uuid"] == new["database_uuid"]
    assert [] == server.log.complaints()


def test_receiver_shows_the_old_server_as_rebuilt(fleet: Fleet) -> None:
    wait_until(lambda: bool(fleet.events("rebuilt")))
    (event,) = fleet.events("rebuilt")
    assert f"{DATABASE}_web-1" == event["server_id"]
    assert {"superseded_by": f"{DATABASE}_web-2"} == event["details"]


def test_health_request_registers_a_rebuilt_server_without_a_scheduler(
    fleet: Fleet,
) -> None:
    with fleet.odoo.server(DATABASE, NO_CRON, hostname="web-3") as server:
        wait_until_up(server)
        assert fleet.record("web-3") is None
        assert 200 == health(server).status_code
        server.wait_until(lambda: fleet.record("web-3"), seconds=SCHEDULE_SECONDS)
        server.wait_until(lambda: "web-3" == fleet.last_hostname(), seconds=SCHEDULE_SECONDS)

    record = fleet.record("web-3")
    assert record is not None
    assert record["registered_at"] is not None
    assert 0 == record["heartbeat_count"]
    assert [] == server.log.complaints()


def test_workers_and_scheduler_send_one_registration(fleet: Fleet) -> None:
    before = fleet.registrations()
    workers = ("--workers=2", f"--gevent-port={free_port()}")
    with (
        fleet.odoo.server(DATABASE, *workers, hostname="web-4") as server,
        ThreadPoolExecutor(30) as pool,
    ):
        wait_until_up(server)
        asked = [pool.submit(health, server) for _ in range(60)]
        let_action_run(fleet.odoo, server, DATABASE)
        statuses = [each.result().status_code for each in asked]
        statuses += [each.status_code for each in pool.map(health, [server] * 30)]
        server.wait_until(lambda: _is_heard(fleet.record("web-4")), seconds=SCHEDULE_SECONDS)
        # Another process may still be about to register when the heartbeat is heard.
        server.wait_until(lambda: "web-4" == fleet.last_hostname(), seconds=SCHEDULE_SECONDS)
        registered = f"Registered {DATABASE}_web-4"
        server.wait_until(lambda: server.log.lines(registered), seconds=SCHEDULE_SECONDS)

    assert [200] * 90 == statuses
    assert 1 == fleet.registrations() - before
    assert 1 == len(server.log.lines(registered))
    assert [] == server.log.complaints()


def test_health_does_not_wait_for_a_silent_receiver(odoo: OdooProgram, installed: str) -> None:
    with silent_receiver() as silent:
        odoo.set_parameters(
            installed,
            phone_home_url=silent.url,
            phone_home_timeout=str(TIMEOUT_SECONDS),
            phone_home_retries="1",
        )
        with odoo.server(installed, NO_CRON) as server:
            wait_until_up(server)
            health(server)  # the first request loads the registry, which is slow
            server.wait_until(lambda: silent.connections, seconds=SCHEDULE_SECONDS)
            seconds = [_seconds(health, server) for _ in range(20)]
            silent.hang_up()

    assert max(seconds) < TIMEOUT_SECONDS / 4
    assert 1 == silent.connections
    assert [] == [line for line in our_lines(server) if "Phoning home failed" not in line]


def _is_heard(record: dict[str, Any] | None) -> bool:
    return record is not None and bool(record["heartbeat_count"])


def _seconds(work: Callable[[Server], object], server: Server) -> float:
    begun = time.monotonic()
    work(server)
    return time.monotonic() - begun

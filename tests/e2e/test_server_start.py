"""All processes of an Odoo server tell one start: that of its main process."""

from datetime import datetime, timezone
from pathlib import Path

import httpx
import psutil

from odoo_program import OdooProgram, Server
from phoning import ADDON, SCHEDULE_SECONDS, administrator, health, let_action_run, wait_until_up
from ports import free_port
from servers import receiver_process
from tap import Tap, tapped

SEND_NOW = (ADDON, "action_send_heartbeat_now")
FORGET = """
DELETE FROM ir_config_parameter WHERE key = 'mcp.last_hostname';
UPDATE mcp_phone_home_state SET claims = NULL;
"""
IS_REMEMBERED = "SELECT count(*) FROM ir_config_parameter WHERE key = 'mcp.last_hostname'"


def test_every_worker_tells_the_start_of_the_main_process(
    odoo: OdooProgram, installed: str, tmp_path: Path
) -> None:
    port = free_port()
    workers = ("--workers=2", f"--gevent-port={port}")
    with (
        receiver_process(tmp_path, FLEET_DATABASE_URL=f"sqlite:///{tmp_path}/fleet.db") as receiver,
        tapped(receiver.url) as tap,
        odoo.server(installed, *workers) as server,
    ):
        odoo.set_parameters(installed, phone_home_url=tap.url)
        wait_until_up(server)
        let_action_run(odoo, server, installed)
        server.wait_until(lambda: len(tap.sent) == 2, seconds=SCHEDULE_SECONDS)
        send_now(server, installed, times=8)
        forget_the_registration(odoo, server, installed)
        assert 200 == health(server).status_code
        server.wait_until(lambda: len(tap.sent) == 11, seconds=SCHEDULE_SECONDS)
        forget_the_registration(odoo, server, installed)
        asked = httpx.get(f"http://127.0.0.1:{port}/mcp/v1/health", trust_env=False, timeout=30)
        assert 200 == asked.status_code
        server.wait_until(lambda: len(tap.sent) == 12, seconds=SCHEDULE_SECONDS)
        expected = start_of(server.pid)
        answered = server.log.lines("GET /mcp/v1/health")

    assert {expected} == {each.message["started_at"] for each in tap.sent}
    assert list(range(1, 13)) == [each.message["sequence"] for each in tap.sent]
    assert 2 == len({line.split()[2] for line in answered}), "two processes have answered"
    assert [] == server.log.complaints()


def test_restarted_server_tells_a_later_start(
    odoo: OdooProgram, installed: str, tmp_path: Path
) -> None:
    with (
        receiver_process(tmp_path, FLEET_DATABASE_URL=f"sqlite:///{tmp_path}/fleet.db") as receiver,
        tapped(receiver.url) as tap,
    ):
        odoo.set_parameters(installed, phone_home_url=tap.url)
        expected = [one_start(odoo, installed, tap) for _ in range(2)]

    heartbeats = [each.message for each in tap.sent if each.path == "/heartbeat"]
    assert expected == [each["started_at"] for each in heartbeats]
    assert expected[0] < expected[1]


def one_start(odoo: OdooProgram, database: str, tap: Tap) -> str:
    """Start a server for one heartbeat; returns when the operating system has started it."""
    before = len(tap.sent)
    with odoo.server(database) as server:
        let_action_run(odoo, server, database)
        server.wait_until(
            lambda: any(each.path == "/heartbeat" for each in tap.sent[before:]),
            seconds=SCHEDULE_SECONDS,
        )
        return start_of(server.pid)


def forget_the_registration(odoo: OdooProgram, server: Server, database: str) -> None:
    """Let the next probe register the server again, after the last registration is stored."""
    server.wait_until(
        lambda: "1" == odoo.postgres.sql(IS_REMEMBERED, database=database), seconds=SCHEDULE_SECONDS
    )
    odoo.postgres.sql(FORGET, database=database)


def send_now(server: Server, database: str, *, times: int) -> None:
    with administrator(server, database) as call:
        (action,) = call("ir.model.data", "check_object_reference", *SEND_NOW)[1:]
        for _ in range(times):
            call("ir.actions.server", "run", [action])


def start_of(pid: int) -> str:
    seconds = int(psutil.Process(pid).create_time())
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat().replace("+00:00", "Z")

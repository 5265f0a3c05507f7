"""What a receiver asks for in its answers, with several Odoo servers that run on one database."""

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from evil import Evil, answer, evil_server, say
from odoo_program import OdooProgram, Server
from phoning import let_action_be_due, our_lines, runs, wake_scheduler

WISHES = {"status": "ok", "wants": ["registration"], "next_heartbeat_seconds": 120}
AGE = """
UPDATE mcp_phone_home_state
   SET pace = jsonb_set(pace, '{sent_at}', to_jsonb((pace ->> 'sent_at')::float - 60))
 WHERE pace IS NOT NULL
"""
# This is stored last of what the addon does after its first heartbeat.
IS_REGISTERED = "SELECT claims::text LIKE '% started %' FROM mcp_phone_home_state"
DECLARED = "SELECT pace ->> 'declared_seconds' FROM mcp_phone_home_state"
SECONDS = 120


@pytest.fixture
def receiver() -> Iterator[Evil]:
    """A receiver that is never content: each answer asks for a registration, and for patience."""
    body = json.dumps(WISHES).encode()
    with evil_server(say(answer("200 OK", body, "connection: close"))) as server:
        yield server


def test_wishes_hold_for_all_processes_and_survive_a_restart(
    odoo: OdooProgram, installed: str, receiver: Evil
) -> None:
    hostname = os.uname().nodename
    odoo.set_parameters(installed, phone_home_url=receiver.url, last_hostname=hostname)
    postpone_action(odoo, installed)

    with ExitStack() as running:
        servers = [running.enter_context(odoo.server(installed)) for _ in range(2)]
        run_action(odoo, servers, installed)
        wait_for_wish(odoo, servers[0], installed, declared=60)
        wait_for_registration(odoo, servers[0], installed)
        let_a_minute_pass(odoo, installed)
        run_action(odoo, servers, installed)
        wait_for_wish(odoo, servers[0], installed, declared=120)
        let_a_minute_pass(odoo, installed)
        run_action(odoo, servers, installed)
        assert [] == [line for server in servers for line in our_lines(server)]

    with odoo.server(installed) as restarted:
        let_a_minute_pass(odoo, installed)
        run_action(odoo, [restarted], installed)
        restarted.wait_until(lambda: len(receiver.heard) >= 4, seconds=SECONDS)

    # The first run sends two messages, the third one none.
    expected = [("/heartbeat", 60), ("/register", 60), ("/heartbeat", 120), ("/heartbeat", 120)]
    assert expected == [call_and_interval(request) for request in receiver.heard]


def postpone_action(odoo: OdooProgram, database: str) -> None:
    """Let the scheduler run the action only when a test makes it due."""
    odoo.postgres.sql(
        "UPDATE ir_cron SET interval_number = 1, nextcall = now() + interval '1 day'",
        database=database,
    )


def wait_for_wish(odoo: OdooProgram, server: Server, database: str, *, declared: float) -> None:
    """Wait until the wish in the answer to a heartbeat is stored; the heartbeat says how often."""

    def is_stored() -> bool:
        found = odoo.postgres.sql(DECLARED, database=database)
        return found != "" and float(found) == declared

    server.wait_until(is_stored, seconds=SECONDS)


def wait_for_registration(odoo: OdooProgram, server: Server, database: str) -> None:
    """Wait until the addon has stored the answer to its registration."""
    server.wait_until(
        lambda: "t" == odoo.postgres.sql(IS_REGISTERED, database=database), seconds=SECONDS
    )


def let_a_minute_pass(odoo: OdooProgram, database: str) -> None:
    """
    Make the last heartbeat a minute older, for what the addon remembers of it.

    The addon sends in a thread of its own and stores the answer after its action has run: wait for
    the answer first, see `wait_for_wish`.
    """
    odoo.postgres.sql(AGE, database=database)


def run_action(odoo: OdooProgram, servers: list[Server], database: str) -> None:
    """Let one of the servers run the action once, and postpone it again."""

    def total() -> int:
        return sum(runs(server, database) for server in servers)

    before = total()
    let_action_be_due(odoo, database)

    def has_run() -> bool:
        wake_scheduler(odoo, database)
        return total() > before

    servers[0].wait_until(has_run, seconds=SECONDS)
    postpone_action(odoo, database)


def call_and_interval(request: bytes) -> tuple[str, Any]:
    head, _, body = request.partition(b"\r\n\r\n")
    return head.split()[1].decode(), json.loads(body)["heartbeat_interval_seconds"]

"""Helpers for Odoo servers that send heartbeats, and for their receivers."""

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any
from urllib.parse import quote

import httpx
from attrs import define, field

from odoo_program import OdooProgram, Server
from servers import NO_AUTHORITIES, Process

__all__ = [
    "ACTION",
    "ADDON",
    "SCHEDULE_SECONDS",
    "Silent",
    "administrator",
    "get",
    "health",
    "let_action_be_due",
    "let_action_run",
    "our_lines",
    "record_of",
    "runs",
    "silent_receiver",
    "wait_until_up",
    "wake_scheduler",
]

ADDON = "mcp_phone_home"
ACTION = "MCP: Send Heartbeat"

SCHEDULE_SECONDS = 120
"""
How long to wait for a heartbeat at most.

Odoo checks for due actions once a minute, and when PostgreSQL notifies it.
"""

START_SECONDS = 90


def let_action_be_due(odoo: OdooProgram, *databases: str) -> None:
    """Make the heartbeat action due in each database, and wake Odoo's scheduler."""
    for database in databases:
        odoo.postgres.sql(
            # Odoo compares whole seconds; a fraction here would make it run the action twice.
            "UPDATE ir_cron SET nextcall"
            " = date_trunc('second', now() AT TIME ZONE 'UTC' - interval '1 second')"
            f" WHERE cron_name = '{ACTION}'",
            database=database,
        )
    wake_scheduler(odoo, *databases)


def wake_scheduler(odoo: OdooProgram, *databases: str) -> None:
    """Notify Odoo's scheduler to check at once; lost when it does not listen yet."""
    # At once, for each statement is a process of its own, and those who wait call this often.
    notify = [f"SELECT pg_notify('cron_trigger', '{database}');" for database in databases]
    odoo.postgres.sql("".join(notify))


def let_action_run(odoo: OdooProgram, server: Server, *databases: str) -> None:
    """Let Odoo's scheduler run the action once more in each database, and wait for that."""
    before = {database: runs(server, database) for database in databases}
    let_action_be_due(odoo, *databases)

    def have_run() -> bool:
        waiting = [each for each in databases if runs(server, each) == before[each]]
        wake_scheduler(odoo, *waiting)
        return not waiting

    server.wait_until(have_run, seconds=SCHEDULE_SECONDS)


def runs(server: Server, database: str) -> int:
    """How often the scheduler has completed the action, by the log."""
    return len(server.log.lines(f" {database} odoo.addons.base.models.ir_cron: Job ", ACTION, "#"))


def our_lines(server: Server, *wanted: str) -> list[str]:
    """The lines of level WARNING or above from the addon that contain all of these texts."""
    ours = re.compile(rf" \S+ odoo\.addons\.{ADDON}\.")
    found = [line for line in server.log.complaints() if ours.search(line)]
    return [line for line in found if all(each in line for each in wanted)]


def wait_until_up(server: Server) -> None:
    """Wait until the server answers, which also makes it load what a first request needs."""

    def answers() -> bool:
        with suppress(httpx.TransportError):
            return get(f"{server.url}/web/health").is_success
        return False

    server.wait_until(answers, seconds=START_SECONDS)


def health(server: Server) -> httpx.Response:
    return get(f"{server.url}/mcp/v1/health")


def get(url: str, **options: Any) -> httpx.Response:
    """The answer to a request of an http:// URL; without the authorities, which take 25 ms."""
    return httpx.get(url, trust_env=False, verify=NO_AUTHORITIES, timeout=30, **options)


@contextmanager
def administrator(server: Server, database: str) -> Iterator[Callable[..., Any]]:
    """
    A logged-in administrator's session, as a function `call(model, method, *args)`.

    It returns the method's result by JSON-RPC, as a browser gets it. Raises AssertionError
    with Odoo's error.
    """
    with httpx.Client(base_url=server.url, trust_env=False, timeout=120) as browser:

        def ask(path: str, **params: Any) -> Any:
            answer = browser.post(path, json={"jsonrpc": "2.0", "params": params}).json()
            assert "error" not in answer, answer["error"]
            return answer.get("result")

        def call(model: str, method: str, *args: Any) -> Any:
            path = f"/web/dataset/call_kw/{model}/{method}"
            return ask(path, model=model, method=method, args=args, kwargs={})

        ask("/web/session/authenticate", db=database, login="admin", password="admin")
        yield call


def record_of(
    receiver: Process, database: str, *, hostname: str | None = None
) -> dict[str, Any] | None:
    """A receiver's record of a database's server, by default of one on this host, or None."""
    server_id = f"{database}_{hostname or socket.gethostname()}"
    answer = get(f"{receiver.url}/servers/{quote(server_id)}")
    if answer.status_code == 404:
        return None
    record: dict[str, Any] = answer.raise_for_status().json()
    return record


@define
class Silent:
    """
    A receiver that accepts connections and never answers.

    Attributes:
        url: Its URL.
        connections: The number of connections so far.
    """

    url: str
    connections: int = 0
    _held: list[socket.socket] = field(factory=list)

    def take(self, line: socket.socket) -> None:
        self._held.append(line)
        self.connections += 1

    def is_called_more_than(self, connections: int, *, seconds: float) -> bool:
        """Whether there are more connections, waiting for them so many seconds."""
        deadline = time.monotonic() + seconds
        while self.connections <= connections and time.monotonic() < deadline:
            time.sleep(0.02)
        return self.connections > connections

    def hang_up(self) -> None:
        """Close all connections, so that clients stop waiting."""
        while self._held:
            self._held.pop().close()


@contextmanager
def silent_receiver() -> Iterator[Silent]:
    over = threading.Event()
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        listening.settimeout(0.02)
        silent = Silent(f"http://127.0.0.1:{listening.getsockname()[1]}")

        def serve() -> None:
            while not over.is_set():
                with suppress(TimeoutError):
                    silent.take(listening.accept()[0])

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield silent
        finally:
            over.set()
            thread.join()
            silent.hang_up()

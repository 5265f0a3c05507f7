"""A real Odoo with its own scheduler sends messages to a real receiver."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from odoo_program import OdooProgram, Server
from phoning import (
    ACTION,
    ADDON,
    SCHEDULE_SECONDS,
    get,
    let_action_be_due,
    record_of,
    wake_scheduler,
)
from servers import Process, receiver_process

# Sends a heartbeat with each token of the variable TOKENS, and the first without one.
SEND = f"""
import os
from odoo.addons.{ADDON}.services.phone_home import send_heartbeat

for token in os.environ["TOKENS"].split(","):
    os.environ["MCP_PHONE_HOME_TOKEN"] = token
    print(send_heartbeat(env))
"""

# A server needs about 5 seconds to install the addon.
INSTALL_SECONDS = 90
# Odoo checks once a minute for scheduled actions that are due.


@frozen(kw_only=True)
class PhoningServer:
    """An Odoo server with the addon, and its receiver."""

    odoo: OdooProgram
    server: Server
    receiver: Process
    database: str

    def record(self) -> dict[str, Any] | None:
        """The receiver's record of the server, or None."""
        return record_of(self.receiver, self.database)

    def wait_for_heartbeats(self, count: int) -> None:
        def heard() -> bool:
            wake_scheduler(self.odoo, self.database)
            record = self.record()
            return record is not None and record["heartbeat_count"] >= count

        self.server.wait_until(heard, seconds=SCHEDULE_SECONDS)


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    folder = tmp_path_factory.mktemp("receiver")
    with receiver_process(folder, FLEET_DATABASE_URL=f"sqlite:///{folder}/fleet.db") as process:
        yield process


@pytest.fixture(scope="module")
def phoning(odoo: OdooProgram, receiver: Process) -> Iterator[dict[str, PhoningServer]]:
    """
    Two servers, by the stage in their environment, that install the addon concurrently.

    They know the receiver only by a system parameter.
    """
    environs = {"production": {"ODOO_STAGE": "production"}, "": {}}
    with ExitStack() as running:
        servers = {}
        for stage, environ in environs.items():
            database = f"e2e_{stage or 'self_hosted'}"
            odoo.create_database(database)
            odoo.set_parameters(database, phone_home_url=receiver.url)
            server = running.enter_context(odoo.server(database, "-i", ADDON, **environ))
            servers[stage] = PhoningServer(
                odoo=odoo, server=server, receiver=receiver, database=database
            )
        yield servers


@pytest.fixture(params=["production", ""], ids=["odoo.sh", "self-hosted"])
def each(phoning: dict[str, PhoningServer], request: pytest.FixtureRequest) -> PhoningServer:
    """Each of the two servers, after the receiver has its record."""
    server = phoning[request.param]
    server.server.wait_until(server.record, seconds=INSTALL_SECONDS)
    return server


def test_registration_makes_the_server_known(each: PhoningServer) -> None:
    record = each.record()

    assert record is not None
    assert record["registered_at"] is not None
    assert record["started_at"] is not None
    assert record["database"] == each.database
    assert record["capabilities"] == ["fleet_status", "register_receiver", "server_info"]
    registered = f"Registered {record['server_id']}"  # once the server has read the answer
    each.server.wait_until(lambda: each.server.log.lines(registered), seconds=INSTALL_SECONDS)
    assert len(each.server.log.lines(registered)) == 1


def test_server_is_listed_with_the_others(each: PhoningServer) -> None:
    listed = get(f"{each.receiver.url}/servers").json()["servers"]

    assert each.database in [record["database"] for record in listed]


def test_record_has_the_stage_of_the_environment(
    phoning: dict[str, PhoningServer], each: PhoningServer
) -> None:
    (stage,) = (stage for stage, server in phoning.items() if server is each)
    record = each.record()

    assert record is not None
    assert record["odoo_stage"] == stage


def test_scheduler_of_odoo_sends_heartbeats_that_are_counted(
    each: PhoningServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """Proves: Successful enriched heartbeat"""
    each.wait_for_heartbeats(1)
    let_action_be_due(each.odoo, each.database)
    each.wait_for_heartbeats(2)

    record = each.record()
    assert record is not None
    assert record["status"] == "healthy"
    assert record["uptime_seconds"] > 0
    assert record["last_seen"] > record["registered_at"]
    starts = each.server.log.lines("odoo.addons.base.models.ir_cron: Job ", ACTION, "starting")
    assert len(starts) >= 2
    assert each.server.log.complaints() == []
    with capsys.disabled():
        counted = f"counted: {record['heartbeat_count']}"
        print("", *starts, counted, sep="\n", file=sys.stderr)  # noqa: T201


def test_install_with_stop_after_init_registers_the_server(
    odoo: OdooProgram, database: str, receiver: Process
) -> None:
    odoo.set_parameters(database, phone_home_url=receiver.url)

    assert odoo.install(database, ADDON).log.complaints() == []
    record = record_of(receiver, database)
    assert record is not None
    assert record["registered_at"] is not None
    assert record["heartbeat_count"] == 0


def test_receiver_with_keys_accepts_only_a_key_that_covers_the_server(
    odoo: OdooProgram, installed: str, tmp_path: Path
) -> None:
    database_url = f"sqlite:///{tmp_path}/fleet.db"
    mine = new_key(database_url, servers=f"{installed}_*")
    others = new_key(database_url, servers="another_*")

    with receiver_process(tmp_path, FLEET_DATABASE_URL=database_url) as receiver:
        odoo.set_parameters(installed, phone_home_url=receiver.url)
        tokens = ["", f"{mine[:-1]}?", others, mine]
        sent = odoo.shell(installed, SEND, TOKENS=",".join(tokens))

    assert sent.output.split() == ["False", "False", "False", "True"]
    unknown = ("refused with 401", "Set the token that the receiver gave")
    foreign = ("refused with 403", "Ask whoever runs the receiver")
    complaints = sent.log.complaints()
    expected = [unknown, unknown, foreign]
    assert [
        all(text in line for text in texts)
        for line, texts in zip(complaints, expected, strict=True)
    ] == [True, True, True], complaints
    secrets = [token.rpartition("_")[2][:-1] for token in (mine, others)]
    assert [] == [line for secret in secrets for line in sent.log.lines(secret)]


def new_key(database_url: str, *, servers: str) -> str:
    """Issue a receiver's key for servers that match the pattern; returns the token."""
    command = (sys.executable, "-m", "receiver", "keys", "create", "--name=odoo", "--scope=agent")
    made = subprocess.run(
        [*command, f"--servers={servers}"],
        env={**os.environ, "FLEET_DATABASE_URL": database_url},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return made.stdout.strip()

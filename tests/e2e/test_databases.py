"""Heartbeats of databases that are copied, restored, upgraded, read-only or uninstalled."""

import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest
from attrs import frozen

from odoo_program import ADDONS, USER, OdooProgram, Server
from phoning import (
    ACTION,
    ADDON,
    SCHEDULE_SECONDS,
    administrator,
    health,
    let_action_run,
    our_lines,
    record_of,
    runs,
    silent_receiver,
    wait_until_up,
    wake_scheduler,
)
from ports import free_port
from postgres import Postgres, running_postgres
from provision import provide
from servers import Process, receiver_process
from tap import tapped

ORIGINAL, RESTORED, NEUTRALISED = "db_original", "db_restored", "db_neutralised"
MANY = tuple(f"db_{number}" for number in range(1, 4))
# An addon by which a process looks once a second, not once a minute, whether it must register.
OFTEN = f"""
from odoo.addons.{ADDON}.services import lifecycle

lifecycle.CHECK_SECONDS = 1
"""

UNINSTALL = f"""
env['ir.module.module'].search([('name', '=', '{ADDON}')]).button_immediate_uninstall()
"""
BEAT = "env['mcp.heartbeat']._cron_send_heartbeat(); env.cr.commit()\n"
SENT = """
import threading
for thread in threading.enumerate():
    if thread.name == 'mcp_phone_home':
        thread.join(20)
"""
NUMBERS = f"""
from odoo.addons.{ADDON}.services.state import next_sequence
print(*(next_sequence(env.registry) for _ in range(2)))
"""
SEND_NOW = (ADDON, "action_send_heartbeat_now")
SET_URL = "UPDATE ir_config_parameter SET value = '{}' WHERE key = 'mcp.phone_home_url'"
STATE = f"SELECT * FROM {ADDON}_state"
PARAMETERS = "SELECT count(*) FROM ir_config_parameter WHERE key LIKE 'mcp.%'"
NEW_UUID = "UPDATE ir_config_parameter SET value = gen_random_uuid() WHERE key = 'database.uuid'"

POSTPONE_OTHERS = f"""
UPDATE ir_cron SET nextcall = now() AT TIME ZONE 'UTC' + interval '1 day'
 WHERE cron_name <> '{ACTION}'
"""

FAILED = "Phoning home failed"
SLACK_SECONDS = 20  # a process without the limit would wait as long as the receiver is there


@frozen(kw_only=True)
class Host:
    """An Odoo server with many databases, and their receiver."""

    odoo: OdooProgram
    server: Server
    receiver: Process

    def heartbeats(self, database: str) -> int:
        record = record_of(self.receiver, database)
        return 0 if record is None else record["heartbeat_count"]

    def wait_until_heard(self, *databases: str) -> None:
        self.server.wait_until(
            lambda: all(map(self.heartbeats, databases)), seconds=SCHEDULE_SECONDS
        )


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    folder = tmp_path_factory.mktemp("receiver")
    with receiver_process(folder, FLEET_DATABASE_URL=f"sqlite:///{folder}/fleet.db") as process:
        yield process


@pytest.fixture(scope="module")
def host(odoo: OdooProgram, receiver: Process) -> Iterator[Host]:
    """
    A server with an original database, two copies of it and three independent databases.

    The original had sent a heartbeat before it was copied. The scheduler has since run the
    action once in each database.
    """
    _install(odoo, ORIGINAL, receiver.url)
    with odoo.server(ORIGINAL) as server:
        let_action_run(odoo, server, ORIGINAL)
        Host(odoo=odoo, server=server, receiver=receiver).wait_until_heard(ORIGINAL)
    for copy in (RESTORED, NEUTRALISED):
        odoo.postgres.create_database(copy, template=ORIGINAL, owner=USER)
    odoo.run("neutralize", "-d", NEUTRALISED)
    # Neutralizing deactivates the actions of a copy, and somebody may activate them again.
    odoo.postgres.sql("UPDATE ir_cron SET active = true", database=NEUTRALISED)
    for database in MANY:
        _install(odoo, database, receiver.url)
        odoo.postgres.sql(NEW_UUID, database=database)

    served = (ORIGINAL, RESTORED, NEUTRALISED, *MANY)
    with odoo.server(",".join(served)) as server:
        let_action_run(odoo, server, *served)
        yield Host(odoo=odoo, server=server, receiver=receiver)


@pytest.fixture
def phoning(odoo: OdooProgram, installed: str, receiver: Process) -> str:
    """A database with the addon that is set up to send heartbeats to the receiver."""
    odoo.set_parameters(installed, phone_home_url=receiver.url)
    return installed


def test_neutralized_copy_sends_nothing(host: Host) -> None:
    assert runs(host.server, NEUTRALISED) >= 1
    host.wait_until_heard(RESTORED, *MANY)

    assert record_of(host.receiver, NEUTRALISED) is None
    assert [] == [line for line in our_lines(host.server) if NEUTRALISED in line]


def test_neutralized_copy_has_no_state_of_the_original(host: Host) -> None:
    original, copy = (
        host.odoo.postgres.sql(STATE, database=name) for name in (ORIGINAL, NEUTRALISED)
    )

    assert "" == copy.partition("|")[2].replace("|", "")
    assert "" != original.partition("|")[2].replace("|", "")


def test_restored_database_is_another_server_with_the_same_uuid(host: Host) -> None:
    host.wait_until_heard(RESTORED)

    original, restored = (record_of(host.receiver, name) for name in (ORIGINAL, RESTORED))
    assert original is not None
    assert restored is not None
    assert (ORIGINAL, RESTORED) == (original["database"], restored["database"])
    assert original["server_id"] != restored["server_id"]
    assert original["database_uuid"] == restored["database_uuid"]


def test_copies_of_a_database_number_their_messages_alike(
    odoo: OdooProgram, phoning: str, tmp_path: Path
) -> None:
    """Whether PostgreSQL copies the files or a dump is restored."""
    with running_postgres() as postgres:
        apart = OdooProgram(provide(environ=os.environ), postgres, tmp_path)
        before = next_numbers(odoo, phoning)
        odoo.postgres.create_database(copy := f"{phoning}_copy", template=phoning, owner=USER)
        copy_between(odoo.postgres, postgres, phoning)
        after = [next_numbers(*each) for each in ((odoo, phoning), (odoo, copy), (apart, phoning))]

    assert [1, 2] == before
    assert [[3, 4]] * 3 == after


def test_scheduler_sends_a_heartbeat_for_each_of_many_databases(host: Host) -> None:
    host.wait_until_heard(*MANY)

    records = [record_of(host.receiver, database) for database in MANY]
    assert list(MANY) == [record and record["database"] for record in records]
    uuids = {record["database_uuid"] for record in records if record is not None}
    assert len(MANY) == len(uuids)
    assert [1] * len(MANY) == [runs(host.server, database) for database in MANY]
    assert [] == host.server.log.complaints()


def test_worker_processes_send_heartbeats_of_many_databases(
    odoo: OdooProgram, receiver: Process
) -> None:
    """A worker process closes its connections to one database when it goes on to the next."""
    databases = [f"db_of_workers_{number}" for number in range(1, 4)]
    for database in databases:
        _install(odoo, database, receiver.url)
        odoo.postgres.sql(NEW_UUID, database=database)
    workers = ("--workers=1", f"--gevent-port={free_port()}")
    with odoo.server(",".join(databases), *workers) as server:
        let_action_run(odoo, server, *databases)
        Host(odoo=odoo, server=server, receiver=receiver).wait_until_heard(*databases)
        remembered = f"SELECT last_success_at IS NOT NULL FROM {ADDON}_state"
        server.wait_until(
            lambda: all("t" == odoo.postgres.sql(remembered, database=each) for each in databases),
            seconds=SCHEDULE_SECONDS,
        )

    assert [] == server.log.complaints()


def test_uninstall_sends_a_farewell(odoo: OdooProgram, phoning: str, receiver: Process) -> None:
    with tapped(receiver.url) as tap:
        odoo.postgres.sql(SET_URL.format(tap.url), database=phoning)
        finished = odoo.shell(phoning, f"{BEAT}{SENT}{UNINSTALL}")

    record = record_of(receiver, phoning)
    assert record is not None
    assert ("uninstalled", []) == (record["status"], record["capabilities"])
    registration, _, farewell = [each.message for each in tap.sent]
    assert (1, 3) == (registration["sequence"], farewell["sequence"])
    assert "uninstalled" == farewell["status"]
    assert registration["started_at"] == farewell["started_at"]
    assert "0" == odoo.postgres.sql(PARAMETERS, database=phoning)
    assert [] == finished.log.complaints()


def test_uninstalling_process_ends_within_the_timeout_of_a_silent_receiver(
    odoo: OdooProgram, installed: str
) -> None:
    with silent_receiver() as silent:
        odoo.set_parameters(installed, phone_home_url=silent.url, phone_home_timeout="3")
        finished = odoo.shell(installed, f"{UNINSTALL}import time; print(time.time())")
        ended = time.time()

    assert 1 == silent.connections
    assert ended - float(finished.output) < 3 + SLACK_SECONDS
    assert "0" == odoo.postgres.sql(PARAMETERS, database=installed)
    (complaint,) = finished.log.complaints()
    assert "did not answer within 3.0 s" in complaint


def test_uninstall_during_a_heartbeat_logs_only_both_failures(
    odoo: OdooProgram, installed: str
) -> None:
    with silent_receiver() as silent:
        odoo.set_parameters(installed, phone_home_url=silent.url, phone_home_timeout="60")
        odoo.set_parameters(installed, last_hostname=socket.gethostname())
        with odoo.server(installed) as server:
            let_action_run(odoo, server, installed)
            server.wait_until(lambda: silent.connections == 1, seconds=SCHEDULE_SECONDS)
            with administrator(server, installed) as call:
                (module,) = call("ir.module.module", "search", [("name", "=", ADDON)])
                call("ir.module.module", "button_immediate_uninstall", [module])

            def have_both_failed() -> bool:
                silent.hang_up()
                return len(our_lines(server, FAILED)) >= 2

            server.wait_until(have_both_failed, seconds=SCHEDULE_SECONDS)
            server.stop()

    # On a slow machine, the scheduler looks at the database once more during all this.
    again = re.compile("No heartbeat was sent|Skipping database")
    lines = [line for line in server.log.complaints() if not again.search(line)]
    assert lines == our_lines(server, FAILED)
    assert 2 == len(lines)


def test_heartbeats_continue_during_an_upgrade(
    odoo: OdooProgram, phoning: str, receiver: Process
) -> None:
    with odoo.server(phoning) as server, ThreadPoolExecutor() as pool:
        let_action_run(odoo, server, phoning)
        # Odoo upgrades no database in which a task of its own is running; this waits for its end.
        odoo.postgres.sql(POSTPONE_OTHERS, database=phoning)
        with administrator(server, phoning) as call:
            (action,) = call("ir.model.data", "check_object_reference", *SEND_NOW)[1:]
            upgrade = pool.submit(odoo.upgrade, phoning, "base")
            sent = 0
            while not wait([upgrade], timeout=0.2).done:
                wake_scheduler(odoo, phoning)
                call("ir.actions.server", "run", [action])
                sent += 1
        log = upgrade.result().log
        let_action_run(odoo, server, phoning)

    assert sent > 1
    assert [] == log.complaints()
    assert [] == our_lines(server)
    record = record_of(receiver, phoning)
    assert record is not None
    assert record["heartbeat_count"] >= sent


def test_database_that_is_read_only_by_default_sends_heartbeats(
    odoo: OdooProgram, phoning: str, receiver: Process
) -> None:
    odoo.postgres.sql(f"ALTER DATABASE {phoning} SET default_transaction_read_only = on")

    finished = odoo.shell(phoning, BEAT)
    record = record_of(receiver, phoning)
    assert record is not None
    assert 1 == record["heartbeat_count"]
    assert [] == finished.log.complaints()


def test_health_answers_on_a_standby_database(
    odoo: OdooProgram, installed: str, receiver: Process, tmp_path: Path
) -> None:
    """A standby cannot store a claim; the server registers when it is writable again."""
    with running_postgres() as postgres:
        apart = OdooProgram(provide(environ=os.environ), postgres, tmp_path)
        copy_between(odoo.postgres, postgres, installed)
        apart.set_parameters(installed, phone_home_url=receiver.url)
        (tmp_path / "often").mkdir()
        (tmp_path / "often/__init__.py").write_text(OFTEN)
        (tmp_path / "often/__manifest__.py").write_text("{'name': 'Often'}")
        conf = apart.config_with(tmp_path / "often.conf", addons_path=f"{ADDONS},{tmp_path}")
        replica = f"--db_replica_host={postgres.socket_folder}"
        options = (conf, replica, "--load=base,web,often", "--max-cron-threads=0")
        with apart.server(installed, *options) as server:
            wait_until_up(server)
            server.wait_until(lambda: server.log.lines("Modules loaded."), seconds=60)
            become_standby(postgres)
            statuses = [health(server).status_code for _ in range(3)]
            assert [] == our_lines(server)
            assert record_of(receiver, installed) is None
            postgres.sql("SELECT pg_promote()")
            server.wait_until(
                lambda: health(server) and record_of(receiver, installed),
                seconds=SCHEDULE_SECONDS,
            )

    assert [200] * 3 == statuses
    assert [] == our_lines(server)


def next_numbers(odoo: OdooProgram, database: str) -> list[int]:
    return [int(number) for number in odoo.shell(database, NUMBERS).output.split()]


def copy_between(source: Postgres, target: Postgres, database: str) -> None:
    """Copy a database to another PostgreSQL server."""
    dumped = subprocess.run(
        [source.psql.with_name("pg_dump"), "-h", source.socket_folder, "-U", "postgres", database],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    target.create_database(database, owner=USER)
    target.sql(dumped.stdout, database=database)


def become_standby(postgres: Postgres) -> None:
    """Restart PostgreSQL as a standby, which is read-only."""
    folder = Path(postgres.sql("SHOW data_directory"))
    postgres.stop()
    (folder / "standby.signal").touch()
    postgres.start()


def _install(odoo: OdooProgram, database: str, url: str) -> None:
    odoo.create_database_with_addon(database)
    odoo.set_parameters(database, phone_home_url=url)

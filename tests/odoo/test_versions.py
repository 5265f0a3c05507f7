"""Installing the addon, upgrading it from each old version, and uninstalling it."""

import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from odoo_program import ADDONS, Finished, Log, OdooProgram
from servers import Process, receiver_process

ADDON = "mcp_phone_home"
CHANGE_SCHEDULE = "UPDATE ir_cron SET interval_number = 7 WHERE cron_name = 'MCP: Send Heartbeat'"
SCHEDULE = f"""
SELECT ir_cron.interval_number, ir_model.model
  FROM ir_cron JOIN ir_act_server ON ir_act_server.id = ir_cron.ir_actions_server_id
  JOIN ir_model ON ir_model.id = ir_act_server.model_id
  JOIN ir_model_data AS named ON named.model = 'ir.cron' AND named.res_id = ir_cron.id
 WHERE named.module = '{ADDON}' AND named.name = 'ir_cron_heartbeat'
"""
HAS_CRON = "SELECT count(*) FROM ir_cron WHERE cron_name = 'MCP: Send Heartbeat'"
HAS_PARAMETERS = "SELECT count(*) FROM ir_config_parameter WHERE key LIKE 'mcp.%'"
HAS_SEQUENCE = "SELECT count(*) FROM pg_sequences WHERE sequencename LIKE 'mcp_phone_home%'"
HAS_TABLE = "SELECT count(*) FROM pg_tables WHERE tablename = 'mcp_phone_home_state'"
LAST_NUMBER = "SELECT last_value FROM mcp_phone_home_state_sequence"
SEND = f"from odoo.addons.{ADDON}.services.phone_home import *; print(send_heartbeat(env))"
TOKEN_ORIGIN = "SELECT value FROM ir_config_parameter WHERE key = 'mcp.phone_home_token_origin'"
UNINSTALL = f"""
env['ir.module.module'].search([('name', '=', '{ADDON}')]).button_immediate_uninstall()
"""
# Archives of the addon's folder in old versions, by the name of the version.
PAST = sorted((Path(__file__).parent / "past").glob("*.zip"))


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    folder = tmp_path_factory.mktemp("receiver")
    with receiver_process(folder, FLEET_DATABASE_URL=f"sqlite:///{folder}/fleet.db") as process:
        yield process


def test_addon_installs_without_warnings(odoo: OdooProgram, database: str) -> None:
    finished = odoo.install(database, ADDON)

    assert finished.log.lines(f"Module {ADDON} loaded")
    assert_clean(finished)
    assert "1" == odoo.postgres.sql(HAS_CRON, database=database)


def test_addon_upgrade_keeps_the_changed_schedule(odoo: OdooProgram, installed: str) -> None:
    odoo.postgres.sql(CHANGE_SCHEDULE, database=installed)

    assert_clean(odoo.upgrade(installed, ADDON))
    assert "7|mcp.phone.home.state" == odoo.postgres.sql(SCHEDULE, database=installed)


def test_addon_can_be_uninstalled_and_installed_again(odoo: OdooProgram, installed: str) -> None:
    odoo.set_parameters(installed, server_port="8069", endpoint_url="https://odoo.example/mcp/v1")

    assert_clean(odoo.shell(installed, UNINSTALL))
    left = [
        odoo.postgres.sql(query, database=installed)
        for query in (HAS_CRON, HAS_PARAMETERS, HAS_TABLE, HAS_SEQUENCE)
    ]
    assert ["0", "0", "0", "0"] == left
    assert_clean(odoo.install(installed, ADDON))


@pytest.mark.parametrize("archive", PAST, ids=lambda archive: str(archive.stem))
def test_addon_upgrades_from_an_old_version(
    odoo: OdooProgram, database: str, receiver: Process, tmp_path: Path, archive: Path
) -> None:
    zipfile.ZipFile(archive).extractall(tmp_path)
    old = odoo.config_with(tmp_path / "odoo.conf", addons_path=str(tmp_path))
    odoo.install(database, ADDON, old)
    odoo.set_parameters(
        database, phone_home_url=f"{receiver.url}/", phone_home_token="secret", server_port="8069"
    )
    odoo.postgres.sql(CHANGE_SCHEDULE, database=database)

    assert_clean(odoo.upgrade(database, ADDON))
    assert "7|mcp.phone.home.state" == odoo.postgres.sql(SCHEDULE, database=database)
    sent = odoo.shell(database, SEND)
    assert ("True", []) == (sent.output.strip(), sent.log.complaints())
    assert "1" == odoo.postgres.sql(LAST_NUMBER, database=database)
    assert receiver.url == odoo.postgres.sql(TOKEN_ORIGIN, database=database)
    remembered = "SELECT last_success_at IS NOT NULL FROM mcp_phone_home_state"
    assert "t" == odoo.postgres.sql(remembered, database=database)


def test_database_that_is_not_upgraded_sends_without_numbers(
    odoo: OdooProgram, installed: str, receiver: Process
) -> None:
    odoo.set_parameters(installed, phone_home_url=receiver.url)
    odoo.postgres.sql("DROP SEQUENCE mcp_phone_home_state_sequence", database=installed)

    sent = odoo.shell(installed, SEND)
    assert ("True", []) == (sent.output.strip(), sent.log.complaints())


def test_archives_of_old_versions_exist() -> None:
    assert PAST
    assert (ADDONS / ADDON).is_dir()


def assert_clean(finished: Finished) -> None:
    """Assert that the log has no warnings, by our own check and by OCA's checklog-odoo."""
    assert [] == finished.log.complaints()
    check_log(finished.log)


def check_log(log: Log) -> None:
    command = (sys.executable, "-m", "checklog_odoo", "--no-echo", log.path)
    said = subprocess.run(command, check=False, capture_output=True, text=True)
    assert 0 == said.returncode, said.stdout + said.stderr

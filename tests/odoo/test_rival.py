"""Beside another addon with the same routes, model, scheduled action and system parameters."""

import json
import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest
from attrs import frozen

from odoo_program import ADDONS, Log, OdooProgram
from phoning import ADDON, wait_until_up

OWN_PATH = "/mcp_phone_home/mcp"
RIVAL = Path(__file__).parent / "addons" / "fleet_rival"

LOOK = f"""
import json
from datetime import datetime, timedelta
from odoo.addons.{ADDON}.services.phone_home import announced
from odoo.addons.{ADDON}.tools.registry import announced_tools

def numbers():
    env.cr.execute("SELECT last_value, is_called FROM mcp_phone_home_state_sequence")
    return env.cr.fetchone()

ours, theirs = env.ref("{ADDON}.ir_cron_heartbeat"), env.ref("RIVAL.action")
keys = env["res.users.apikeys"].with_user(env.ref("base.user_admin")).sudo()
facts = {{
    "key": keys._generate("rpc", "agent", datetime.now() + timedelta(days=1)),
    "endpoint": announced(env)["endpoint_url"],
    "tools": {{tool.name: [tool.module, tool.path] for tool in announced_tools(env)}},
    "note": env["res.config.settings"].create({{}}).mcp_path_note,
}}
env.cr.commit()
before = numbers()
theirs.method_direct_trigger()
env["mcp.heartbeat"]._cron_send_heartbeat()
facts["sent by theirs"] = numbers() != before
ours.method_direct_trigger()
facts["sent by ours"] = numbers() != before
env.cr.commit()
facts["notes"] = env["mcp.heartbeat"].search_count([])
env.cr.commit()
print(json.dumps(facts))
"""
UNINSTALL = f"""
env["ir.config_parameter"].set_param("mcp.server_port", "8069")
env["ir.config_parameter"].set_param("mcp.phone_home_timeout", "1")
env.cr.commit()
env["ir.module.module"].search([("name", "=", "{ADDON}")]).button_immediate_uninstall()
env["mcp.heartbeat"]._cron_send_heartbeat()
print(env["mcp.heartbeat"].search([], order="id desc", limit=1).note)
env.cr.commit()
"""
OURS = ("fleet_status", "register_receiver", "server_info")
KEYS = "SELECT key FROM ir_config_parameter WHERE key LIKE 'mcp.%' ORDER BY key"
ACTIONS = "SELECT cron_name FROM ir_cron WHERE cron_name LIKE '%Heartbeat' ORDER BY cron_name"


@frozen(kw_only=True)
class Beside:
    """
    A database with the addon and its rival.

    Attributes:
        database: Its name.
        conf: The argument of Odoo that names the configuration with the rival's folder.
        facts: What `LOOK` has printed in it.
        log: The log of the Odoo that ran `LOOK`.
    """

    database: str
    conf: str
    facts: dict[str, Any]
    log: Log


def beside(odoo: OdooProgram, folder: Path, rival: str, depends: str) -> Beside:
    """Install the addon and a rival of that name, which depends on that addon, and look."""
    addons = shutil.copytree(RIVAL, folder / rival).parent
    manifest = addons / rival / "__manifest__.py"
    manifest.write_text(manifest.read_text().replace('["base"]', f'["{depends}"]'))
    conf = odoo.config_with(folder / "odoo.conf", addons_path=f"{ADDONS},{addons}")
    database = f"beside_{rival}"
    odoo.create_database(database)
    odoo.install(database, f"{rival},{ADDON}", conf)
    looked = odoo.shell(database, LOOK.replace("RIVAL", rival), conf)
    return Beside(database=database, conf=conf, facts=json.loads(looked.output), log=looked.log)


@pytest.fixture(scope="module")
def first(odoo: OdooProgram, tmp_path_factory: pytest.TempPathFactory) -> Beside:
    """The rival is loaded before the addon, and answers at `/mcp/v1`."""
    return beside(odoo, tmp_path_factory.mktemp("first"), "fleet_rival", "base")


@pytest.fixture(scope="module")
def second(odoo: OdooProgram, tmp_path_factory: pytest.TempPathFactory) -> Beside:
    """The rival is loaded after the addon, which answers at `/mcp/v1`."""
    return beside(odoo, tmp_path_factory.mktemp("second"), "zz_rival", "base_setup")


def test_tools_are_announced_and_called_at_the_path_that_is_ours(
    odoo: OdooProgram, first: Beside
) -> None:
    with odoo.server(first.database, first.conf, "--max-cron-threads=0") as server:
        wait_until_up(server)
        headers = {"Authorization": f"Bearer {first.facts['key']}"}
        answers = [
            httpx.post(
                f"{server.url}{path}",
                json={"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": None},
                headers=headers,
                trust_env=False,
                timeout=60,
            ).json()
            for path in ("/mcp/v1", OWN_PATH)
        ]

    assert {"rival": True} == answers[0]
    listed = [tool["name"] for tool in answers[1]["result"]["tools"]]
    assert list(OURS) == listed
    assert first.facts["endpoint"].endswith(OWN_PATH)
    assert len(first.log.lines("WARNING", "fleet_rival", OWN_PATH)) == 1
    assert "fleet_rival" in first.facts["note"]
    assert OWN_PATH in first.facts["note"]


def test_tools_of_the_rival_are_announced_where_they_are_called(first: Beside) -> None:
    ours = {name: [ADDON, OWN_PATH] for name in OURS}
    theirs = {name: ["fleet_rival", "/mcp/v1"] for name in ("close_books", "rival_tool")}

    expected = {**ours, **theirs, "oca_tool": ["fleet_rival", None]}
    assert expected == first.facts["tools"]


def test_tools_of_a_rival_that_does_not_answer_are_not_announced(second: Beside) -> None:
    ours = {name: [ADDON, "/mcp/v1"] for name in OURS}

    # Those of its MCP server of OCA have another path.
    assert {**ours, "oca_tool": ["zz_rival", None]} == second.facts["tools"]
    assert second.facts["endpoint"].endswith("/mcp/v1")
    assert len(second.log.lines("WARNING", "zz_rival", "not announced", "get_tool_registry")) == 0
    assert len(second.log.lines("WARNING", "zz_rival", "not announced")) == 2
    assert "zz_rival" in second.facts["note"]


@pytest.mark.parametrize("order", ["first", "second"])
def test_each_scheduled_action_sends_for_its_own_addon(
    order: str, request: pytest.FixtureRequest
) -> None:
    facts = request.getfixturevalue(order).facts

    assert (False, True) == (facts["sent by theirs"], facts["sent by ours"])
    assert 2 == facts["notes"]


@pytest.mark.parametrize("order", ["first", "second"])
def test_uninstall_keeps_what_the_rival_owns_and_uses(
    odoo: OdooProgram, order: str, request: pytest.FixtureRequest
) -> None:
    found: Beside = request.getfixturevalue(order)

    left = odoo.shell(found.database, UNINSTALL, found.conf)
    assert "8069" == left.output.strip()
    keys = odoo.postgres.sql(KEYS, database=found.database).splitlines()
    assert ["mcp.phone_home_url", "mcp.server_port"] == keys
    actions = odoo.postgres.sql(ACTIONS, database=found.database).splitlines()
    assert ["Rival: Send Heartbeat"] == actions

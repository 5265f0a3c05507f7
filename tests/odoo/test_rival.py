"""
Beside another addon with the same routes, model, scheduled action and system parameters.

In one of the databases OCA's addon `ai_tool` is there, too, with an MCP server for its tools.
"""

import json
import shutil
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import httpx
import pytest
from attrs import frozen

from odoo_program import ADDONS, USER, Log, OdooProgram
from phoning import ADDON, wait_until_up

OWN_PATH = "/mcp_phone_home/mcp"
FOR_TESTS = Path(__file__).parent / "addons"

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
# What the addons that are left do, after the addon GONE was uninstalled.
WITHOUT = f"""
import json
from odoo.addons.{ADDON}.services.phone_home import announced
from odoo.addons.{ADDON}.tools.registry import announced_tools

env["ir.config_parameter"].set_param("mcp.phone_home_url", "http://127.0.0.1:9/fleet")
env.cr.commit()
env["ir.module.module"].search([("name", "=", "GONE")]).button_immediate_uninstall()

def numbers():
    env.cr.execute("SELECT last_value, is_called FROM mcp_phone_home_state_sequence")
    return env.cr.fetchone()

before = numbers()
env.ref("{ADDON}.ir_cron_heartbeat").method_direct_trigger()
facts = {{
    "receiver": env["ir.config_parameter"].get_param("mcp.phone_home_url"),
    "sends": numbers() != before,
    "tools": {{tool.name: [tool.module, tool.path] for tool in announced_tools(env)}},
    "models": [name for name in ("ai.tool", "mcp.server") if name in env],
}}
if "ai.tool" in env:
    facts["date"] = env.ref("ai_tool.current_date")._execute_tool()["date"]
if env["ir.module.module"].search([("name", "=", "fleet_rival")]).state == "installed":
    env["mcp.heartbeat"]._cron_send_heartbeat()
    facts["notes"] = env["mcp.heartbeat"].search_count([])
print(json.dumps(facts))
env.cr.commit()
"""
UNINSTALL = f"""
env["ir.config_parameter"].set_param("mcp.server_port", "8069")
env["ir.config_parameter"].set_param("mcp.phone_home_timeout", "1")
env.cr.commit()
env["ir.module.module"].search([("name", "=", "{ADDON}")]).button_immediate_uninstall()
env["mcp.heartbeat"]._cron_send_heartbeat()
print(env["mcp.heartbeat"].search([], order="id desc", limit=1).note)
tool = env.ref("ai_tool.current_date", raise_if_not_found=False)
print(tool._execute_tool()["date"] if tool else "no tool")
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


def beside(odoo: OdooProgram, folder: Path, rival: str, depends: str, *others: Path) -> Beside:
    """Install the addon, a rival of that name, which depends on that addon, and others; look."""
    addons = shutil.copytree(FOR_TESTS / "fleet_rival", folder / rival).parent
    manifest = addons / rival / "__manifest__.py"
    manifest.write_text(manifest.read_text().replace('["base"]', f'["{depends}"]'))
    for each in others:
        shutil.copytree(each, addons / each.name)
    conf = odoo.config_with(folder / "odoo.conf", addons_path=f"{ADDONS},{addons}")
    database = f"beside_{rival}"
    odoo.create_database(database)
    odoo.install(database, ",".join([rival, ADDON, *(each.name for each in others)]), conf)
    looked = odoo.shell(database, LOOK.replace("RIVAL", rival), conf)
    return Beside(database=database, conf=conf, facts=json.loads(looked.output), log=looked.log)


@pytest.fixture(scope="module")
def first(odoo: OdooProgram, tmp_path_factory: pytest.TempPathFactory) -> Beside:
    """The rival is loaded before the addon, and answers at `/mcp/v1`; with OCA's `ai_tool`."""
    ai_tool = distribution("odoo-addon-ai-tool").locate_file("odoo/addons/ai_tool")
    others = Path(str(ai_tool)), FOR_TESTS / "fleet_oca"
    return beside(odoo, tmp_path_factory.mktemp("first"), "fleet_rival", "base", *others)


@pytest.fixture(scope="module")
def second(odoo: OdooProgram, tmp_path_factory: pytest.TempPathFactory) -> Beside:
    """The rival is loaded after the addon, which answers at `/mcp/v1`."""
    return beside(odoo, tmp_path_factory.mktemp("second"), "zz_rival", "base_setup")


def test_tools_are_announced_and_called_at_the_path_that_is_theirs(
    odoo: OdooProgram, first: Beside
) -> None:
    paths = {name: path for name, (_, path) in first.facts["tools"].items() if path is not None}
    with odoo.server(first.database, first.conf, "--max-cron-threads=0") as server:
        wait_until_up(server)

        def asked(path: str, method: str, **params: Any) -> Any:
            answer = httpx.post(
                f"{server.url}{path}",
                json={"jsonrpc": "2.0", "id": 1, "method": method, "params": params or None},
                headers={"Authorization": f"Bearer {first.facts['key']}"},
                trust_env=False,
                timeout=60,
            ).json()
            assert "error" not in answer, answer
            return answer["result"]

        listed = {
            path: [tool["name"] for tool in asked(path, "tools/list")["tools"]]
            for path in ("/mcp/v1", OWN_PATH)
        }
        for name, path in paths.items():
            arguments = {"url": "http://127.0.0.1:9"} if name == "register_receiver" else {}
            assert asked(path, "tools/call", name=name, arguments=arguments)["content"]

    assert {"/mcp/v1": ["close_books", "rival_tool"], OWN_PATH: [*OURS]} == listed
    assert {name: path for path, names in listed.items() for name in names} == paths
    assert first.facts["endpoint"].endswith(OWN_PATH)
    assert len(first.log.lines("WARNING", "fleet_rival", OWN_PATH)) == 1
    assert "fleet_rival" in first.facts["note"]
    assert OWN_PATH in first.facts["note"]


def test_tools_of_the_rival_are_announced_where_they_are_called(first: Beside) -> None:
    ours = {name: [ADDON, OWN_PATH] for name in OURS}
    theirs = {name: ["fleet_rival", "/mcp/v1"] for name in ("close_books", "rival_tool")}

    # Of OCA's tools only those of an active MCP server, whose address has its key in it.
    expected = {**ours, **theirs, "get_date": ["fleet_oca", None]}
    assert expected == first.facts["tools"]


def test_tools_of_a_rival_that_does_not_answer_are_not_announced(second: Beside) -> None:
    ours = {name: [ADDON, "/mcp/v1"] for name in OURS}

    assert ours == second.facts["tools"]
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


def uninstalled(odoo: OdooProgram, found: Beside, gone: str) -> dict[str, Any]:
    """Uninstall an addon in a copy of a database; returns what the script `WITHOUT` has printed."""
    copy = f"without_{gone}"
    odoo.postgres.create_database(copy, template=found.database, owner=USER)
    left = odoo.shell(copy, WITHOUT.replace("GONE", gone), found.conf)
    facts: dict[str, Any] = json.loads(left.output)
    return facts


def test_addon_and_that_of_oca_go_on_without_the_rival(odoo: OdooProgram, first: Beside) -> None:
    facts = uninstalled(odoo, first, "fleet_rival")

    # The receiver was among the data of the rival.
    assert ("http://127.0.0.1:9/fleet", True) == (facts["receiver"], facts["sends"])
    ours = {name: [ADDON, "/mcp/v1"] for name in OURS}
    assert {**ours, "get_date": ["fleet_oca", None]} == facts["tools"]
    assert ["ai.tool", "mcp.server"] == facts["models"]
    assert facts["date"]


def test_addon_and_the_rival_go_on_without_that_of_oca(odoo: OdooProgram, first: Beside) -> None:
    facts = uninstalled(odoo, first, "ai_tool")

    assert facts["sends"]
    expected = {name: at for name, at in first.facts["tools"].items() if name != "get_date"}
    assert expected == facts["tools"]
    assert [] == facts["models"]
    assert 3 == facts["notes"]


@pytest.mark.parametrize("order", ["first", "second"])
def test_uninstall_keeps_what_the_rival_owns_and_uses(
    odoo: OdooProgram, order: str, request: pytest.FixtureRequest
) -> None:
    found: Beside = request.getfixturevalue(order)

    left = odoo.shell(found.database, UNINSTALL, found.conf)
    port, date = left.output.split("\n", 1)
    assert "8069" == port
    assert (order == "second") == (date.strip() == "no tool")
    keys = odoo.postgres.sql(KEYS, database=found.database).splitlines()
    assert ["mcp.phone_home_url", "mcp.server_port"] == keys
    actions = odoo.postgres.sql(ACTIONS, database=found.database).splitlines()
    assert ["Rival: Send Heartbeat"] == actions

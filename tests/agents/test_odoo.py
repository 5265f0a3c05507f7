"""
The conformance suite of MCP, and clients that others wrote, against the endpoint of a real Odoo.

An addon, which is in `addons/`, offers the tools that the suite calls.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import frozen

from agents import conformance
from agents.clients import CLIENTS
from agents.conftest import Guarded
from agents.key_proxy import key_proxy
from agents.programs import Programs
from agents.test_clients import file_for
from agents.test_conformance import ASKS_THE_CLIENT, NOT_OFFERED
from odoo_program import ADDONS, OdooProgram
from phoning import wait_until_up

DATABASE = "conformance"
ADDON = "mcp_conformance"

# Prints one line.
FACTS = """
import json
from datetime import datetime, timedelta
from odoo.addons.mcp_phone_home.tools.registry import installed_tools

keys = env["res.users.apikeys"].with_user(env.ref("base.user_admin")).sudo()
key = keys._generate("rpc", "agent", datetime.now() + timedelta(days=1))
env.cr.commit()
print(json.dumps([key, list(installed_tools(env))]))
"""

SCENARIOS = [
    "dns-rebinding-protection",
    "json-schema-2020-12",
    "ping",
    "server-initialize",
    "tools-call-audio",
    "tools-call-embedded-resource",
    "tools-call-error",
    "tools-call-image",
    "tools-call-mixed-content",
    "tools-call-simple-text",
    "tools-list",
]
"""All scenarios of what an Odoo offers, which are tools."""


@frozen(kw_only=True)
class Endpoint:
    """
    The MCP endpoint of an Odoo.

    Attributes:
        url: Its URL.
        key: The API key of an administrator.
        tools: The names of the tools of the database.
    """

    url: str
    key: str
    tools: list[str]


@pytest.fixture(scope="module")
def endpoint(odoo: OdooProgram, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    folder = tmp_path_factory.mktemp("odoo")
    addons = f"{ADDONS},{Path(__file__).parent / 'addons'}"
    config = odoo.config_with(folder / "odoo.conf", addons_path=addons)
    odoo.create_database_with_addon(DATABASE)
    odoo.install(DATABASE, ADDON, config)
    key, tools = json.loads(odoo.shell(DATABASE, FACTS, config).output)
    with odoo.server(DATABASE, config, "--max-cron-threads=0") as server:
        wait_until_up(server)
        yield Endpoint(url=f"{server.url}/mcp/v1", key=key, tools=tools)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenario_succeeds(
    programs: Programs, endpoint: Endpoint, scenario: str, tmp_path: Path
) -> None:
    with key_proxy(endpoint.url, endpoint.key) as passage:
        assert {} == conformance.failures(programs, passage.url, scenario, tmp_path)


def test_every_scenario_of_the_suite_is_run_or_left_out_for_a_reason(
    programs: Programs, endpoint: Endpoint, tmp_path: Path
) -> None:
    with key_proxy(endpoint.url, endpoint.key) as passage:
        conformance.checks(programs, passage.url, "server-initialize", tmp_path)
    others = ASKS_THE_CLIENT.union(*NOT_OFFERED.values())
    left = conformance.scenarios(programs, tmp_path) - others

    assert SCENARIOS == sorted(each for each in left if not each.startswith("resources-"))
    (declared,) = [
        answer["capabilities"] for method, answer in passage.answers if method == "initialize"
    ]
    assert ["tools"] == list(declared)


@pytest.mark.parametrize("client", CLIENTS)
def test_client_lists_the_tools_of_an_odoo(
    programs: Programs, guarded: Guarded, endpoint: Endpoint, client: str, tmp_path: Path
) -> None:
    name, connect = CLIENTS[client]
    with key_proxy(endpoint.url) as passage:
        guarded.hear(f"{DATABASE}_web", passage.url, DATABASE)
        connect(programs, file_for(guarded, f"{DATABASE}_web", name), endpoint.key, tmp_path)

    assert endpoint.tools == passage.tools()
    assert {"json_schema_2020_12_tool", "server_info"} < {*endpoint.tools}

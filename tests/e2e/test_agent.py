"""An agent finds the Odoo that has a tool, calls it, and goes on after that Odoo was rebuilt."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from attrs import frozen
from sqlalchemy import make_url

from keyring import bearer, keep, made
from odoo_program import ADDONS, OdooProgram, Server
from phoning import ADDON, SCHEDULE_SECONDS, administrator, get, let_action_run
from receiver.store import SqlStore
from servers import PATIENCE_SECONDS, Process, receiver_process, wait_until

TOOL = "count_users"
WITH_TOOL, WITHOUT = "shop", "crm"

# An addon with one tool, which only one of the databases has.
FILES = {
    "__manifest__.py": "{'name': 'Counting', 'license': 'LGPL-3', 'author': 'Counting',"
    " 'depends': ['mcp_phone_home']}",
    "__init__.py": "from . import tools",
    "tools.py": f"""
import socket

from odoo.addons.{ADDON}.tools.registry import mcp_tool

@mcp_tool("{TOOL}", description="How many users there are.")
def count_users(env):
    return {{"users": env["res.users"].search_count([]), "host": socket.gethostname()}}
""",
}

# A new database takes itself to be at localhost:8069, which is as good an address as any other of
# this test, so it would stay. A receiver on another machine would not have been told of it.
NO_ADDRESS = "UPDATE ir_config_parameter SET value = '' WHERE key = 'web.base.url'"

MAKE_KEY = """
from datetime import datetime, timedelta
keys = env["res.users.apikeys"].with_user(env.ref("base.user_admin")).sudo()
print(keys._generate("rpc", "agent", datetime.now() + timedelta(days=1)))
env.cr.commit()
"""


@frozen(kw_only=True)
class Fleet:
    """
    Two databases, of which `shop` has the tool, and their receiver, which has keys.

    Attributes:
        odoo: The Odoo program.
        config: Odoo's option that names the configuration, in which the addon can be found.
        receiver: The receiver.
        viewer: The token of an agent at the receiver.
        token: The token of the Odoos at the receiver.
        api_key: The API key of an administrator of `shop`.
    """

    odoo: OdooProgram
    config: str
    receiver: Process
    viewer: str
    token: str
    api_key: str

    @contextmanager
    def serving(self, database: str, hostname: str) -> Iterator[Server]:
        """Run a server of a database, which the receiver has heard when the block begins."""
        told = {
            "MCP_PHONE_HOME_TOKEN": self.token,
            "MCP_PHONE_HOME_TOKEN_ORIGIN": self.receiver.url,
        }
        with self.odoo.server(database, self.config, hostname=hostname, **told) as server:
            url = f"{server.url}/mcp/v1"
            let_action_run(self.odoo, server, database)  # which also waits until it is up
            with administrator(server, database):
                pass  # by this login Odoo, and so the addon, knows the address
            let_action_run(self.odoo, server, database)
            server.wait_until(
                lambda: self.record(database, hostname).get("endpoint_url") == url,
                seconds=SCHEDULE_SECONDS,
            )
            yield server

    def asked(self, path: str, **query: str) -> httpx.Response:
        return get(f"{self.receiver.url}{path}", params=query, headers=bearer(self.viewer))

    def record(self, database: str, hostname: str) -> dict[str, Any]:
        """The receiver's record of a server; empty if there is none."""
        answer = self.asked(f"/servers/{database}_{hostname}")
        record: dict[str, Any] = answer.json() if answer.is_success else {}
        return record

    def declare_short_interval(self, database: str, hostname: str) -> None:
        """Send a last heartbeat of a server that is gone, so that it is down soon."""
        httpx.post(
            f"{self.receiver.url}/heartbeat",
            json={"server_id": f"{database}_{hostname}", "heartbeat_interval_seconds": 0.5},
            headers=bearer(self.token),
            timeout=PATIENCE_SECONDS,
            trust_env=False,
        ).raise_for_status()

    def key_variable(self, hostname: str) -> str:
        """The name of the environment variable that the file for `shop` takes the key from."""
        file = self.asked(f"/servers/{WITH_TOOL}_{hostname}/connection", client="claude-code").text
        (name,) = re.findall(r"ODOO_KEY_\w+", file)
        assert isinstance(name, str)
        return name


@pytest.fixture(scope="module")
def fleet(odoo: OdooProgram, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("receiver")
    addon = folder / "addons/counting"
    addon.mkdir(parents=True)
    for name, text in FILES.items():
        (addon / name).write_text(text)
    config = odoo.config_with(folder / "odoo.conf", addons_path=f"{ADDONS},{addon.parent}")
    for database in (WITH_TOOL, WITHOUT):
        odoo.create_database_with_addon(database)
    odoo.install(WITH_TOOL, "counting", config)
    api_key = odoo.shell(WITH_TOOL, MAKE_KEY, config).output.strip()

    url = f"sqlite:///{folder}/fleet.db"
    SqlStore(make_url(url)).close()
    viewer, agent = made(scope="viewer"), made(scope="agent")
    keep(url, viewer[0], agent[0])
    settings = {"FLEET_DATABASE_URL": url, "FLEET_ENDPOINTS": "127.0.0.0/8"}
    with receiver_process(folder, **settings) as receiver:
        for database in (WITH_TOOL, WITHOUT):
            odoo.set_parameters(database, phone_home_url=receiver.url)
            odoo.postgres.sql(NO_ADDRESS, database=database)
        yield Fleet(
            odoo=odoo,
            config=config,
            receiver=receiver,
            viewer=viewer[1],
            token=agent[1],
            api_key=api_key,
        )


class Script:
    """The agent's script, while it runs."""

    def __init__(self, environ: dict[str, str], log: Path) -> None:
        with log.open("w") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, Path(__file__).with_name("errands.py")],
                env={**os.environ, **environ},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        self._log = log

    def call_tool(self) -> dict[str, Any]:
        """Let the script call the tool; returns what it says that it did."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, self._log.read_text()
        said: dict[str, Any] = json.loads(line)
        return said

    def close(self) -> None:
        self._process.kill()
        with self._process:  # closes its pipes
            pass


def test_agent_goes_on_when_the_odoo_with_its_tool_was_rebuilt(
    fleet: Fleet, tmp_path: Path
) -> None:
    with ExitStack() as until_the_end:
        until_the_end.enter_context(fleet.serving(WITHOUT, "crm-1"))
        with fleet.serving(WITH_TOOL, "shop-1") as server:
            before = f"{server.url}/mcp/v1"
            variable = fleet.key_variable("shop-1")
            keys = {"FLEET_KEY": fleet.viewer, variable: fleet.api_key}
            environ = {"FLEET_MCP": f"{fleet.receiver.url}/mcp", "TOOL": TOOL, **keys}
            script = Script(environ, tmp_path / "script.log")
            until_the_end.callback(script.close)
            first, second = script.call_tool(), script.call_tool()
        fleet.declare_short_interval(WITH_TOOL, "shop-1")

        with fleet.serving(WITH_TOOL, "shop-2") as server:
            after = f"{server.url}/mcp/v1"
            wait_until(lambda: fleet.record(WITH_TOOL, "shop-1").get("superseded_by") is not None)
            third, fourth = script.call_tool(), script.call_tool()
            assert variable == fleet.key_variable("shop-2")

    def done(hostname: str, url: str, *, has_asked_again: bool) -> dict[str, Any]:
        return {
            "server_id": f"{WITH_TOOL}_{hostname}",
            "url": url,
            "answer": {"users": first["answer"]["users"], "host": hostname},
            "has_asked_again": has_asked_again,
        }

    assert before != after
    assert [done("shop-1", before, has_asked_again=False)] * 2 == [first, second]
    assert [
        done("shop-2", after, has_asked_again=True),
        done("shop-2", after, has_asked_again=False),
    ] == [third, fourth]
    assert TOOL not in fleet.record(WITHOUT, "crm-1")["capabilities"]

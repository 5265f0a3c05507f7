"""What the tools of a real Odoo are for, as a real receiver tells it; an upgrade changes them."""

import json
import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from attrs import frozen

from odoo_program import ADDONS, OdooProgram, Server
from phoning import ADDON, SCHEDULE_SECONDS, get, let_action_be_due, our_lines, wake_scheduler
from servers import receiver_process
from tap import Sent, Tap, tapped

TOOL_ADDON = Path(__file__).parents[1] / "odoo/addons/fleet_tool"
OWN = ["fleet_status", "register_receiver", "server_info"]
BEFORE = '{"warehouse": {"type": "string"}}'
AFTER = '{"warehouse": {"type": "string"}, "floor": {"type": "integer"}}'

# The members of a heartbeat before it carried the digest of the tools.
MEMBERS = {
    "server_id",
    "hostname",
    "ip_addresses",
    "port",
    "transport",
    "version",
    "odoo_version",
    "database",
    "capabilities",
    "odoo_stage",
    "database_uuid",
    "endpoint_url",
    "heartbeat_interval_seconds",
    "sequence",
    "status",
    "timestamp",
    "uptime_seconds",
    "started_at",
}
# That of `,"tools_digest":"<64 digits>"`.
DIGEST_BYTES = 82


@frozen(kw_only=True)
class Told:
    """
    A database whose addon `fleet_tool` was upgraded, with what the receiver told of it.

    Attributes:
        server_id: Of its server.
        before: `GET /servers/{server_id}/tools` before the upgrade.
        after: The same after it.
        found: `GET /tools?search=jellybeans` after the upgrade.
        events: `GET /events?kind=tools_changed`, as the first heartbeat after the upgrade left it.
        sent: What the server has sent after the upgrade, in the order of arrival.
        heartbeat: A heartbeat that was sent before.
        complaints: Warnings and errors of the addon in the logs of both servers.
    """

    server_id: str
    before: dict[str, Any]
    after: dict[str, Any]
    found: list[dict[str, Any]]
    events: list[dict[str, Any]]
    sent: list[Sent]
    heartbeat: Sent
    complaints: list[str]


@pytest.fixture(scope="module")
def told(odoo: OdooProgram, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    """A server before and after an upgrade that adds an argument to a tool."""
    folder = tmp_path_factory.mktemp("tools")
    addons = shutil.copytree(TOOL_ADDON, folder / "addons" / "fleet_tool").parent
    conf = odoo.config_with(folder / "odoo.conf", addons_path=f"{ADDONS},{addons}")
    database = "e2e_tools"
    server_id = f"{database}_{socket.gethostname()}"
    odoo.create_database(database)
    with (
        receiver_process(folder, FLEET_DATABASE_URL=f"sqlite:///{folder}/fleet.db") as receiver,
        tapped(receiver.url) as tap,
    ):

        def ask(path: str) -> Any:
            return get(f"{receiver.url}{path}").raise_for_status().json()

        def tools() -> Any:
            return ask(f"/servers/{quote(server_id)}/tools")

        odoo.set_parameters(database, phone_home_url=tap.url)
        odoo.install(database, f"{ADDON},fleet_tool", conf)
        with beating(odoo, tap, database, conf) as first:
            first.wait_until(lambda: is_described(tools(), len(OWN) + 1), seconds=SCHEDULE_SECONDS)
        before = tools()
        heartbeat = next(each for each in tap.sent if each.path == "/heartbeat")

        source = addons / "fleet_tool/tools.py"
        text = source.read_text()
        assert BEFORE in text
        source.write_text(text.replace(BEFORE, AFTER))
        odoo.run("-d", database, conf, "-u", "fleet_tool", "--stop-after-init", "--no-http")
        sent = len(tap.sent)
        with beating(odoo, tap, database, conf) as second:
            events = f"/events?kind=tools_changed&server_id={quote(server_id)}"
            second.wait_until(lambda: ask(events)["events"], seconds=SCHEDULE_SECONDS)
        yield Told(
            server_id=server_id,
            before=before,
            after=tools(),
            found=ask("/tools?search=jellybeans")["tools"],
            events=ask(events)["events"],
            sent=tap.sent[sent:],
            heartbeat=heartbeat,
            complaints=our_lines(first) + our_lines(second),
        )


@contextmanager
def beating(odoo: OdooProgram, tap: Tap, database: str, conf: str) -> Iterator[Server]:
    """An Odoo server that has sent a heartbeat since its start, by its own scheduler."""
    count = heartbeats(tap)
    let_action_be_due(odoo, database)
    with odoo.server(database, conf) as server:

        def is_heard() -> bool:
            wake_scheduler(odoo, database)
            return heartbeats(tap) > count

        server.wait_until(is_heard, seconds=SCHEDULE_SECONDS)
        yield server


def heartbeats(tap: Tap) -> int:
    return sum(each.path == "/heartbeat" for each in tap.sent)


def is_described(answer: dict[str, Any], count: int) -> bool:
    return answer["is_current"] and len(answer["tools"] or ()) == count


def test_receiver_tells_what_the_tools_are_for(told: Told) -> None:
    tools = {tool["name"]: tool for tool in told.before["tools"]}

    assert sorted([*OWN, "count_pallets"]) == sorted(tools)
    assert all(tool["title"] and tool["description"] for tool in tools.values())
    assert {ADDON} == {tools[name]["provider"] for name in OWN}
    digest = tools["count_pallets"].pop("input_schema_digest")
    expected = {
        "name": "count_pallets",
        "title": "Count the pallets",
        "description": "How many pallets of jellybeans a warehouse has.",
        "annotations": {"readOnlyHint": True},
        "provider": "fleet_tool",
    }
    assert expected == tools["count_pallets"]
    assert len(digest) == 64


def test_upgrade_that_changes_a_schema_is_told_within_one_heartbeat(told: Told) -> None:
    (event,) = told.events
    assert told.server_id == event["server_id"]
    assert {"count_pallets": ["input_schema_digest"]} == event["details"]["tools"]

    first, second = told.sent[:2]
    assert ("/heartbeat", "/register") == (first.path, second.path)
    assert first.message["tools_digest"] == second.message["tools_digest"]
    assert told.heartbeat.message["tools_digest"] != first.message["tools_digest"]
    assert [] == told.complaints


def test_description_after_the_upgrade_is_current(told: Told) -> None:
    assert told.after["is_current"]
    (changed,) = (
        (old["name"], new["input_schema_digest"])
        for old, new in zip(told.before["tools"], told.after["tools"], strict=True)
        if old != new
    )
    assert "count_pallets" == changed[0]
    assert told.sent[1].message["tools_digest"] == told.sent[0].message["tools_digest"]


def test_odoo_is_found_by_what_its_tool_is_for(told: Told) -> None:
    (found,) = told.found

    assert "count_pallets" == found["name"]
    assert [told.server_id] == found["server_ids"]


def test_heartbeat_is_larger_by_the_digest_only(
    told: Told, capsys: pytest.CaptureFixture[str]
) -> None:
    message = dict(told.heartbeat.message)
    assert len(message.pop("tools_digest")) == 64
    assert set(message) <= MEMBERS

    without = len(json.dumps(message, separators=(",", ":"), ensure_ascii=False).encode())
    assert told.heartbeat.size_bytes - without == DIGEST_BYTES
    with capsys.disabled():
        said = f"a heartbeat: {without} bytes, and {DIGEST_BYTES} of the digest"
        print(f"\n{said}", file=sys.stderr)  # noqa: T201

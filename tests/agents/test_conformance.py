"""
The conformance suite of MCP against the MCP endpoint of a receiver.

The suite sends no key, so a proxy adds one. It calls tools and reads resources of an example
server; where the receiver has some that are alike, the proxy replaces their names in requests.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from agents import conformance
from agents.conftest import CAREFUL, Guarded
from agents.key_proxy import key_proxy
from agents.programs import Programs
from servers import receiver_process

SERVER = "fleet://servers/123"
ALIKE = {
    "test_simple_text": "list_servers",
    "test_error_handling": "server",  # without its argument
    "test://static-text": SERVER,
    "test://template/123/data": SERVER,
}
"""Names of the example server, and those of the receiver."""

APPLICABLE = {
    "dns-rebinding-protection",
    "ping",
    "resources-list",
    "resources-read-text",
    "resources-templates-read",
    "server-initialize",
    "tools-call-error",
    "tools-call-simple-text",
    "tools-list",
}
NOT_OFFERED = {
    "completions": {"completion-complete"},
    "logging": {"logging-set-level", "tools-call-with-logging"},
    "prompts": {
        "prompts-get-embedded-resource",
        "prompts-get-simple",
        "prompts-get-with-args",
        "prompts-get-with-image",
        "prompts-list",
    },
}
"""Scenarios of capabilities that the receiver does not declare."""

UNSUBSCRIBABLE = {"resources-subscribe", "resources-unsubscribe"}
"""The receiver declares resources without subscriptions by these calls, which need a session."""

ASKS_THE_CLIENT = {
    "elicitation-sep1034-defaults",
    "elicitation-sep1330-enums",
    "server-sse-multiple-streams",
    "server-sse-polling",
    "tools-call-elicitation",
    "tools-call-sampling",
    "tools-call-with-progress",
}
"""A server without sessions and with answers in JSON sends a client nothing but answers."""

OTHER_CONTENT = {
    "json-schema-2020-12",  # of a tool with `$defs` in its schema
    "resources-read-binary",
    "tools-call-audio",
    "tools-call-embedded-resource",
    "tools-call-image",
    "tools-call-mixed-content",
}
"""The receiver's tools and resources are text only, and their schemas have no definitions."""


@pytest.fixture(scope="module")
def endpoint(guarded: Guarded) -> Iterator[str]:
    """The URL of the receiver's MCP endpoint for clients without a key."""
    guarded.hear("123", "http://127.0.0.1:9/mcp/v1", "acme")
    with key_proxy(guarded.mcp, guarded.viewer, ALIKE) as passage:
        yield passage.url


@pytest.mark.parametrize("scenario", sorted(APPLICABLE))
def test_scenario_succeeds(
    programs: Programs, endpoint: str, scenario: str, tmp_path: Path
) -> None:
    assert {} == conformance.failures(programs, endpoint, scenario, tmp_path)


def test_dns_rebinding_does_not_reach_a_receiver_without_keys(
    programs: Programs, tmp_path: Path
) -> None:
    with receiver_process(
        tmp_path, CAREFUL, FLEET_DATABASE_URL=f"sqlite:///{tmp_path}/fleet.db"
    ) as process:
        url = f"{process.url}/mcp"
        failed = conformance.failures(programs, url, "dns-rebinding-protection", tmp_path)

    assert {} == failed


def test_every_scenario_of_the_suite_is_run_or_left_out_for_a_reason(
    programs: Programs, tmp_path: Path
) -> None:
    left_out = {*UNSUBSCRIBABLE, *ASKS_THE_CLIENT, *OTHER_CONTENT}.union(*NOT_OFFERED.values())

    assert APPLICABLE | left_out == conformance.scenarios(programs, tmp_path)
    assert not APPLICABLE & left_out


def test_what_is_left_out_is_not_offered(endpoint: str) -> None:
    async def look() -> tuple[dict[str, object], str]:
        async with (
            httpx2.AsyncClient(trust_env=False) as http,
            Client(streamable_http_client(endpoint, http_client=http), mode="legacy") as client,
        ):
            tools = await client.list_tools()
            schemas = str([each.input_schema for each in tools.tools])
            return client.server_capabilities.model_dump(exclude_none=True), schemas

    declared, schemas = asyncio.run(look())

    assert {} == {name: declared[name] for name in NOT_OFFERED if name in declared}
    assert {"subscribe": False, "list_changed": False} == declared["resources"]
    assert "$defs" not in schemas

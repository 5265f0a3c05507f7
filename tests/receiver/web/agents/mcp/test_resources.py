"""The servers as resources of MCP."""

import json
from typing import Any

import httpx
import pytest
from mcp import Client

from mcp_agent import asked, both_eras, called, refusal, send
from receiver.web.agents import mcp_sdk


@both_eras
def test_servers_are_mcp_resources(receiver: httpx.Client, mode: str) -> None:
    send(receiver, server_id="a/b c")

    async def ask(agent: Client) -> tuple[Any, Any, Any]:
        (resource,) = (await agent.list_resources()).resources
        (template,) = (await agent.list_resource_templates()).resource_templates
        (contents,) = (await agent.read_resource(resource.uri)).contents
        return resource, template, contents

    resource, template, contents = asked(receiver, ask, mode)

    assert ("fleet://servers/a%2Fb%20c", "a/b c") == (resource.uri, resource.name)
    assert "fleet://servers/{server_id}" == template.uri_template
    assert called(receiver, "server", server_id="a/b c") == json.loads(contents.text)


def test_resources_are_listed_page_by_page(
    receiver: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mcp_sdk, "_RESOURCES", 1)
    for name in "ab":
        send(receiver, server_id=name)

    async def ask(agent: Client) -> list[str]:
        first = await agent.list_resources()
        second = await agent.list_resources(cursor=first.next_cursor)
        return [each.name for each in [*first.resources, *second.resources]]

    assert ["a", "b"] == asked(receiver, ask)


@pytest.mark.parametrize(
    ("uri", "said"),
    [("file:///etc/passwd", "There is no resource"), ("fleet://servers/x", "There is no server")],
)
def test_unknown_mcp_resource_is_an_error(receiver: httpx.Client, uri: str, said: str) -> None:
    assert said in refusal(receiver, lambda agent: agent.read_resource(uri))


def test_wrong_cursor_of_mcp_resources_is_an_error(receiver: httpx.Client) -> None:
    assert "cursor: " in refusal(receiver, lambda agent: agent.list_resources(cursor="x"))

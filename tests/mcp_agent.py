"""Test helper: agents that ask the MCP server of a receiver, by the official client."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import httpx
import httpx2
import pytest
from jsonschema import Draft202012Validator
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

import messages
from receiver.web.agents.tools import TOOLS
from servers import DIRECT

__all__ = [
    "HEADERS",
    "PING",
    "URL",
    "Json",
    "asked",
    "both_eras",
    "called",
    "failed",
    "ids",
    "refusal",
    "send",
]

Json = dict[str, Any]
T = TypeVar("T")
URL = "https://acme.example/mcp/v1"
HEADERS = {"Accept": "application/json, text/event-stream"}
PING: Json = {"jsonrpc": "2.0", "id": 1, "method": "ping"}


def send(receiver: httpx.Client, **said: Any) -> None:
    given: Json = {"server_id": "acme_web", "database": "acme", "odoo_stage": "production"}
    given |= {"endpoint_url": URL, "capabilities": ["sale_order_confirm"], **said}
    receiver.post("/heartbeat", json=messages.slim(**given)).raise_for_status()


def asked(receiver: httpx.Client, ask: Callable[[Client], Awaitable[T]], mode: Any = "auto") -> T:
    """Connect an agent to the receiver's MCP server, and let it ask."""

    async def connected() -> T:
        key = receiver.headers.get("Authorization")
        headers = {} if key is None else {"Authorization": key}
        async with (
            httpx2.AsyncClient(headers=headers, **DIRECT) as http,
            Client(streamable_http_client(str(url), http_client=http), mode=mode) as agent,
        ):
            return await ask(agent)

    url = receiver.base_url.join("/mcp")
    return asyncio.run(connected())


def called(receiver: httpx.Client, tool: str, mode: Any = "auto", /, **arguments: Any) -> Json:
    """The answer of a tool, which must be the same as a text and as data."""
    found = asked(receiver, lambda agent: agent.call_tool(tool, arguments), mode)
    assert not found.is_error, found.content
    (content,) = found.content
    assert content.type == "text"
    answer: Json = found.structured_content
    assert answer == json.loads(content.text)
    Draft202012Validator(TOOLS[tool].answers).validate(answer)
    return answer


def failed(receiver: httpx.Client, tool: str, /, **arguments: Any) -> str:
    """What a tool that fails says."""
    found = asked(receiver, lambda agent: agent.call_tool(tool, arguments))
    assert found.is_error
    (content,) = found.content
    assert content.type == "text"
    return content.text


def refusal(
    receiver: httpx.Client, ask: Callable[[Client], Awaitable[Any]], mode: Any = "auto"
) -> str:
    """What an error of the protocol says."""

    async def refused(agent: Client) -> str:
        with pytest.raises(MCPError) as raised:
            await ask(agent)
        return str(raised.value)

    return asked(receiver, refused, mode)


def ids(answer: Json) -> list[str]:
    return [each["server_id"] for each in answer["servers"]]


both_eras = pytest.mark.parametrize("mode", ["auto", "legacy"])

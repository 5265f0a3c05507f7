"""
An agent's script, which knows a receiver and the name of a tool, and no address of an Odoo.

It calls the tool once for each line of its standard input, and prints what it did as a line of
JSON. It keeps the connection file that the receiver gave it as long as that works, and asks again
when it does not.

Environment variables: FLEET_MCP and FLEET_KEY, the URL of the receiver's MCP endpoint and a key;
TOOL, the name of the tool; and those with the API keys of Odoos, which the files name.
"""

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

TOOL = os.environ["TOOL"]


@asynccontextmanager
async def connected(url: str, headers: Mapping[str, str]) -> AsyncIterator[Client]:
    async with (
        httpx2.AsyncClient(headers=headers, timeout=60, trust_env=False) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        yield client


async def called(client: Client, tool: str, /, **arguments: Any) -> Any:
    result = await client.call_tool(tool, arguments)
    if result.is_error:
        raise RuntimeError(result.content)
    return result.structured_content


async def find() -> tuple[str, dict[str, Any]]:
    """The server_id of an Odoo that has the tool, and how a file tells to connect to it."""
    headers = {"Authorization": f"Bearer {os.environ['FLEET_KEY']}"}
    async with connected(os.environ["FLEET_MCP"], headers) as fleet:
        found = (await called(fleet, "find_servers", tool=TOOL))["servers"]
        (server_id,) = [each["server_id"] for each in found if each["state"] in {"new", "up"}]
        answer = await called(fleet, "connection", server_id=server_id, client="claude-code")
    (entry,) = json.loads(answer["file"]["text"])["mcpServers"].values()
    return server_id, entry


async def do(entry: Mapping[str, Any]) -> Any:
    """Call the tool of the Odoo that an entry of a file leads to."""
    headers = {
        name: re.sub(r"\$\{(\w+)\}", lambda found: os.environ[found[1]], value)
        for name, value in entry["headers"].items()
    }
    async with connected(entry["url"], headers) as odoo:
        return await called(odoo, TOOL)


async def main() -> None:
    server_id, entry = await find()
    for _ in sys.stdin:
        has_asked_again = False
        try:
            answer = await do(entry)
        except Exception:  # noqa: BLE001 - the Odoo is not there any more
            has_asked_again = True
        if has_asked_again:
            server_id, entry = await find()
            answer = await do(entry)
        done = {"server_id": server_id, "url": entry["url"], "answer": answer}
        print(json.dumps({**done, "has_asked_again": has_asked_again}), flush=True)  # noqa: T201


asyncio.run(main())

"""A reverse proxy in front of an MCP endpoint, which may add a key and remembers the answers."""

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing, contextmanager
from typing import Any

import httpx
from attrs import field, frozen
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from servers import NO_AUTHORITIES, serve

__all__ = ["Passage", "key_proxy"]

_NO_LONGER = httpx.Timeout(60, read=None)
"""A stream may be silent for long."""

_HOP_BY_HOP = {"connection", "content-length", "date", "server", "transfer-encoding"}


@frozen(kw_only=True)
class Passage:
    """
    An MCP endpoint behind a proxy.

    Attributes:
        url: Its URL.
        answers: The methods that were called by JSON-RPC, each with the result, in their order;
            without those that failed.
    """

    url: str
    answers: list[tuple[str, dict[str, Any]]] = field(factory=list)

    def tools(self) -> list[str]:
        """The names of the tools in the answers to `tools/list`."""
        return [
            tool["name"]
            for method, result in self.answers
            if method == "tools/list"
            for tool in result["tools"]
        ]

    def remember(self, asked: bytes, answer: httpx.Response) -> None:
        is_json = answer.headers.get("content-type", "").startswith("application/json")
        said = answer.json() if is_json and answer.content else {}
        if "result" in said:
            self.answers.append((json.loads(asked)["method"], said["result"]))


@contextmanager
def key_proxy(
    url: str, key: str | None = None, names: Mapping[str, str] | None = None
) -> Iterator[Passage]:
    """
    Run the proxy in front of the endpoint at a URL.

    The headers `Host` and `Origin` go on as the client sent them.

    Args:
        url: The URL of the endpoint.
        key: The key to add to each request; None to add none.
        names: Texts in requests to replace, such as the name of a tool.
    """
    target = httpx.URL(url)
    authorization = {} if key is None else {"authorization": f"Bearer {key}"}

    async def forward(request: Request) -> Response:
        body = await request.body()
        for said, meant in (names or {}).items():
            body = body.replace(said.encode(), meant.encode())
        kept = {name: value for name, value in request.headers.items() if name not in _HOP_BY_HOP}
        client = httpx.AsyncClient(trust_env=False, verify=NO_AUTHORITIES, timeout=_NO_LONGER)
        answer = await client.send(
            client.build_request(
                request.method, target, content=body, headers={**kept, **authorization}
            ),
            stream=True,
        )
        passed = {k: v for k, v in answer.headers.items() if k not in _HOP_BY_HOP}
        if answer.headers.get("content-type", "").startswith("text/event-stream"):
            return StreamingResponse(_pieces(client, answer), answer.status_code, passed)
        async with aclosing(client):
            await answer.aread()
        passage.remember(body, answer)
        return Response(answer.content, answer.status_code, passed)

    route = Route(target.path, forward, methods=["DELETE", "GET", "POST"])
    with serve(Starlette(routes=[route])) as front:
        passage = Passage(url=str(front.base_url.join(target.path)))
        yield passage


async def _pieces(client: httpx.AsyncClient, answer: httpx.Response) -> AsyncIterator[bytes]:
    """The pieces of a stream, as they come, until the client of the proxy goes away."""
    async with aclosing(client):
        async for piece in answer.aiter_raw():
            yield piece

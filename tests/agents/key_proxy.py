"""A reverse proxy that adds an API key to each request, for a client that sends none."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from servers import NO_AUTHORITIES, serve

__all__ = ["key_proxy"]

_HOP_BY_HOP = {"connection", "content-length", "date", "server", "transfer-encoding"}


@contextmanager
def key_proxy(url: str, key: str | None, names: Mapping[str, str] | None = None) -> Iterator[str]:
    """
    Run the proxy; yields the URL of an MCP endpoint behind it.

    The headers `Host` and `Origin` go on as the client sent them.

    Args:
        url: The URL of the endpoint.
        key: The key; None to add none.
        names: Texts in requests to replace, such as the name of a tool.
    """
    target = httpx.URL(url)
    authorization = {} if key is None else {"Authorization": f"Bearer {key}"}

    async def forward(request: Request) -> Response:
        body = await request.body()
        for said, meant in (names or {}).items():
            body = body.replace(said.encode(), meant.encode())
        headers = {**request.headers, **authorization}
        del headers["connection"]
        headers.pop("content-length", None)
        async with httpx.AsyncClient(trust_env=False, verify=NO_AUTHORITIES, timeout=60) as client:
            answer = await client.request(request.method, target, content=body, headers=headers)
        passed = [each for each in answer.headers.items() if each[0] not in _HOP_BY_HOP]
        return Response(answer.content, answer.status_code, dict(passed))

    route = Route(target.path, forward, methods=["DELETE", "GET", "POST"])
    with serve(Starlette(routes=[route])) as client:
        yield str(client.base_url.join(target.path))

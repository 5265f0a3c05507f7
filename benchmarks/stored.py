"""Filling a receiver with servers, and reading what it has stored."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import httpx

from processes import BenchmarkFailed, Server
from traffic import BATCH, Traffic, stamped

__all__ = ["cursor_at", "fill", "heartbeat_count", "page"]

_LONGEST_PAGE = 1_000
_PATIENCE_SECONDS = 60.0


def fill(server: Server, traffic: Traffic, *, connections: int = 1) -> None:
    """
    Send a receiver one heartbeat of every server in `traffic`, in batches.

    Raises BenchmarkFailed when a batch is not accepted.
    """
    with _client(server, "agent") as client, ThreadPoolExecutor(connections) as threads:
        for answer in threads.map(partial(_post_batch, client), [*traffic.batch_bodies()]):
            if answer.status_code != 200 or answer.json()["accepted"] != BATCH:
                raise BenchmarkFailed(f"A batch was not accepted: {answer.text[:500]}")


def _post_batch(client: httpx.Client, body: str) -> httpx.Response:
    headers = {"Content-Type": "application/json"}
    return client.post("/heartbeats", content=stamped(body), headers=headers)


def heartbeat_count(server: Server) -> int:
    """The number of heartbeats that a receiver has stored, of all servers together."""
    with _client(server) as client:
        pages = _pages(client, limit=_LONGEST_PAGE)
        return sum(record["heartbeat_count"] for page in pages for record in page["servers"])


def cursor_at(server: Server, position: int) -> str:
    """The cursor of the server list after `position` servers. Raises BenchmarkFailed."""
    limit = min(position, _LONGEST_PAGE)
    with _client(server) as client:
        for number, page in enumerate(_pages(client, limit=limit), start=1):
            if number * limit >= position:
                return str(page["next_cursor"])
    raise BenchmarkFailed(f"There are no {position} servers to list.")


def page(server: Server, path: str) -> list[Any]:
    """The records on the page of the server list that `path` asks for."""
    with _client(server) as client:
        return list(_get(client, path)["servers"])


def _pages(client: httpx.Client, *, limit: int) -> Iterator[Any]:
    page = _get(client, f"/servers?limit={limit}")
    yield page
    while page["next_cursor"]:
        page = _get(client, f"/servers?limit={limit}&cursor={page['next_cursor']}")
        yield page


def _get(client: httpx.Client, path: str) -> Any:
    answer = client.get(path)
    if answer.status_code != 200:
        raise BenchmarkFailed(f"GET {path} was answered with: {answer.text[:500]}")
    return answer.json()


def _client(server: Server, scope: str = "admin") -> httpx.Client:
    """A client with the token of that scope, or without one for a server without keys."""
    key = server.keys.get(scope)
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    return httpx.Client(
        base_url=server.url, headers=headers, timeout=_PATIENCE_SECONDS, trust_env=False
    )

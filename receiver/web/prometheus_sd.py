"""
Lists the servers that are up or new as targets for Prometheus' HTTP service discovery.

Prometheus' documentation ("Writing HTTP service discovery") requires all targets in each answer,
and 200 with `[]` when there are none. When an answer is an error or breaks off, Prometheus keeps
the targets that it has. So the answer is 503 when the database does not answer, because Prometheus
would drop all targets after an empty list.
"""

import re
from collections.abc import AsyncIterator, Callable, Iterable
from functools import lru_cache, partial
from itertools import compress
from operator import and_
from urllib.parse import urlsplit

import orjson
from anyio import to_thread
from attrs import evolve
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from contract import Problem, State
from receiver.domain.endpoints import Endpoints
from receiver.domain.errors import Refusal
from receiver.domain.queries import Filter, Reachable, Whereabouts
from receiver.web import openapi
from receiver.web.context import Services, services
from receiver.web.headers import json_answer, tag_of
from receiver.web.openapi import Json, operation
from receiver.web.requests import FILTER_NAMES, list_query

__all__ = ["DISCOVERY", "discovery", "target_of"]

DISCOVERY = openapi.tagged(
    operation(
        "discover",
        "The servers that are alive, for Prometheus' HTTP service discovery",
        parameters=openapi.FILTERS,
        answers={
            200: openapi.answer(
                "All of them",
                openapi.listed(
                    openapi.object_of(
                        targets=openapi.listed(openapi.TEXT),
                        labels={"type": "object", "additionalProperties": openapi.TEXT},
                    )
                ),
            )
        },
        problems=(400, 401, 403, 503),
    )
)


async def discovery(request: Request) -> Response:
    """
    The servers that are up or new, with their addresses, as Prometheus targets.

    A server is left out if its address must not be passed on (FLEET_ENDPOINTS), or if its key was
    revoked or has expired. The query may have the filters of the list of servers; with `state`, the
    servers in that state are listed instead of those that are up or new.
    """
    _expect_filters(request)
    whole = _whole(_pages(services(request), list_query(request).matching))
    parts: list[bytes] = []
    size = 0
    async for part in whole:
        parts.append(part)
        size += len(part)
        if size > _MOST_KEPT_BYTES:
            # Read before the answer begins: after that, a StoreUnavailable could not become a 503.
            return StreamingResponse(_followed(parts, whole), media_type="application/json")
    body = b"".join(parts)
    tag = await to_thread.run_sync(tag_of, body)
    return json_answer(request, body, tag)


def target_of(server: Whereabouts, *, may_be_at: Callable[[str], bool]) -> Json | None:
    """
    Make the Prometheus target of a server, with labels.

    Returns None if the address of the server is unknown or must not be passed on. The label
    `__scheme__` is set only if the server has an `endpoint_url`. The path of that URL is that of
    the MCP server and not that of metrics, so the URL is a `__meta_` label, which Prometheus drops
    after relabelling.

    Args:
        server: Where the server can be reached.
        may_be_at: Returns whether a host, a name or an IP address, may be given to Prometheus.
    """
    labels = {"server_id": server.server_id}
    if server.endpoint_url is not None:
        url = urlsplit(server.endpoint_url)
        host = url.hostname
        address = url.netloc if url.port else f"{url.netloc}:{_PORTS[url.scheme]}"
        labels |= {"__scheme__": url.scheme, "__meta_fleet_endpoint_url": server.endpoint_url}
    else:
        host = None if server.port is None else _host(server)
        address = f"[{host}]:{server.port}" if host and ":" in host else f"{host}:{server.port}"
    if host is None or not may_be_at(host):
        return None
    for name, value in _labels(server).items():
        # Prometheus treats an empty label like a missing one.
        if value:
            labels[name] = value
    return {"targets": [address], "labels": labels}


def _labels(server: Whereabouts) -> dict[str, str | None]:
    return {
        "stage": server.odoo_stage,
        "version": server.version,
        "database": server.database,
        "__meta_fleet_hostname": server.hostname,
        "__meta_fleet_odoo_version": server.odoo_version,
    }


def _host(server: Whereabouts) -> str | None:
    if server.ip_address is not None:
        return server.ip_address
    # Prometheus rejects targets with a slash; other invalid names could not be resolved.
    if server.hostname is not None and _HOSTNAME.fullmatch(server.hostname):
        return server.hostname
    return None


_PORTS = {"http": 80, "https": 443}
_HOSTNAME = re.compile(r"[\w.-]{1,253}")


def _expect_filters(request: Request) -> None:
    """Raise Refusal for parameters of other lists that limit or sort: this list is complete."""
    cutting = {"limit", "cursor", "sort", "total"} & request.query_params.keys()
    if cutting:
        filters = ", ".join((*FILTER_NAMES, "query"))
        problems = [
            Problem(name, f"is no parameter here: the list is whole; these are: {filters}")
            for name in sorted(cutting)
        ]
        detail = "; ".join(map(str, problems))
        raise Refusal(400, "invalid_parameter", detail, errors=problems)


async def _pages(found: Services, matching: Filter) -> AsyncIterator[bytes]:
    """
    The Prometheus targets in JSON, separated by commas, in parts; one after the other.

    Each part is read and encoded in a thread.
    """
    # As long as only clients on this machine are served, they may see loopback addresses.
    encoded = _encoder(found.endpoints, with_loopback=found.gate.is_for_this_machine)
    lapsed = found.mirror.keys.lapsed(found.clock())
    wanted = matching if matching.state else evolve(matching, state=_ALIVE)

    def render(servers: Reachable) -> bytes:
        """
        Encode the targets of servers.

        A server is left out if the key that it belongs to was revoked or has expired. Such a server
        can no longer report its address, and if the key leaked, somebody else may have reported it.
        """
        may_be: Iterable[bool] = [each.owner not in lapsed for each in servers.signs]
        if not matching.state:
            may_be = map(and_, may_be, found.fleet.are_heard(servers.signs))
        return b",".join(filter(None, map(encoded, compress(servers.whereabouts, may_be))))

    part, after = await found.fleet.reachable(render, wanted, after=None)
    yield part
    while after is not None:
        part, after = await found.fleet.reachable(render, wanted, after=after)
        yield part


@lru_cache(maxsize=2)
def _encoder(endpoints: Endpoints, *, with_loopback: bool) -> Callable[[Whereabouts], bytes]:
    """
    A function that encodes the target of a server in JSON; empty if the server is no target.

    It remembers the targets of a large fleet, because servers seldom move.
    """
    may_be_at = partial(endpoints.include, with_loopback=with_loopback)

    @lru_cache(maxsize=_REMEMBERED)
    def encoded(server: Whereabouts) -> bytes:
        target = target_of(server, may_be_at=may_be_at)
        return b"" if target is None else orjson.dumps(target)

    return encoded


async def _whole(parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """All targets as one list in JSON."""
    separator = b"["
    async for part in parts:
        if part:
            yield separator + part
            separator = b","
    yield b"[]" if separator == b"[" else b"]"


async def _followed(first: list[bytes], others: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    for part in first:
        yield part
    async for part in others:
        yield part


_ALIVE = (State.NEW.value, State.UP.value)

_MOST_KEPT_BYTES = 8 * 1024 * 1024
"""To save memory, a longer answer is sent while it is still being made, and without an `ETag`."""

_REMEMBERED = 20_000
"""How many targets are kept in memory; one takes about 1.5 kB."""

"""
The servers that are up or new, as targets for Prometheus' HTTP service discovery.

Prometheus' documentation ("Writing HTTP service discovery") requires all targets in each answer,
and 200 with `[]` when there are none. When an answer is an error or breaks off, Prometheus keeps
the targets that it has. So the answer is 503 when the database does not answer: after an empty list
Prometheus would drop all targets.
"""

import re
from collections.abc import AsyncIterator, Callable
from functools import partial
from urllib.parse import urlsplit

import orjson
from attrs import evolve, fields
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from contract import Problem, ServerRecord, State
from receiver.domain.errors import Refusal
from receiver.domain.queries import Filter
from receiver.web import openapi
from receiver.web.context import Services, services
from receiver.web.openapi import Json, operation
from receiver.web.requests import MAX_LIMIT, list_query

__all__ = ["DISCOVERY", "discovery", "target_of"]

DISCOVERY = operation(
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


async def discovery(request: Request) -> Response:
    """
    The servers that are up or new, with their addresses, as Prometheus targets.

    Servers are left out whose address must not be given away (FLEET_ENDPOINTS), or whose key was
    revoked or has expired. The filters in the query are those of the list of servers; with
    `state`, servers in that state are listed instead.
    """
    _expect_filters(request)
    pages = _pages(services(request), list_query(request).matching)
    # Read before the answer begins: after that, a StoreUnavailable could not become a 503.
    first = await anext(pages)
    return StreamingResponse(_whole(first, pages), media_type="application/json")


def target_of(record: ServerRecord, *, may_be_at: Callable[[str], bool]) -> Json | None:
    """
    Make a Prometheus target with labels of a server; None if its address is unknown or secret.

    Only `endpoint_url` contains a scheme. Its path is that of the MCP server, not of metrics, so
    the URL is a `__meta_` label, which Prometheus drops after relabelling.

    Args:
        record: The record of the server.
        may_be_at: Whether a host, a name or an IP address, may be given to Prometheus.
    """
    labels = {"server_id": record.server_id}
    if record.endpoint_url is not None:
        url = urlsplit(record.endpoint_url)
        host = url.hostname
        address = url.netloc if url.port else f"{url.netloc}:{_PORTS[url.scheme]}"
        labels |= {"__scheme__": url.scheme, "__meta_fleet_endpoint_url": record.endpoint_url}
    else:
        host = None if record.port is None else _host(record)
        address = f"[{host}]:{record.port}" if host and ":" in host else f"{host}:{record.port}"
    if host is None or not may_be_at(host):
        return None
    for name, value in _labels(record).items():
        # Prometheus treats an empty label like a missing one.
        if value:
            labels[name] = value
    return {"targets": [address], "labels": labels}


def _labels(record: ServerRecord) -> dict[str, str | None]:
    return {
        "stage": record.odoo_stage,
        "version": record.version,
        "database": record.database,
        "__meta_fleet_hostname": record.hostname,
        "__meta_fleet_odoo_version": record.odoo_version,
    }


def _host(record: ServerRecord) -> str | None:
    if record.ip_addresses is not None:
        return record.ip_addresses.primary
    # Prometheus rejects targets with a slash; other invalid names could not be resolved.
    if record.hostname is not None and _HOSTNAME.fullmatch(record.hostname):
        return record.hostname
    return None


_PORTS = {"http": 80, "https": 443}
_HOSTNAME = re.compile(r"[\w.-]{1,253}")


def _expect_filters(request: Request) -> None:
    """Raise Refusal for parameters of other lists that limit or sort: this list is complete."""
    cutting = {"limit", "cursor", "sort", "total"} & request.query_params.keys()
    if cutting:
        filters = ", ".join(field.name for field in fields(Filter))
        problems = [
            Problem(name, f"is no parameter here: the list is whole; these are: {filters}")
            for name in sorted(cutting)
        ]
        detail = "; ".join(map(str, problems))
        raise Refusal(400, "invalid_parameter", detail, errors=problems)


async def _pages(found: Services, matching: Filter) -> AsyncIterator[list[Json]]:
    """The Prometheus targets, in pages; there is at least one page."""
    # As long as only clients on this machine are served, they may see loopback addresses.
    may_be_at = partial(found.endpoints.include, with_loopback=found.gate.is_for_this_machine)
    # First "new", then "up": a server that becomes up meanwhile is listed twice, not left out.
    states = _ALIVE if matching.state is None else [matching.state]
    for state in states:
        wanted, after, is_last = evolve(matching, state=state), None, False
        while not is_last:
            page = await found.fleet.page(wanted, after=after, limit=MAX_LIMIT)
            yield [
                target
                for sighting in page.servers
                if matching.state is not None or not sighting.state.stale
                # It cannot report its address any more; if its key leaked, another may have.
                if not sighting.is_lapsed
                if (target := target_of(sighting.record, may_be_at=may_be_at)) is not None
            ]
            after, is_last = page.next_after, page.next_after is None


async def _whole(first: list[Json], others: AsyncIterator[list[Json]]) -> AsyncIterator[bytes]:
    """All targets as one list in JSON."""
    separator = b"["
    targets: list[Json] | None = first
    while targets is not None:
        if targets:
            yield separator + orjson.dumps(targets)[1:-1]
            separator = b","
        targets = await anext(others, None)
    yield b"[]" if separator == b"[" else b"]"


_ALIVE = [State.NEW.value, State.UP.value]

"""
The living servers, for Prometheus' HTTP service discovery.

Its documentation ("Writing HTTP service discovery") asks for all targets in each answer, and for
200 with `[]` when there are none. Prometheus keeps the targets that it has when an answer is an
error or breaks off. So a database that does not answer is a 503, never an empty list, which would
make Prometheus forget all targets.
"""

import re
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from urllib.parse import urlsplit

import orjson
from attrs import evolve, fields
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from contract import Problem, ServerRecord, State
from receiver.domain.errors import Refusal
from receiver.domain.queries import Filter
from receiver.service.fleet import Sighting
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
    The servers that are up or new, each with its address, if that may be handed on. Those
    that belong to a key which was revoked or has expired are left out.

    The filters are those of the list of servers; `state` replaces "up or new".
    """
    _expect_filters(request)
    pages = _pages(services(request), list_query(request).matching)
    # Before the answer begins: while it has not, StoreUnavailable becomes a 503.
    first = await anext(pages)
    return StreamingResponse(_whole(first, pages), media_type="application/json")


def target_of(record: ServerRecord, *, may_be_at: Callable[[str], bool]) -> Json | None:
    """
    A server as a target with its labels; None when its address is unknown or not to be told.

    Only `endpoint_url` tells the scheme. Its path is that of the MCP server, not of metrics,
    so the URL is a `__meta_` label, which Prometheus drops after relabelling.

    Args:
        record: The server.
        may_be_at: Whether Prometheus may be led to a host, which is a name or an IP address.
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
        # For Prometheus an empty label does not exist.
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
    # A target with a slash is refused, and some other names would not lead anywhere.
    if record.hostname is not None and _HOSTNAME.fullmatch(record.hostname):
        return record.hostname
    return None


_PORTS = {"http": 80, "https": 443}
_HOSTNAME = re.compile(r"[\w.-]{1,253}")


def _expect_filters(request: Request) -> None:
    """Refuse parameters that would shorten the list; `list_query` refuses unknown ones."""
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
    """The targets in pages; at least one page."""
    # What is on this machine is no secret to who is on it, too.
    may_be_at = partial(found.endpoints.include, with_loopback=found.gate.is_for_this_machine)
    # New ones first: a server that goes from new to up meanwhile comes twice, and not never.
    states = _ALIVE if matching.state is None else [matching.state]
    for state in states:
        wanted, after, is_last = evolve(matching, state=state), None, False
        while not is_last:
            page = await found.fleet.page(wanted, after=after, limit=MAX_LIMIT)
            left_out = await _of_lapsed_keys(found, page.servers)
            yield [
                target
                for sighting in page.servers
                if matching.state is not None or not sighting.state.stale
                if sighting.record.server_id not in left_out
                if (target := target_of(sighting.record, may_be_at=may_be_at)) is not None
            ]
            after, is_last = page.next_after, page.next_after is None


async def _of_lapsed_keys(found: Services, servers: Sequence[Sighting]) -> set[str]:
    """
    The ids of those servers that belong to a key that was revoked or has expired.

    Nobody can say any more where they are, and the key may have been revoked because it leaked.
    """
    now = found.clock()
    lapsed = {key.id for key in found.mirror.keys if key.standing(now) != "active"}
    if not lapsed:
        return set()
    ids = [each.record.server_id for each in servers]
    owners = await found.calls.read(found.store.servers.owners, ids)
    return {server_id for server_id, owner in owners.items() if owner in lapsed}


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

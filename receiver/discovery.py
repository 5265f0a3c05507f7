"""
Prometheus finds the servers of the fleet: its HTTP service discovery.

What Prometheus asks of such a list (its documentation, "Writing HTTP service discovery"):
all targets in each answer, 200 with `[]` when there are none. It keeps the targets that it
has when the answer is an error or breaks off, so that a database that does not answer is a
503, never an empty list, which would make it forget them all.
"""

import re
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import orjson
from attrs import fields
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from contract import Problem, ServerRecord
from receiver.errors import Refusal
from receiver.fleet import Fleet, Page
from receiver.requests import MAX_LIMIT, list_query
from receiver.store import Filter

__all__ = ["discovery", "target_of"]

Json = dict[str, Any]


async def discovery(request: Request) -> Response:
    """
    The servers that are alive, up or new, each with where it can be reached.

    The filters are those of the list of servers; `state` takes the place of "alive".
    """
    _expect_filters(request)
    matching = list_query(request).matching
    fleet: Fleet = request.app.state.fleet
    # Before the answer begins: it is a problem then, when the database is away.
    first = await fleet.page(matching, after=None, limit=MAX_LIMIT)
    return StreamingResponse(_whole(fleet, matching, first), media_type="application/json")


def target_of(record: ServerRecord) -> Json | None:
    """
    A server as a target with its labels; None when nothing says where it is.

    The scheme is known from its `endpoint_url` only. The path there is that of an MCP
    server, and not of metrics: like everything that is of use for relabelling only, the
    URL is a label that does not stay.
    """
    labels = {"server_id": record.server_id}
    if record.endpoint_url is not None:
        url = urlsplit(record.endpoint_url)
        address = url.netloc if url.port else f"{url.netloc}:{_PORTS[url.scheme]}"
        labels |= {"__scheme__": url.scheme, "__meta_fleet_endpoint_url": record.endpoint_url}
    elif record.port is not None and (host := _host(record)) is not None:
        address = f"{host}:{record.port}"
    else:
        return None
    for name, value in _labels(record).items():
        # An empty label is one that is not there.
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
        primary = record.ip_addresses.primary
        return f"[{primary}]" if ":" in primary else primary
    # A target with a slash is refused, and some other names would not lead anywhere.
    if record.hostname is not None and _HOSTNAME.fullmatch(record.hostname):
        return record.hostname
    return None


_PORTS = {"http": 80, "https": 443}
_HOSTNAME = re.compile(r"[\w.-]{1,253}")


def _expect_filters(request: Request) -> None:
    """Refuse what would cut the list. What is no parameter at all is refused with the others."""
    cutting = {"limit", "cursor", "sort", "total"} & request.query_params.keys()
    if cutting:
        filters = ", ".join(field.name for field in fields(Filter))
        problems = [
            Problem(name, f"is no parameter here: the list is whole; these are: {filters}")
            for name in sorted(cutting)
        ]
        detail = "; ".join(map(str, problems))
        raise Refusal(400, "invalid_parameter", detail, errors=problems)


async def _whole(fleet: Fleet, matching: Filter, page: Page) -> AsyncIterator[bytes]:
    """All pages as one list in JSON, from the first on."""
    separator = b"["
    while True:
        targets = [
            target
            for sighting in page.servers
            if matching.state is not None or not sighting.state.stale
            if (target := target_of(sighting.record)) is not None
        ]
        if targets:
            yield separator + orjson.dumps(targets)[1:-1]
            separator = b","
        if page.next_after is None:
            break
        page = await fleet.page(matching, after=page.next_after, limit=MAX_LIMIT)
    yield b"[]" if separator == b"[" else b"]"

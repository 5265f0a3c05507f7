"""The configuration files with which MCP clients connect to servers of the fleet."""

from collections.abc import Mapping, Sequence
from functools import partial

from attrs import evolve
from starlette.requests import Request
from starlette.responses import Response

from contract import ServerRecord, State
from receiver.domain.agents.client_files import (
    Client,
    ClientFile,
    Connection,
    client_file,
    connections_to,
    is_connectable,
)
from receiver.domain.errors import Refusal
from receiver.domain.queries import ALL_SERVERS, Filter, Order
from receiver.web import openapi
from receiver.web.context import Services, services
from receiver.web.openapi import Json, operation
from receiver.web.requests import MAX_LIMIT, connection_query

__all__ = [
    "CONNECTION",
    "CONNECTIONS",
    "connection",
    "connection_of",
    "connection_to",
    "connections",
    "connections_of",
    "may_be_at",
]

_FILES = {
    "description": "The file, which has no key in it",
    "content": {
        "application/json": {"schema": {"type": "object"}},
        "application/toml": {"schema": openapi.TEXT},
    },
}
CONNECTION: Json = operation(
    "connection",
    "The file with which an MCP client connects to a server",
    parameters=[openapi.CLIENT],
    answers={200: _FILES},
    problems=(400, 401, 403, 404, 503),
)
CONNECTIONS: Json = operation(
    "connections",
    "The file with which an MCP client connects to all servers that match",
    description=f"Of at most {MAX_LIMIT:,} servers. Those are left out that report no "
    "endpoint_url, or one that FLEET_ENDPOINTS excludes or the client cannot take, and those whose "
    "key was revoked or has expired.",
    parameters=[openapi.CLIENT, *openapi.FILTERS],
    answers={200: _FILES},
    problems=(400, 401, 403, 404, 503),
)


async def connection(request: Request) -> Response:
    """Answer with a configuration file that lets an MCP client connect to one Odoo server."""
    client, _ = connection_query(request, allows_filters=False)
    found = services(request)
    only = await connection_to(found, request.path_params["server_id"], client)
    return _file(client_file(client, [only]))


async def connections(request: Request) -> Response:
    """Answer with a file with which an MCP client connects to all Odoo servers that match."""
    client, matching = connection_query(request, allows_filters=True)
    found = services(request)
    records = await _records(found, matching)

    def write() -> ClientFile | None:
        reached = [
            each for each in _reached(found, records).values() if is_connectable(client, each)
        ]
        return client_file(client, reached) if reached else None

    file = await found.calls.read(write)
    if file is None:
        raise Refusal(
            404,
            "no_endpoint",
            "No server that matches reports an endpoint_url that FLEET_ENDPOINTS includes.",
        )
    return _file(file)


async def connection_to(found: Services, server_id: str, client: Client) -> Connection:
    """
    What an MCP client needs to know to connect to an Odoo server: its URL, and a name for it.

    Raises Refusal if there is no such server, if its address must not be given to agents, or if the
    client cannot use the address.
    """
    sighting = await found.fleet.get(server_id)
    if sighting is None:
        raise Refusal(404, "not_found", f"There is no server {server_id!r}.")
    record = sighting.record
    only = await connection_of(found, record)
    if only is not None:
        if is_connectable(client, only):
            return only
        raise Refusal(404, "no_endpoint", f"{client.value} cannot take {only.url!r}.")
    if record.superseded_by is not None:
        reason = f"was rebuilt and goes on as {record.superseded_by!r}"
    elif record.state is State.LEFT:
        reason = "has left: the addon was uninstalled"
    elif sighting.is_lapsed:
        reason = "belongs to a key that was revoked or has expired"
    else:
        reason = "reports no endpoint_url, or one that FLEET_ENDPOINTS excludes"
    raise Refusal(404, "no_endpoint", f"The server {server_id!r} {reason}.")


async def connection_of(found: Services, record: ServerRecord) -> Connection | None:
    """
    How to connect to a server; None if agents must not be sent there.

    They must not if the server has left or was replaced, if its key was revoked or has expired, if
    it reports no `endpoint_url`, or if FLEET_ENDPOINTS excludes that address. The name of the
    connection differs from those of other servers with the same database and stage.
    """
    alike: Sequence[ServerRecord] = []
    if record.database is not None:
        same = evolve(ALL_SERVERS, database=record.database, stage=record.odoo_stage or "")
        page = await found.fleet.page(same, after=None, limit=_ALIKE)
        alike = [each.record for each in page.servers if each.record.server_id != record.server_id]
    # Sorted as a list is, so that the numbers in names are the same there.
    records = sorted([record, *alike], key=lambda each: each.server_id)
    reached = await connections_of(found, records)
    return reached.get(record.server_id)


async def connections_of(
    found: Services, records: Sequence[ServerRecord]
) -> Mapping[str, Connection]:
    """
    How to connect to servers, by `server_id`, without those to which agents must not be sent.

    These are servers that have left or were replaced, whose key was revoked or has expired, that
    report no `endpoint_url`, or whose address FLEET_ENDPOINTS excludes.
    """
    return await found.calls.read(_reached, found, records)


def _reached(found: Services, records: Sequence[ServerRecord]) -> Mapping[str, Connection]:
    return connections_to(
        records,
        owners=found.store.servers.owners([record.server_id for record in records]),
        lapsed=found.mirror.lapsed(found.clock()),
        may_be_at=partial(may_be_at, found),
    )


def may_be_at(found: Services, host: str) -> bool:
    """Whether an address with this host name or IP address may be given to agents."""
    # As long as only clients on this machine are served, they may see loopback addresses.
    return found.endpoints.include(host, with_loopback=found.gate.is_for_this_machine)


async def _records(found: Services, matching: Filter) -> list[ServerRecord]:
    """The records of all servers that match. Raises Refusal for more than `MAX_LIMIT`."""
    page = await found.fleet.page(matching, Order.SERVER_ID, after=None, limit=MAX_LIMIT)
    if page.next_after is not None:
        raise Refusal(
            400,
            "too_many_servers",
            f"More than {MAX_LIMIT:,} servers match: say more exactly which, such as by stage or "
            "database.",
        )
    return [each.record for each in page.servers]


def _file(file: ClientFile) -> Response:
    name = file.path.rpartition("/")[2]
    return Response(
        file.text,
        media_type=file.media_type,
        headers={"Content-Disposition": f'inline; filename="{name}"'},
    )


_ALIKE = 100
"""How many servers of the same database and stage are read to find a name that is unique."""

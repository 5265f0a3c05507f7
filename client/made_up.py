"""Made-up servers, for demonstrations and load tests of a receiver."""

import uuid
from ipaddress import IPv4Address, IPv6Address
from random import Random

from attrs import evolve

from contract import IpAddresses, ServerPayload, Tool, ToolAnnotations

__all__ = ["made_up_fleet", "rebuilt"]


def made_up_fleet(
    count: int, *, seed: int = 0, interval_seconds: float = 60.0
) -> list[ServerPayload]:
    """
    Make up `count` servers, each with its own `server_id`, database and `database_uuid`.

    The same seed makes the same servers, and a larger `count` only appends servers.
    `interval_seconds` is the interval between heartbeats that the servers declare.
    """
    return [_server(index, seed, interval_seconds) for index in range(count)]


def rebuilt(payload: ServerPayload) -> ServerPayload:
    """
    Return the payload of a server after a rebuild, which moves its database to a new host.

    The hostname, the addresses and therefore the `server_id` are different; the `database_uuid` is
    the same. The same payload always gives the same result.
    """
    random = _random("rebuilt", payload.server_id)
    role = payload.hostname.rpartition("-")[0]
    return _on_host(payload, f"{role}-{_serial(random)}", random)


def _server(index: int, seed: int, interval_seconds: float) -> ServerPayload:
    random = _random(seed, index)
    stage = _STAGES[index % len(_STAGES)]
    database = _database(index, stage, random)
    payload = ServerPayload(
        server_id=database,
        hostname="",
        ip_addresses=IpAddresses(primary="127.0.0.1", all=()),
        port=8768,
        transport="http/sse",
        version=random.choice(_VERSIONS),
        odoo_version=random.choice(_ODOO_VERSIONS),
        database=database,
        capabilities=_tools(random),
        odoo_stage=stage,
        database_uuid=str(uuid.UUID(int=random.getrandbits(128), version=4)),
        heartbeat_interval_seconds=interval_seconds,
    )
    payload = evolve(payload, tools=tuple(_TOOLS[name] for name in payload.capabilities))
    role = "odoosh" if stage else f"{database}-odoo"
    return _on_host(payload, f"{role}-{_serial(random)}", random)


def _on_host(payload: ServerPayload, hostname: str, random: Random) -> ServerPayload:
    ipv4 = str(IPv4Address("10.0.0.0") + random.randrange(1, 2**24 - 1))
    ipv6 = str(IPv6Address("2001:db8::") + random.getrandbits(64))
    return evolve(
        payload,
        server_id=f"{payload.database}_{hostname}",
        hostname=hostname,
        ip_addresses=IpAddresses(primary=ipv4, all=(ipv4, ipv6)),
        endpoint_url=f"https://{hostname}.example:{payload.port}/sse",
    )


def _database(index: int, stage: str, random: Random) -> str:
    """A unique database name: of a company by the index, with a number when all had their turn."""
    again, which = divmod(index, len(_COMPANIES))
    company = _COMPANIES[which] + (f"-{again + 1}" if again else "")
    branch = _BRANCHES[stage]
    return f"{company}-{branch}-{random.randrange(10**6, 10**7)}" if branch else company


def _tools(random: Random) -> tuple[str, ...]:
    return tuple(sorted(random.sample([*_TOOLS], random.randint(3, len(_TOOLS)))))


def _serial(random: Random) -> str:
    return f"{random.getrandbits(32):08x}"


def _random(*parts: object) -> Random:
    return Random("/".join(map(str, parts)))  # noqa: S311 - nothing here is secret


_BRANCHES = {"production": "main", "staging": "staging", "dev": "feature", "": ""}

_STAGES = ("production", "staging", "", "dev", "production")

_VERSIONS = ("1.0.0", "1.0.0", "1.0.0", "1.1.0")

_ODOO_VERSIONS = ("19.0", "19.0", "18.0", "17.0")

_COMPANIES = (
    "acme",
    "blue-harbor",
    "cedar-mill",
    "delta-foods",
    "evergreen",
    "fjord-line",
    "granite",
    "hopfield",
    "ironbridge",
    "juniper",
    "kestrel",
    "lakeside",
    "maplewood",
    "northwind",
    "oakridge",
    "pinecrest",
)

_READS = ToolAnnotations(readOnlyHint=True)
_WRITES = ToolAnnotations(readOnlyHint=False, destructiveHint=False)

_TOOLS = {
    tool.name: tool
    for tool in (
        Tool(
            name=name,
            title=name.replace("_", " ").capitalize(),
            description=description,
            annotations=_READS if name.startswith(("get", "list", "read", "search")) else _WRITES,
            provider="mcp_made_up",
        )
        for name, description in (
            ("confirm_sale_order", "Confirms a quotation, which makes it a sales order."),
            ("create_lead", "Creates a lead in the pipeline of the sales team."),
            ("create_quotation", "Creates a quotation for a customer, with its lines."),
            ("get_stock_levels", "Tells how many units of products are in each warehouse."),
            ("list_invoices", "Lists the invoices of a customer, and what is still to be paid."),
            ("list_models", "Lists the models of the database and their fields."),
            ("log_timesheet", "Records the hours that an employee worked on a task."),
            ("post_message", "Posts a message in the discussion of a record."),
            ("read_record", "Reads the fields of one record of any model."),
            ("register_payment", "Registers the payment of an invoice."),
            ("schedule_activity", "Schedules an activity, such as a call, for a user."),
            ("search_partners", "Finds customers and vendors by name, address or tax number."),
            ("search_products", "Finds products by name, barcode or category."),
            ("search_records", "Finds records of any model by a domain."),
        )
    )
}

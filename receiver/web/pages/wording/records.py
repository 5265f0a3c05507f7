"""The fields of a record, as a page shows them."""

from datetime import datetime
from typing import Any

from attrs import evolve, frozen

from contract import FAREWELL, IpAddresses, ServerRecord, State
from receiver.web.pages.wording.texts import shown, worded
from receiver.web.pages.wording.times import duration, exactly

__all__ = ["FACTS", "LABELS", "Fact", "facts"]

FACTS = {
    "Identity": {
        "server_id": "Server ID",
        "database": "Database",
        "database_uuid": "Database UUID",
        "node_of": "Node of",
        "node_count": "Other nodes",
        "labels": "Labels",
        "odoo_stage": "Stage",
    },
    "Address": {
        "hostname": "Hostname",
        "ip_addresses": "IP addresses",
        "port": "Port",
        "transport": "Transport",
        "endpoint_url": "Endpoint for MCP clients",
    },
    "Software": {
        "odoo_version": "Odoo",
        "version": "MCP server",
        "status": "Own status",
        "started_at": "Started",
        "uptime_seconds": "Uptime, as last heard",
        "capabilities": "Tools",
        "tools_digest": "Digest of the tools",
    },
    "Heartbeat": {
        "state": "State",
        "state_since": "In this state since",
        "last_seen": "Last seen",
        "heartbeat_interval_seconds": "Heartbeat interval",
        "heartbeat_count": "Heartbeats",
        "sequence": "Number of the last message",
        "timestamp": "Sender's clock, as last heard",
        "first_seen": "First seen",
        "registered_at": "Registered",
        "superseded_by": "Superseded by",
        "twin_of": "Twin of",
        "conflict_since": "Two machines under this ID since",
        "flapping_since": "Flapping since",
    },
}
"""The label of each field of a record, by the title of a group and the name of the field."""


@frozen(kw_only=True)
class Fact:
    """
    A field of a record, in the form in which a page shows it.

    Attributes:
        name: The name of the field.
        label: The label of the field.
        values: The lines of the value; empty when the value is unknown.
        moment: The value if the field is a time; otherwise None.
    """

    name: str
    label: str
    values: tuple[str, ...] = ()
    moment: datetime | None = None


def facts(record: ServerRecord) -> dict[str, list[Fact]]:
    """All fields of a record, as a page shows them, by the title of their group."""
    if record.status == FAREWELL and record.state is not State.LEFT:
        record = evolve(record, status=None)  # it sends again, but no status since its farewell
    return {
        group: [_fact(name, label, getattr(record, name)) for name, label in labels.items()]
        for group, labels in FACTS.items()
    }


def _fact(name: str, label: str, value: Any) -> Fact:
    match value:
        case datetime():
            return Fact(name=name, label=label, values=(exactly(value),), moment=value)
        case IpAddresses():
            addresses = dict.fromkeys([value.primary, *value.all])
            return Fact(name=name, label=label, values=tuple(addresses))
        case tuple():
            return Fact(name=name, label=label, values=tuple(map(shown, value)) or ("none",))
        case None:
            return Fact(name=name, label=label)
    if name.endswith("_seconds"):
        return Fact(name=name, label=label, values=(duration(value),))
    return Fact(name=name, label=label, values=(worded(value),))


LABELS = {name: label for group in FACTS.values() for name, label in group.items()}
"""The label of each field of a record, by the name of the field."""

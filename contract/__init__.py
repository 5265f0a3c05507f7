"""
The messages by which MCP servers in Odoo report to a receiver, and the rules for merging them.

An MCP server sends a `Registration` when it starts, and then a `Heartbeat` periodically. A receiver
merges these messages into one `ServerRecord` for each server (`merge`, `register`), derives events
from each change of a record (`changes`), and tells by the time since the last message whether the
server is alive (`liveness`).

This package does no I/O and reads no clock.
"""

from contract.answers import HeartbeatAnswer, RegistrationAnswer, RejectedAnswer, Want
from contract.codec import dumps, loads, parse, structure, unstructure
from contract.errors import FleetError, InvalidMessage, MalformedJSON, Problem, WrongServer
from contract.events import Event, EventKind, changes, tool_changes
from contract.fields import MOST_TOOLS
from contract.merging import MOVING, merge, merge_repeated, register, repeats
from contract.messages import FAREWELL, Heartbeat, IpAddresses, Registration, ServerPayload
from contract.record import ServerRecord, State
from contract.schema import json_schema
from contract.states import DEFAULT_INTERVAL_SECONDS, interval, liveness, patience
from contract.tools import Tool, ToolAnnotations, changed_tools, shortened, tools_digest

__all__ = [
    "DEFAULT_INTERVAL_SECONDS",
    "FAREWELL",
    "MOST_TOOLS",
    "MOVING",
    "Event",
    "EventKind",
    "FleetError",
    "Heartbeat",
    "HeartbeatAnswer",
    "InvalidMessage",
    "IpAddresses",
    "MalformedJSON",
    "Problem",
    "Registration",
    "RegistrationAnswer",
    "RejectedAnswer",
    "ServerPayload",
    "ServerRecord",
    "State",
    "Tool",
    "ToolAnnotations",
    "Want",
    "WrongServer",
    "changed_tools",
    "changes",
    "dumps",
    "interval",
    "json_schema",
    "liveness",
    "loads",
    "merge",
    "merge_repeated",
    "parse",
    "patience",
    "register",
    "repeats",
    "shortened",
    "structure",
    "tool_changes",
    "tools_digest",
    "unstructure",
]

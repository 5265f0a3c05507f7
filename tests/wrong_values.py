"""Test helper: for each field the values that the codec refuses, and its rule in words."""

from collections.abc import Callable
from typing import Any

from contract import (
    Event,
    Heartbeat,
    Registration,
    ServerPayload,
    ServerRecord,
    Tool,
    ToolAnnotations,
)

__all__ = ["PATH", "SHORT_TEXT", "TOOL", "WRONG", "WRONG_ITEMS"]

NO_TEXTS = [5, 0, 1.5, True, False, [], ["web-1"], {}, {"a": "b"}, "a\0b", "\0", "\ud800"]
NO_NUMBERS = ["5", "5.0", "", True, False, [], [5], {}, "NaN", float("nan"), float("inf"), 10**400]
NO_ORDINALS = [*NO_NUMBERS, "7", -1, -1.0, 1.5, 2**63, float(2**63), 2**64]
NO_LISTS = ["abc", "", 5, 0, True, False, {}, {"0": "abc"}]
NO_TIMES = [
    5,
    1769860800,
    1769860800.0,
    True,
    [],
    {},
    "",
    "now",
    "2026-01-31",
    "2026-01-31T12:00:00",
    "2026-01-31T12:00:00.5",
    "2026-01-31T12:00Z",
    "2026-01-31T12Z",
    "2026-01-31_12:00:00Z",
    "20260131T120000Z",
    "2026-W05-6T12:00:00Z",
    "2026-031T12:00:00Z",
    "2026-01-31T12:00:00+00",
    "9999-12-31T23:59:59.9999995Z",
    "2026-01-31T12:00:00+00:00:00",
    "2026-01-31T12:00:00+24:00",
    "2026-01-31T12:00:00+00:60",
    "2026-01-31T12:00:00+12:99",
    "2026-01-31T12:00:00 Z",
    "2026-01-31T12:00:00ZZ",
    "2026-01-31T12:00:00Z\n",
    " 2026-01-31T12:00:00Z",
    "2026-01-31T12:00:00.Z",
    "2026-01-31T12:00:00,5Z",
    "2026-01-31T24:00:00Z",
    "2026-01-31T12:60:00Z",
    "2026-01-31T23:59:60Z",
    "2026-02-29T12:00:00Z",
    "2026-00-31T12:00:00Z",
    "2026-13-31T12:00:00Z",
    "0000-01-31T12:00:00Z",
    "12026-01-31T12:00:00Z",
    "-2026-01-31T12:00:00Z",
    "0001-01-01T00:00:00+00:01",
    "9999-12-31T23:59:59-00:01",
    "\uff12026-01-31T12:00:00Z",
]
NO_ADDRESSES: list[Any] = [
    5,
    3232235521,
    True,
    None,
    [],
    {},
    "",
    "10.0.0",
    "10.0.0.0/8",
    "fd00::/8",
    "10.0.0.256",
    "10.0.0.05",
    "10.0.0.5 ",
    " 10.0.0.5",
    "10.0.0.5\n",
    "10.0.0.5:8768",
    "[fd00::5]",
    "fd00:::5",
    "fe80::5%eth0",
    "fe80::5%e\nth0",
    "localhost",
    "\uff110.0.0.5",
    "10.0.0.5\0",
]
NO_URLS = [
    5,
    True,
    [],
    {},
    "",
    "odoo.example",
    "//odoo.example",
    "ftp://odoo.example",
    "javascript:alert(1)//http://",
    "http:odoo.example",
    "http://",
    "http:///mcp",
    "http://?mcp",
    "http://:8768",
    "http://odoo.example:0",
    "http://odoo.example:65536",
    "http://odoo.example:-1",
    "http://odoo.example:\uff18768",
    "http://odoo.example:80:80",
    "http://[fd00::5",
    "http://[odoo]",
    "http://odoo example",
    "http://odoo.example/a b",
    "http://odoo.example\n",
    " http://odoo.example",
    "http://odoo.example\\mcp",
    'http://odoo.example/"onclick="alert(1)',
    "http://odoo.example/<script>",
    "http://odøø.example",
    "http://odoo.example/\u2028",
    "http://odoo.example/\0",
]

NO_DIGESTS = [*NO_TEXTS, "", "d" * 101, "a b", "a,b", "sha256:\n", "0a\n", "é", "\uff10"]
NO_FLAGS = ["true", "", 5, 0, 1, 0.0, 1.0, [], {}]
NO_PATHS = [
    *NO_TEXTS,
    "",
    "mcp",
    "//host",
    "//host/mcp",
    "/\\host",
    "\\/host",
    " /mcp",
    "/m cp",
    "/mcp\n",
    "/m\tcp",
    "/mcp\x7f",
    "/m%7",
    "/é",
    "/mcp#tools",
    "?db=acme",
    "http://host/mcp",
]

TEXT = "text"
TOOL = "text of 1 to 200 characters"
PORT = "a port from 1 to 65535"
TIME = "an ISO 8601 time with an offset"
SERVER_ID = "1 to 255 characters, none of them a control character"
STATE = "one of new, up, late, down, left"
ORDINAL = "a whole number from 0 to 9223372036854775807"
KIND = (
    "one of registered, moved, restarted, upgraded, capabilities_changed, tools_changed, "
    "stage_changed, updated, late, down, recovered, rebuilt, twin, node, node_left, copies, "
    "conflict, flapping, calm, left, deleted, refused_write, fleet_silent, silenced, acknowledged, "
    "undelivered, labelled"
)
DIGEST = "a digest: 1 to 100 letters, digits and characters of -_:.+/="
SHORT_TEXT = "text of at most 200 characters"
PATH = "the path of a URL, beginning with a single slash"
NO_IDS = [*NO_TEXTS, "", "a" * 256, "a\nb", "a\n", "\t", "a\x7f", "a\x9fb", None]

# For each field: its class, its name, its rule in words, and values that break the rule.
WRONG: list[tuple[type, str, str, list[Any]]] = [
    (Heartbeat, "server_id", SERVER_ID, NO_IDS),
    (Registration, "server_id", SERVER_ID, NO_IDS),
    (Heartbeat, "hostname", TEXT, NO_TEXTS),
    (Heartbeat, "ip_addresses", "an object", [*NO_LISTS[:-2], [], ["10.0.0.5"]]),
    (Heartbeat, "port", PORT, [*NO_NUMBERS, "8768", 0, -1, 65536, 65536.0, 8768.5, 2**64]),
    (Heartbeat, "transport", TEXT, NO_TEXTS),
    (Heartbeat, "version", TEXT, [*NO_TEXTS, 1.0]),
    (Heartbeat, "odoo_version", TEXT, [*NO_TEXTS, 19.0]),
    (Heartbeat, "database", TEXT, NO_TEXTS),
    (Heartbeat, "capabilities", "a list", NO_LISTS),
    (Heartbeat, "odoo_stage", TEXT, NO_TEXTS),
    (Heartbeat, "database_uuid", TEXT, NO_TEXTS),
    (Heartbeat, "endpoint_url", "an http or https URL", NO_URLS),
    (
        Heartbeat,
        "heartbeat_interval_seconds",
        "a number of seconds above 0",
        [*NO_NUMBERS, 0, 0.0, -0.0, -1],
    ),
    (Heartbeat, "status", TEXT, NO_TEXTS),
    (Heartbeat, "timestamp", TIME, NO_TIMES),
    (
        Heartbeat,
        "uptime_seconds",
        "a number of seconds, 0 or more",
        [*NO_NUMBERS, -1, -0.1, "300"],
    ),
    (Heartbeat, "sequence", ORDINAL, NO_ORDINALS),
    (Registration, "sequence", ORDINAL, NO_ORDINALS),
    (ServerPayload, "sequence", ORDINAL, NO_ORDINALS),
    (Heartbeat, "tools_digest", DIGEST, NO_DIGESTS),
    (Registration, "tools_digest", DIGEST, NO_DIGESTS),
    (Registration, "tools", "a list", NO_LISTS),
    (ServerPayload, "tools", "a list", NO_LISTS),
    (Heartbeat, "started_at", TIME, NO_TIMES),
    (Registration, "started_at", TIME, NO_TIMES),
    (ServerPayload, "hostname", TEXT, [*NO_TEXTS, None]),
    (ServerPayload, "port", PORT, [None, "8768"]),
    (ServerPayload, "capabilities", "a list", [*NO_LISTS, None]),
    (ServerRecord, "first_seen", TIME, [*NO_TIMES, None]),
    (ServerRecord, "registered_at", TIME, NO_TIMES),
    (ServerRecord, "last_seen", TIME, [*NO_TIMES, None]),
    (
        ServerRecord,
        "heartbeat_count",
        "a whole number, 0 or more",
        [*NO_NUMBERS[:-1], None, -1, -1.0, 1.5],
    ),
    (ServerRecord, "state", STATE, [*NO_TEXTS, None, "", "UP", "up ", "State.UP", "superseded"]),
    (ServerRecord, "state_since", TIME, [*NO_TIMES, None]),
    (ServerRecord, "superseded_by", SERVER_ID, NO_IDS[:-1]),
    (ServerRecord, "twin_of", SERVER_ID, NO_IDS[:-1]),
    (ServerRecord, "node_count", "a whole number, 0 or more", [*NO_NUMBERS[:-1], None, -1, 1.5]),
    (ServerRecord, "node_of", SERVER_ID, NO_IDS[:-1]),
    (ServerRecord, "conflict_since", TIME, NO_TIMES),
    (ServerRecord, "flapping_since", TIME, NO_TIMES),
    (ServerRecord, "labels", "a list", NO_LISTS),
    (Event, "kind", KIND, [*NO_TEXTS, None, "", "LATE", "EventKind.LATE", "new"]),
    (Event, "at", TIME, [*NO_TIMES, None]),
    (Event, "server_id", SERVER_ID, NO_IDS[:-1]),
    (Event, "details", "an object", [*NO_LISTS[:-2], None, [], [["silent", 40]]]),
    (Tool, "name", TOOL, [*NO_TEXTS, None, "", "t" * 201]),
    (Tool, "title", SHORT_TEXT, [*NO_TEXTS, "t" * 201]),
    (Tool, "description", "text of at most 4000 characters", [*NO_TEXTS, "d" * 4001]),
    (Tool, "annotations", "an object", [*NO_LISTS[:-2], [], [["readOnlyHint", True]]]),
    (Tool, "input_schema_digest", DIGEST, NO_DIGESTS),
    (Tool, "provider", SHORT_TEXT, [*NO_TEXTS, "t" * 201]),
    (Tool, "endpoint_path", PATH, NO_PATHS),
    (ToolAnnotations, "readOnlyHint", "true or false", NO_FLAGS),
    (ToolAnnotations, "destructiveHint", "true or false", NO_FLAGS),
    (ToolAnnotations, "idempotentHint", "true or false", NO_FLAGS),
    (ToolAnnotations, "openWorldHint", "true or false", NO_FLAGS),
]
# For each place in a list or object: a heartbeat's field with a value there, the path of the place,
# its rule in words, and values that break the rule.
WRONG_ITEMS: list[tuple[Callable[[Any], dict[str, Any]], str, str, list[Any]]] = [
    (
        lambda value: {"capabilities": ["create", value, "search"]},
        "capabilities[1]",
        TOOL,
        [*NO_TEXTS, None, "", "t" * 201],
    ),
    (
        lambda value: {"ip_addresses": {"primary": "10.0.0.5", "all": ["10.0.0.5", value]}},
        "ip_addresses.all[1]",
        "an IP address",
        NO_ADDRESSES,
    ),
    (
        lambda value: {"ip_addresses": {"primary": value, "all": []}},
        "ip_addresses.primary",
        "an IP address",
        NO_ADDRESSES,
    ),
]

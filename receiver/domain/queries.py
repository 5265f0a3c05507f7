"""Queries for lists of servers and of events: filters, orders, pagination positions and pages."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from enum import Enum, IntEnum
from hashlib import sha256
from typing import Any, NamedTuple

from attrs import field, fields, frozen
from msgspec import Struct

from contract import Event, EventKind, ServerRecord, State, Tool, unstructure
from receiver.domain.instants import MICROSECOND, microseconds

__all__ = [
    "ALL_EVENTS",
    "ALL_SERVERS",
    "FIRST_TOOLS",
    "LISTED",
    "MOST_NAMED_SERVERS",
    "NODE",
    "SUPERSEDED",
    "EventFilter",
    "EventPage",
    "Filter",
    "Grouping",
    "Node",
    "OfferedTool",
    "Order",
    "PageRequest",
    "Place",
    "Rank",
    "Reachable",
    "RecordedEvent",
    "ServerPage",
    "SignsOfLife",
    "ToolPage",
    "ToolPlace",
    "ToolsOfServer",
    "Walk",
    "Whereabouts",
    "Without",
    "index_text",
    "rank_of",
    "ranks_of",
    "ranks_wanted",
]

SUPERSEDED = "superseded"
"""
The value of the filter `state` for superseded servers.

A server is superseded when its database was rebuilt and runs under another `server_id`.
"""

NODE = "node"
"""
The value of the filter `state` for nodes.

A node is a server in place of which lists show another server of the same database.
"""


def _texts(value: str | Iterable[str] | None) -> tuple[str, ...]:
    """The texts of an attribute of `Filter`, sorted and without repetitions."""
    if value is None or isinstance(value, str):
        return () if value is None else (value,)
    return tuple(sorted({*value}))


Without = tuple[tuple[str, tuple[str, ...]], ...]
"""Names of attributes of `Filter`, each with values that a server must not have."""


@frozen(kw_only=True)
class Filter:
    """
    A filter for a list of servers.

    A server must match each attribute that is not empty: it has at least one of the values of the
    attribute. A single text or None may be given in place of a tuple.

    Attributes:
        state: States in the database, which the watchdog (the task that looks for silent servers)
            updates about every second; also `superseded`, for servers that were replaced by a
            rebuild of their database; and `node`, for servers in place of which lists show another
            server of their database. Without a state, the servers are found that are neither
            superseded nor nodes, and have not left.
        stage: Stages of Odoo.sh; "" finds servers whose stage is empty or unknown.
        database: Names of databases.
        version: Versions of the MCP server.
        odoo_version: Versions of Odoo.
        capability: Names of MCP tools, of which the server must offer one.
        server_id: Ids of servers.
        network: Networks of primary IP addresses, as
            `receiver.domain.lists.profiles.network_of` returns them.
        key: Ids or names of the API keys that servers belong to; "" finds servers of no key.
        label: Labels of databases, in lower case.
        words: Texts, each of which must be found in the names, addresses, versions or tools of the
            server, or in the labels or the note of its database; see
            `receiver.domain.lists.search_texts`.
        in_notes: Whether words are searched in labels and notes, too.
        without: Pairs of the name of an attribute above, but neither `words` nor `in_notes`, and
            values of which the server must have none.
    """

    state: tuple[str, ...] = field(default=(), converter=_texts)
    stage: tuple[str, ...] = field(default=(), converter=_texts)
    database: tuple[str, ...] = field(default=(), converter=_texts)
    version: tuple[str, ...] = field(default=(), converter=_texts)
    odoo_version: tuple[str, ...] = field(default=(), converter=_texts)
    capability: tuple[str, ...] = field(default=(), converter=_texts)
    server_id: tuple[str, ...] = field(default=(), converter=_texts)
    network: tuple[str, ...] = field(default=(), converter=_texts)
    key: tuple[str, ...] = field(default=(), converter=_texts)
    label: tuple[str, ...] = field(default=(), converter=_texts)
    words: tuple[str, ...] = field(default=(), converter=_texts)
    in_notes: bool = True
    without: Without = ()

    @property
    def is_of_states_alone(self) -> bool:
        """Whether nothing but its state decides whether a server matches."""
        return all(name == "state" for name, _ in self.without) and not any(
            getattr(self, name) for name in _OTHERS_THAN_STATE
        )


_OTHERS_THAN_STATE = tuple(
    each.name for each in fields(Filter) if each.name not in {"state", "in_notes", "without"}
)


ALL_SERVERS = Filter()
"""Finds all servers that are neither superseded nor nodes, and have not left."""


class Rank(IntEnum):
    """
    The place of a server in a list that begins with the servers that need somebody's attention.

    Lower ranks come first. A server that is new or up is strange if it flaps, has a twin (one of
    the two has a copy of the other's database), or is two machines that send under one id.
    """

    DOWN = 0
    LATE = 1
    STRANGE_NEW = 2
    STRANGE = 3
    NEW = 4
    UP = 5
    LEFT = 6
    NODE = 7
    SUPERSEDED = 8

    @property
    def state(self) -> str:
        """The value of `Filter.state` that finds the servers of this rank."""
        return _STATES[self]


_STATES = {
    Rank.DOWN: State.DOWN.value,
    Rank.LATE: State.LATE.value,
    Rank.STRANGE_NEW: State.NEW.value,
    Rank.STRANGE: State.UP.value,
    Rank.NEW: State.NEW.value,
    Rank.UP: State.UP.value,
    Rank.LEFT: State.LEFT.value,
    Rank.NODE: NODE,
    Rank.SUPERSEDED: SUPERSEDED,
}

LISTED = frozenset(Rank) - {Rank.LEFT, Rank.NODE, Rank.SUPERSEDED}
"""The ranks of the servers that lists show without a filter by state."""


def rank_of(record: ServerRecord) -> Rank:
    """The rank of a server."""
    if record.superseded_by is not None:
        return Rank.SUPERSEDED
    if record.node_of is not None:
        return Rank.NODE
    is_strange = (record.flapping_since, record.twin_of, record.conflict_since) != (None,) * 3
    return (_STRANGE_RANKS if is_strange else _RANKS)[record.state]


_RANKS = {
    State.DOWN: Rank.DOWN,
    State.LATE: Rank.LATE,
    State.NEW: Rank.NEW,
    State.UP: Rank.UP,
    State.LEFT: Rank.LEFT,
}
_STRANGE_RANKS = {**_RANKS, State.NEW: Rank.STRANGE_NEW, State.UP: Rank.STRANGE}


def ranks_of(states: Iterable[str]) -> frozenset[Rank]:
    """The ranks of the servers that a filter with these values of `Filter.state` finds."""
    wanted = {*states}
    return frozenset(rank for rank in Rank if rank.state in wanted)


def ranks_wanted(matching: Filter, *, listed: Collection[Rank] = LISTED) -> frozenset[Rank]:
    """
    The ranks of the servers that a filter finds, by its states and those that it excludes.

    If the filter names no states, it finds the ranks `listed`, without those that it excludes.
    """
    unwanted = ranks_of(dict(matching.without).get("state", ()))
    return (ranks_of(matching.state) if matching.state else frozenset(listed)) - unwanted


class Grouping(str, Enum):
    """By which field of the record the page for a screen on a wall (`/wall`) groups servers."""

    STAGE = "stage"
    ODOO_VERSION = "odoo_version"
    VERSION = "version"


class Node(NamedTuple):
    """
    The fields of a node that lists show together with the listed server of its database.

    If several servers (Odoo processes) share a database, lists show one of them in place of all;
    the others are its nodes.
    """

    server_id: str
    hostname: str | None
    last_seen: datetime


class Order(str, Enum):
    """
    The order of a list of servers, by a field of the record; `-` means descending.

    `TROUBLE` is the order of the ranks: first the servers that need somebody. Servers with equal
    values are sorted by `server_id`.
    """

    SERVER_ID = "server_id"
    SERVER_ID_DOWN = "-server_id"
    FIRST_SEEN = "first_seen"
    FIRST_SEEN_DOWN = "-first_seen"
    LAST_SEEN = "last_seen"
    LAST_SEEN_DOWN = "-last_seen"
    TROUBLE = "trouble"

    @property
    def field(self) -> str:
        """The field of the record that the list is sorted by; `trouble` for the rank."""
        return self.value.removeprefix("-")

    @property
    def is_descending(self) -> bool:
        return self.value.startswith("-")

    @property
    def is_moving(self) -> bool:
        """Whether servers may change their positions while a client reads page after page."""
        return self.field == "last_seen"

    def place(self, record: ServerRecord, walk: "Walk | None" = None) -> "Place":
        """
        Return the position right after a server in a list of this order, for the next page.

        `walk` is needed for the first part of a list by `last_seen`; see `Place`.
        """
        if self.field == "server_id":
            return Place(record.server_id)
        if self is Order.TROUBLE:
            return Place(record.server_id, rank_of(record).value)
        return Place(record.server_id, microseconds(getattr(record, self.field)), walk)


class Walk(NamedTuple):
    """
    What the cursor of a list by `last_seen` carries from the first page to the later ones.

    A server that sends a message while a client reads the pages changes its position, perhaps to
    a page that was read already. So the list has a second part. After the last server in the order
    of `last_seen`, it lists the servers that have sent since the first page, sorted by `server_id`.

    Attributes:
        began: When the first page was read, in microseconds since 1970.
        fingerprint: A checksum of the servers whose `last_seen` is between `settled` and `began`.
            It changes when one of them changes. An ascending list needs none, and has 0.
    """

    began: int
    fingerprint: int = 0

    @property
    def settled(self) -> int:
        """
        Five seconds before `began`, in microseconds since 1970.

        Messages that were received until that time were committed before the first page was read.
        Later ones may have been committed after it, because a commit takes some time, and because
        the clocks of the receivers that note the times of receipt may differ.
        """
        return self.began - _SETTLING // MICROSECOND


_SETTLING = timedelta(seconds=5)


class Place(NamedTuple):
    """
    A position in a list of servers, for keyset pagination: right after one of the servers.

    Attributes:
        server_id: The id of that server.
        moment: That server's `first_seen` or `last_seen`, whichever the list is sorted by, in
            microseconds since 1970; its rank, if the list is sorted by that; None if the list is
            sorted by `server_id`.
        walk: Only in the first of the two parts of a list by `last_seen`, which `Walk` describes;
            otherwise None.
        heard_after: Only in the second part of a list by `last_seen`: the part contains the servers
            whose `last_seen` is after this time, in microseconds since 1970. Otherwise None.
        is_end: Whether a page ends here, right before the server, and does not begin after it.
    """

    server_id: str
    moment: int | None = None
    walk: Walk | None = None
    heard_after: int | None = None
    is_end: bool = False


@frozen(kw_only=True)
class PageRequest:
    """
    A request for a page of a list of servers.

    Attributes:
        limit: How many servers the page has at most.
        now: The time of the request.
        after: The position at which the page begins, or ends if its `is_end` is true; None for the
            first page.
    """

    limit: int
    now: datetime
    after: Place | None = None


class ServerPage(NamedTuple):
    """
    A page of a list of servers.

    Attributes:
        records: The records.
        next_after: The position after which the next page begins; None if this is the last page.
        previous: The position before which the previous page ends; None if this is the first page.
    """

    records: list[ServerRecord]
    next_after: Place | None
    previous: Place | None = None


class Whereabouts(Struct, frozen=True, gc=False):
    """
    The fields of a server's record for a list of addresses, such as the one for Prometheus.

    They say where the server can be reached, and what it is.

    Attributes:
        ip_address: The primary IP address of the server; None if it is unknown, or if the
            `endpoint_url` is known.
    """

    server_id: str
    endpoint_url: str | None
    ip_address: str | None
    port: int | None
    hostname: str | None
    odoo_stage: str | None
    version: str | None
    database: str | None
    odoo_version: str | None


class SignsOfLife(Struct, frozen=True, gc=False):
    """
    Fields of a server that tell whether it is alive now, and whether its key is valid.

    Attributes:
        owner: The id of the key that the server belongs to; None if it belongs to none.
        last_seen: When the latest message of the server was received.
        interval_seconds: The interval between heartbeats that the server declares; None if it
            declares none.
        has_nodes: Whether its database has several servers. If so, its state also depends on the
            messages of the others.
    """

    owner: str | None
    last_seen: datetime
    interval_seconds: float | None
    has_nodes: bool


class Reachable(NamedTuple):
    """
    The servers in a part of a list of addresses. Each server has one item in each of the two lists.

    `next_after` is the `server_id` after which the next part begins; None if this is the last part.

    The items are structs of msgspec, because it takes several times as long to make named tuples or
    objects of attrs. They hold only texts, numbers and times, so they cannot be part of a reference
    cycle, and the garbage collector need not look at them (`gc=False`).
    """

    whereabouts: list[Whereabouts]
    signs: list[SignsOfLife]
    next_after: str | None


@frozen(kw_only=True)
class ToolsOfServer:
    """
    The description of the tools of a server.

    Attributes:
        tools: The tools, as the server last described them; None if it has never done so.
        is_current: Whether the server has the same tools now, by the digest in its latest message.
    """

    tools: Sequence[Tool] | None
    is_current: bool


MOST_NAMED_SERVERS = 20
"""How many servers are named at most: those that offer a tool, or those in a message."""


@frozen(kw_only=True)
class OfferedTool:
    """
    A tool, and the servers that offer it.

    Attributes:
        tool: The tool.
        server_ids: The first of the sorted ids of the servers, `MOST_NAMED_SERVERS` at most.
        server_count: The number of all servers that offer the tool.
    """

    tool: Tool
    server_ids: Sequence[str]
    server_count: int


class ToolPlace(NamedTuple):
    """
    The beginning of a page in the list of tools that a search for words finds.

    The first pages have the tools with all words. Only if no such tool is found, pages follow with
    tools that lack some words, but come near.

    Attributes:
        after: The number of the catalogue after which the page begins. A catalogue is a description
            of tools, which servers with the same tools share.
        is_near: Whether the page has tools that lack some words.
        has_found: Whether an earlier page has a tool with all words.
    """

    after: int = 0
    is_near: bool = False
    has_found: bool = False


FIRST_TOOLS = ToolPlace()
"""Where the first page of a list of tools begins."""


@frozen(kw_only=True)
class ToolPage:
    """
    A page of a list of tools.

    Attributes:
        tools: The tools, the best ones first.
        next_place: Where the next page begins; None if this is the last page.
    """

    tools: Sequence[OfferedTool]
    next_place: ToolPlace | None


@frozen(kw_only=True)
class EventFilter:
    """
    A filter for a list of events: an event must match every attribute that is set.

    Attributes:
        kinds: Only events of these kinds; events of all kinds if it is empty.
        server_id: Only events of this server and of the servers that it superseded (replaced in
            rebuilds of its database).
        since: Only events at or after this instant.
        until: Only events at or before this instant.
        servers: Only events of servers that match this filter now; None for the events of all
            servers, and those that are not about a single server.
    """

    kinds: frozenset[EventKind] = frozenset()
    server_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    servers: Filter | None = None


ALL_EVENTS = EventFilter()


@frozen
class RecordedEvent:
    """
    An event that is in the database.

    Attributes:
        id: The event's number. Numbers rise in the order of the commits; no number is used twice.
        event: The event.
    """

    id: int
    event: Event

    def to_json(self) -> dict[str, Any]:
        return {"id": self.id, **unstructure(self.event), "details": dict(self.event.details)}


class EventPage(NamedTuple):
    """
    A page of a list of events, newest first.

    Attributes:
        events: The events.
        next_before: The next page has the newest events whose numbers are below this number; None
            if this is the last page.
    """

    events: list[RecordedEvent]
    next_before: int | None


def index_text(text: str) -> str:
    """
    Return the form in which the table `facets`, the inverted index of servers, stores a text.

    It is the text itself, if that has at most 200 characters: a longer one may be too long for an
    index of PostgreSQL. The form of a longer text, and of one that begins with `sha256:`, is
    `sha256:` and the digest of the text.
    """
    if len(text) <= 200 and not text.startswith(_DIGEST):
        return text
    return _DIGEST + sha256(text.encode()).hexdigest()


_DIGEST = "sha256:"

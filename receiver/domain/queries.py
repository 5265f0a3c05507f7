"""Filters, orders and places of lists of servers and of events, and pages of events."""

from datetime import datetime, timedelta
from enum import Enum
from hashlib import sha256
from typing import Any, NamedTuple

from attrs import frozen

from contract import Event, EventKind, ServerRecord, unstructure
from receiver.domain.instants import MICROSECOND, microseconds

__all__ = [
    "ALL_EVENTS",
    "ALL_SERVERS",
    "NODE",
    "SUPERSEDED",
    "EventFilter",
    "EventPage",
    "Filter",
    "Node",
    "Order",
    "PageRequest",
    "Place",
    "RecordedEvent",
    "ServerPage",
    "Walk",
    "index_text",
]

SUPERSEDED = "superseded"
"""The value of the filter `state` that finds servers which another one supersedes."""

NODE = "node"
"""The value of the filter `state` that finds servers for whose database another one stands."""


@frozen(kw_only=True)
class Filter:
    """
    Which servers to list: those that match every attribute that is not None.

    Attributes:
        state: The state in the database, which the watchdog updates about every second; or
            `superseded`, for servers that were replaced by a rebuild of their database, or
            `node`, for servers for whose database another one stands. None finds all servers
            that are neither, and have not left.
        stage: The Odoo.sh stage; "" finds servers whose stage is empty or unknown.
        q: Text contained in hostname, database or server_id, ignoring case. SQLite ignores
            the case of ASCII letters only.
    """

    state: str | None = None
    stage: str | None = None
    database: str | None = None
    version: str | None = None
    odoo_version: str | None = None
    capability: str | None = None
    q: str | None = None


ALL_SERVERS = Filter()
"""All servers that stand for a database and have not left."""


class Node(NamedTuple):
    """A server for whose database another one stands, as lists show it."""

    server_id: str
    hostname: str | None
    last_seen: datetime


class Order(str, Enum):
    """The order of a list of servers; servers with equal values are sorted by `server_id`."""

    SERVER_ID = "server_id"
    SERVER_ID_DOWN = "-server_id"
    FIRST_SEEN = "first_seen"
    FIRST_SEEN_DOWN = "-first_seen"
    LAST_SEEN = "last_seen"
    LAST_SEEN_DOWN = "-last_seen"

    @property
    def field(self) -> str:
        """The field of the record that the list is sorted by."""
        return self.value.removeprefix("-")

    @property
    def is_descending(self) -> bool:
        return self.value.startswith("-")

    @property
    def is_moving(self) -> bool:
        """Whether servers change their places in the list while somebody reads its pages."""
        return self.field == "last_seen"

    def place(self, record: ServerRecord, walk: "Walk | None" = None) -> "Place":
        """The place of a server in a list of this order."""
        if self.field == "server_id":
            return Place(record.server_id)
        return Place(record.server_id, microseconds(getattr(record, self.field)), walk)


class Walk(NamedTuple):
    """
    What the later pages of a list by `last_seen` must know of the first one.

    A server that is heard changes its place in such a list. So the list has a second part:
    after the last server in the order of `last_seen` come, sorted by `server_id`, those that
    were heard since the first page.

    Attributes:
        began: When the first page was read, in microseconds since 1970.
        fingerprint: A number that differs once one of the servers was written that were last
            heard between `settled` and `began`. 0 where the list is ascending, which needs none.
    """

    began: int
    fingerprint: int = 0

    @property
    def settled(self) -> int:
        """
        The time until which all that was heard was committed when the first page was read.

        Messages that were received later may have been committed after it: the time of receipt
        is that of the clock of any receiver, and a commit takes a while.
        """
        return self.began - _SETTLING // MICROSECOND


_SETTLING = timedelta(seconds=5)


class Place(NamedTuple):
    """
    A place in a list of servers, for keyset pagination.

    Attributes:
        server_id: The last server before the place.
        moment: That server's `first_seen` or `last_seen` in microseconds since 1970, when
            the list is sorted by it.
        walk: Set in the first part of a list by `last_seen`.
        heard_after: Set in its second part, which contains the servers that were last heard
            after this time, in microseconds since 1970.
    """

    server_id: str
    moment: int | None = None
    walk: Walk | None = None
    heard_after: int | None = None


@frozen(kw_only=True)
class PageRequest:
    """
    Which part of a list of servers to read.

    Attributes:
        limit: How many servers at most.
        now: The time of the request.
        after: Where the page begins; None for the first page.
    """

    limit: int
    now: datetime
    after: Place | None = None


class ServerPage(NamedTuple):
    """The records of a page, and the place after which the next one begins, if there is one."""

    records: list[ServerRecord]
    next_after: Place | None


@frozen(kw_only=True)
class EventFilter:
    """
    Which events to list: those that match every attribute that is set.

    Attributes:
        kinds: Events of these kinds; of all kinds when it is empty.
        server_id: Events of this server and of those that it superseded.
        since: Events at or after this instant.
    """

    kinds: frozenset[EventKind] = frozenset()
    server_id: str | None = None
    since: datetime | None = None


ALL_EVENTS = EventFilter()


@frozen
class RecordedEvent:
    """
    An event that is in the database.

    Attributes:
        id: Rises in the order of the commits. The database never uses a number twice.
        event: The event.
    """

    id: int
    event: Event

    def to_json(self) -> dict[str, Any]:
        return {"id": self.id, **unstructure(self.event), "details": dict(self.event.details)}


class EventPage(NamedTuple):
    """Some of the events that were asked for, and whether there are more."""

    events: list[RecordedEvent]
    is_more: bool


def index_text(text: str) -> str:
    """
    A text as the table `facets`, the inverted index of servers, stores it.

    Texts of more than 200 characters are too long for an index of PostgreSQL; their SHA-256
    stands for them.
    """
    if len(text) <= 200 and not text.startswith(_DIGEST):
        return text
    return _DIGEST + sha256(text.encode()).hexdigest()


_DIGEST = "sha256:"

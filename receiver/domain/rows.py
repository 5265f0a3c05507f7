"""A row of the table `servers`, as a Python value."""

from collections.abc import Iterable
from typing import NamedTuple

from contract import ServerRecord, Tool, tools_digest

__all__ = ["Mark", "Row", "Turns", "catalogue_id", "is_of_catalogue"]


class Mark(NamedTuple):
    """
    How much one or several servers had sent at a certain time.

    What they have sent since then can be counted by a comparison with it.

    Attributes:
        at: The time of the snapshot, in microseconds since 1970.
        heartbeats: How many heartbeats the servers had sent.
        sequence: The largest sequence number of their messages; None when it is not known.
    """

    at: int
    heartbeats: int
    sequence: int | None

    def plus(self, other: "Mark") -> "Mark":
        """The sum of this snapshot and that of other servers, taken at the same time."""
        known = [each.sequence for each in (self, other) if each.sequence is not None]
        sequence = max(known) if len(known) == 2 else None
        return Mark(self.at, self.heartbeats + other.heartbeats, sequence)


class Turns(NamedTuple):
    """
    The latest turns of a server, which tell whether it flaps.

    A turn is a change between sending and not sending: the server stops, or it sends again. A
    server that has many turns in a short time flaps.

    Attributes:
        times: The times of the latest turns, in microseconds since 1970, oldest first. Only the
            number of turns that makes a server flap is kept. Empty while the server flaps.
        total: How many turns the server has had since it began to flap; 0 while it does not flap.
    """

    times: tuple[int, ...] = ()
    total: int = 0


class Row(NamedTuple):
    """
    The row of one server in the table `servers`.

    Attributes:
        record: The server's record.
        revision: Every write of the row raises it by one.
        due_at: When the watchdog must check the server's state again, in microseconds since 1970;
            None for never.
        owner: The id of the API key that the server belongs to; None when it belongs to none.
        mark: What this server and its nodes (the other servers of its database) had sent when the
            receiver began to count their messages. It counts them to find out whether another
            server with the same database UUID is a node, too, or belongs to a copy of the
            database. None while nothing is being counted.
        repeats: A score for the suspicion that two machines send under this `server_id`. It rises
            with each message whose sequence number is not above that of the message before, and
            falls with each other message.
        turns: The latest times at which the server stopped sending or sent again.
        catalogue: The id of the description of the server's tools, as `catalogue_id` makes it;
            None when the server has sent none.
    """

    record: ServerRecord
    revision: int
    due_at: int | None
    owner: str | None = None
    mark: Mark | None = None
    repeats: int = 0
    turns: Turns = Turns()
    catalogue: str | None = None

    @property
    def server_id(self) -> str:
        return self.record.server_id

    @property
    def lacks_tools(self) -> bool:
        """Whether the server has told the digest of a description of its tools that is unknown."""
        digest = self.record.tools_digest
        return digest is not None and not is_of_catalogue(digest, self.catalogue)


def catalogue_id(digest: str, tools: Iterable[Tool]) -> str:
    """
    The id of a description of tools: the digest that a server sent, and one that is computed here.

    A server may send any digest. With the other one, no server can change what is known of the
    tools of another server.
    """
    return f"{digest} {tools_digest(tools)}"


def is_of_catalogue(digest: str | None, catalogue: str | None) -> bool:
    """Whether the catalogue with this id is the one that came with a digest."""
    return catalogue is not None and digest == catalogue.partition(" ")[0]

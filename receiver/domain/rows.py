"""What the database keeps of a server, as a Python value."""

from collections.abc import Iterable
from typing import NamedTuple

from contract import ServerRecord, Tool, tools_digest

__all__ = ["Mark", "Row", "Turns", "catalogue_id", "is_of_catalogue"]


class Mark(NamedTuple):
    """
    A snapshot of how much one or several servers had sent at a certain time.

    Compared with a later snapshot, it tells how much they have sent in between.

    Attributes:
        at: The time of the snapshot, in microseconds since 1970.
        heartbeats: How many heartbeats the servers had sent.
        sequence: The largest sequence number of their messages; None when it is not known.
    """

    at: int
    heartbeats: int
    sequence: int | None

    def plus(self, other: "Mark") -> "Mark":
        """
        Return the snapshot of the servers of two snapshots, which were taken at the same time.

        Its sequence number is known only if that of both is known.
        """
        known = [each.sequence for each in (self, other) if each.sequence is not None]
        sequence = max(known) if len(known) == 2 else None
        return Mark(self.at, self.heartbeats + other.heartbeats, sequence)


class Turns(NamedTuple):
    """
    The latest turns of a server, which tell whether it flaps.

    A turn is a change between sending and not sending: the server stops, or it sends again. A
    server that has many turns in a short time flaps.

    Attributes:
        times: The times of the latest turns, in microseconds since 1970, oldest first. No more are
            kept than are needed to make a server flap. Empty while the server flaps.
        total: How many turns the server has had since it began to flap; 0 while it does not flap.
    """

    times: tuple[int, ...] = ()
    total: int = 0


class Row(NamedTuple):
    """
    The rows of one server in the tables `servers` and `liveness`, as one.

    Attributes:
        record: The server's record.
        revision: A number that every write of either row raises by one.
        due_at: When the watchdog (the task that looks for silent servers) must check the server's
            state again, in microseconds since 1970; None for never.
        owner: The id of the API key that the server belongs to; None when it belongs to none.
        mark: What this server and its nodes (the other servers of its database) had sent when the
            receiver began to count their messages. The receiver counts messages to find out whether
            another server with the same database UUID is a node, too, or belongs to a copy of the
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
        """Whether the receiver lacks the description of tools whose digest the server sent last."""
        digest = self.record.tools_digest
        return digest is not None and not is_of_catalogue(digest, self.catalogue)


def catalogue_id(digest: str, tools: Iterable[Tool]) -> str:
    """
    Make the id under which a description of tools is stored.

    It is the digest that the server sent, and one that is computed from `tools`. So a server that
    sends the digest of another server's tools cannot replace the description of those.
    """
    return f"{digest} {tools_digest(tools)}"


def is_of_catalogue(digest: str | None, catalogue: str | None) -> bool:
    """
    Whether a digest is the one with which a server sent a description of tools.

    `catalogue` is the id of the description, as `catalogue_id` makes it, or None if the receiver
    has none; then the answer is False.
    """
    return catalogue is not None and digest == catalogue.partition(" ")[0]

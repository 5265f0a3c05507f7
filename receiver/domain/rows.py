"""A row of the table of servers, as a value."""

from typing import NamedTuple

from contract import ServerRecord

__all__ = ["Mark", "Row"]


class Mark(NamedTuple):
    """
    What the servers of one database had sent at some time.

    Attributes:
        at: The time, in microseconds since 1970.
        heartbeats: How many heartbeats.
        sequence: The largest sequence number of a message; None when it is not known.
    """

    at: int
    heartbeats: int
    sequence: int | None

    def plus(self, other: "Mark") -> "Mark":
        """What these servers and others had sent together, at the same time."""
        known = [each.sequence for each in (self, other) if each.sequence is not None]
        sequence = max(known) if len(known) == 2 else None
        return Mark(self.at, self.heartbeats + other.heartbeats, sequence)


class Row(NamedTuple):
    """
    What the store keeps of one server.

    Attributes:
        record: The server's record.
        revision: Every write of the row raises it by one.
        due_at: When the watchdog must check the server's state again, in microseconds since 1970;
            None for never.
        owner: The id of the key that the server belongs to; None when it belongs to none.
        mark: What the server, with its nodes, had sent when it began to be watched: whether
            another server of the same database uuid is a node or a copy. None without a watch.
        repeats: How much speaks for two machines under this `server_id`: rises with each
            message whose sequence number is not above the last one, and falls with others.
    """

    record: ServerRecord
    revision: int
    due_at: int | None
    owner: str | None = None
    mark: Mark | None = None
    repeats: int = 0

    @property
    def server_id(self) -> str:
        return self.record.server_id

"""A row of the table `servers`, as a Python value."""

from typing import NamedTuple

from contract import ServerRecord

__all__ = ["Mark", "Row", "Turns"]


class Mark(NamedTuple):
    """
    A snapshot of how much one or several servers had sent, to count later what they sent since.

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
    How often a server has stopped sending or come back, to tell whether it flaps.

    Attributes:
        times: When it last did, in microseconds since 1970, oldest first; as many as are needed to
            tell that it begins to flap. Empty while it flaps.
        total: How often it did since it flaps; 0 while it does not flap.
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
        mark: Since when the messages of this server and its nodes (the other servers of its
            database) are being counted, to find out whether another server with the same
            database UUID is a node, too, or belongs to a copy of the database. None while
            nothing is being counted.
        repeats: A score for the suspicion that two machines send under this `server_id`: rises
            with each message whose sequence number is not above the last one, falls with others.
        turns: How often the server has stopped sending or come back.
    """

    record: ServerRecord
    revision: int
    due_at: int | None
    owner: str | None = None
    mark: Mark | None = None
    repeats: int = 0
    turns: Turns = Turns()

    @property
    def server_id(self) -> str:
        return self.record.server_id

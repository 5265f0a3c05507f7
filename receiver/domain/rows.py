"""A row of the table of servers, as a value."""

from typing import NamedTuple

from contract import ServerRecord

__all__ = ["Row"]


class Row(NamedTuple):
    """
    What the store keeps of one server.

    Attributes:
        record: The server's record.
        revision: Every write of the row raises it by one.
        due_at: When the watchdog must check the server's state again, in microseconds since 1970;
            None for never.
        owner: The id of the key that the server belongs to; None when it belongs to none.
    """

    record: ServerRecord
    revision: int
    due_at: int | None
    owner: str | None = None

    @property
    def server_id(self) -> str:
        return self.record.server_id

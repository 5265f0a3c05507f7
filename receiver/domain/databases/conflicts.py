"""Conflicts: two machines that send under one `server_id`, each with a database of its own."""

from contract import Heartbeat, Registration, State
from receiver.domain.rows import Row

__all__ = ["CONFLICT", "repeats_after"]

CONFLICT = 6
"""From this many `Row.repeats` on, two machines send under one `server_id`."""


def repeats_after(row: Row, message: Heartbeat | Registration) -> int:
    """
    `Row.repeats` after a message: by how much its numbers have gone back, again and again.

    Two machines make every other message go back. A message that was overtaken on its way, or a
    database that was restored, does so once; a message that is sent again has the same number
    and the same timestamp. After a farewell the addon may be installed again, which begins the
    numbers anew.
    """
    last, number = row.record.sequence, message.sequence
    if last is None or number is None or row.record.state is State.LEFT:
        return row.repeats
    if number > last:
        return max(0, row.repeats - 1)
    if number == last and getattr(message, "timestamp", None) in (None, row.record.timestamp):
        return row.repeats
    return min(row.repeats + _FOR_EACH, _MOST)


_FOR_EACH = 3
_MOST = 2 * CONFLICT

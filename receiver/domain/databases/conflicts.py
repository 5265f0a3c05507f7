"""Conflicts: two machines that send under one `server_id`, each with a database of its own."""

from contract import Heartbeat, Registration, State
from receiver.domain.rows import Row

__all__ = ["CONFLICT", "repeats_after"]

CONFLICT = 6
"""The score `Row.repeats` from which on two machines are taken to send under one `server_id`."""


def repeats_after(row: Row, message: Heartbeat | Registration) -> int:
    """
    The score `Row.repeats` after a message; it rises if the sequence number has not risen.

    When two machines send by turns, every other message has a smaller number than the one before.
    A message that was overtaken on its way, or a database that was restored, causes that only
    once. Two kinds of messages leave the score as it is: one that was sent again, with the same
    number and timestamp, and the first one after a farewell (state `left`), since an addon that
    is installed again begins its numbers anew.
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

"""Conflicts: two machines that send under one `server_id`, each with a database of its own."""

from contract import Heartbeat, Registration, State
from receiver.domain.rows import Row

__all__ = ["CONFLICT", "repeats_after"]

CONFLICT = 6
"""If the score `Row.repeats` of a server is at least this, two machines send under its id."""


def repeats_after(row: Row, message: Heartbeat | Registration) -> int:
    """
    Return the score `Row.repeats` after a message: how likely it is that two machines send.

    The score is 0 to 12. It falls by 1 if the sequence number of the message is above that of the
    message before; otherwise it rises by 3. When two machines send by turns, every other number is
    smaller than the one before. If a message was overtaken on its way, or if a database was
    restored, only one number is smaller. Three kinds of messages leave the score as it is: a
    message without a number; a message that is sent again, with the same number and timestamp; and
    the first message after a farewell (state `left`), because an addon that is installed again
    begins its numbers anew.

    Args:
        row: The row of the server before the message.
        message: The message, which is not merged into the row yet.
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

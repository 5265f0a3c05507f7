"""
Decides whether servers with the same database UUID that send in parallel are nodes or copies.

Nodes are servers (Odoo processes) of one database. Odoo runs the job that sends heartbeats on one
of them at a time, so together they send about one heartbeat in an interval, and they number their
messages in one sequence. A server of a copied database sends one heartbeat in each interval by
itself, and repeats the sequence numbers of the original.
"""

from enum import Enum

from attrs import frozen

__all__ = ["FAR_APART", "Sent", "Verdict", "has_copies", "judge", "misfit"]


class Verdict(Enum):
    """
    How two servers that send in parallel are related.

    `NODES`: both run one database. `COPIES`: each has a database of its own, and one of these is a
    copy of the other. `UNDECIDED`: what they have sent so far does not show it.
    """

    NODES = "nodes"
    COPIES = "copies"
    UNDECIDED = "undecided"


@frozen(kw_only=True)
class Sent:
    """
    What a server, or all nodes of one database, sent in a span of time.

    Attributes:
        intervals: The length of the span, in heartbeat intervals as the server declares them;
            0 when messages may have been missed.
        heartbeats: How many heartbeats arrived in the span.
        first: The largest sequence number before the span; None when it is not known.
        last: The largest sequence number at the end of the span; None when it is not known.
    """

    intervals: float
    heartbeats: int
    first: int | None = None
    last: int | None = None


def judge(one: Sent, other: Sent) -> Verdict:
    """Judge whether two servers are nodes or copies, by what each sent in the same span of time."""
    if one.first is None or one.last is None or other.first is None or other.last is None:
        return _by_pace(one, other)
    if one.last == other.last or abs(one.last - other.last) > FAR_APART:
        return Verdict.COPIES
    heartbeats = one.heartbeats + other.heartbeats
    numbers = max(one.last, other.last) - max(one.first, other.first)
    if _repeat(heartbeats, numbers, share=_MANY):
        return Verdict.COPIES
    # After a few heartbeats, one number that got lost makes copies look like nodes.
    allowed = _FEW * (heartbeats - _ENOUGH_HEARTBEATS)
    is_clear = heartbeats >= _ENOUGH_HEARTBEATS and heartbeats - numbers <= allowed
    return Verdict.NODES if is_clear else Verdict.UNDECIDED


def misfit(one: Sent, other: Sent) -> float:
    """
    How badly the messages of two servers fit a single database: 0 is best.

    The value only serves to compare pairs of servers. If the sequence numbers are known, it is the
    relative difference between the number of heartbeats received and that of sequence numbers used.
    Otherwise it is the product of both paces (heartbeats per interval): joining the pair with the
    smallest product brings the paces of all databases nearest to 1, because
    (a - 1)² + (b - 1)² - (a + b - 1)² = 1 - 2ab.
    """
    if one.first is None or one.last is None or other.first is None or other.last is None:
        return _pace(one) * _pace(other)
    numbers = max(one.last, other.last) - max(one.first, other.first)
    return abs((one.heartbeats + other.heartbeats) / numbers - 1) if numbers else 0.0


def _pace(sent: Sent) -> float:
    """How many heartbeats arrived per interval; 0 when messages may have been missed."""
    return sent.heartbeats / sent.intervals if sent.intervals else 0.0


def has_copies(sent: Sent, *, in_order: bool) -> bool:
    """
    Whether servers that were taken for nodes of one database turn out to run several copies of it.

    Args:
        sent: What all these servers sent together.
        in_order: Whether the sequence numbers of the servers rise in the order of their
            `last_seen`, like those of one database. If so, more numbers must have been used twice
            to prove that there are copies.
    """
    if sent.intervals < _ENOUGH_INTERVALS:
        return False
    if sent.first is None or sent.last is None:
        return sent.heartbeats >= _PACE_OF_NODES * sent.intervals + _SPARE_HEARTBEATS
    if sent.last < sent.first:
        return False  # the addon was installed again, which begins the numbers anew
    share = _MANY if in_order else _SOME
    return _repeat(sent.heartbeats, sent.last - sent.first, share=share)


def _repeat(heartbeats: int, numbers: int, *, share: float) -> bool:
    """
    Whether sequence numbers were used twice: more heartbeats arrived than there are numbers.

    The surplus must be at least this `share` of the heartbeats, from 0 to 1. A smaller one proves
    nothing, because a sender that gets no answer sends the same heartbeat again.
    """
    return heartbeats >= _ENOUGH_HEARTBEATS and heartbeats - numbers >= share * heartbeats


def _by_pace(one: Sent, other: Sent) -> Verdict:
    """
    Judge whether two servers are nodes or copies, by how many heartbeats each sent per interval.

    Undecided if the span of time is short, or if both send much less often than they declare.
    """
    if min(one.intervals, other.intervals) < _ENOUGH_INTERVALS:
        return Verdict.UNDECIDED
    paces = [_pace(each) for each in (one, other)]
    if min(paces) >= _PACE_OF_ONE:
        return Verdict.COPIES
    is_untrue = 0 < sum(paces) < _LEAST_PACE_OF_NODES  # without any heartbeat: they only register
    is_clear = sum(paces) <= _PACE_OF_NODES and not is_untrue
    return Verdict.NODES if is_clear else Verdict.UNDECIDED


FAR_APART = 200
"""If the latest numbers of two servers differ by more, they do not belong to one sequence."""

_ENOUGH_HEARTBEATS = 4
_ENOUGH_INTERVALS = 8
_FEW = 0.2
_SOME = 0.1
_MANY = 0.35
_LEAST_PACE_OF_NODES = 0.3  # heartbeats in an interval
_PACE_OF_NODES = 1.15
_SPARE_HEARTBEATS = 2
_PACE_OF_ONE = 0.8

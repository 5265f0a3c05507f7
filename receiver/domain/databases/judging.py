"""
Nodes or copies: what servers with one database uuid are that send in parallel.

Nodes are servers of one database. Odoo runs the job that sends heartbeats on one of them at a
time, so together they send about once an interval, and they number their messages in one
sequence. A copy of a database sends once an interval by itself, and repeats numbers of the
original.
"""

from enum import Enum

from attrs import frozen

__all__ = ["FAR_APART", "Sent", "Verdict", "has_copies", "judge", "misfit"]


class Verdict(Enum):
    """What two servers are that send in parallel."""

    NODES = "nodes"
    COPIES = "copies"
    UNDECIDED = "undecided"


@frozen(kw_only=True)
class Sent:
    """
    What a server, or all nodes of one database, sent in a span of time.

    Attributes:
        intervals: The length of the span, in intervals as the server declares them; 0 when not
            everything was counted.
        heartbeats: How many heartbeats arrived in the span.
        first: The largest sequence number before the span; None when it is not known.
        last: The largest sequence number at the end of the span.
    """

    intervals: float
    heartbeats: int
    first: int | None = None
    last: int | None = None


def judge(one: Sent, other: Sent) -> Verdict:
    """What two servers are, each of which was heard in the same span of time."""
    if one.first is None or one.last is None or other.first is None or other.last is None:
        return _by_pace(one, other)
    if one.last == other.last or abs(one.last - other.last) > FAR_APART:
        return Verdict.COPIES
    heartbeats = one.heartbeats + other.heartbeats
    numbers = max(one.last, other.last) - max(one.first, other.first)
    if _repeat(heartbeats, numbers, share=_MANY):
        return Verdict.COPIES
    is_clear = heartbeats >= _ENOUGH_HEARTBEATS and heartbeats - numbers <= _FEW * heartbeats
    return Verdict.NODES if is_clear else Verdict.UNDECIDED


def misfit(one: Sent, other: Sent) -> float:
    """
    How badly two servers fit one database, to compare it with how they fit others; 0 is best.

    With numbers, that is by how much the heartbeats differ from the numbers, as a part of these.
    By pace, it is the product of the paces: joining those of the smallest product brings the
    paces of all databases nearest to 1, as (a - 1)² + (b - 1)² - (a + b - 1)² = 1 - 2ab.
    """
    if one.first is None or one.last is None or other.first is None or other.last is None:
        return _pace(one) * _pace(other)
    numbers = max(one.last, other.last) - max(one.first, other.first)
    return abs((one.heartbeats + other.heartbeats) / numbers - 1) if numbers else 0.0


def _pace(sent: Sent) -> float:
    """How many heartbeats arrived in an interval."""
    return sent.heartbeats / sent.intervals if sent.intervals else 0.0


def has_copies(sent: Sent, *, in_order: bool) -> bool:
    """
    Whether servers that were taken for nodes of one database send for more than one.

    Args:
        sent: What they all sent.
        in_order: Whether each that was heard later has a larger sequence number.
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
    Whether numbers were given out twice, since more heartbeats arrived than there are numbers.

    A heartbeat whose answer is lost is sent again with its number, so a few prove nothing.
    """
    return heartbeats >= _ENOUGH_HEARTBEATS and heartbeats - numbers >= share * heartbeats


def _by_pace(one: Sent, other: Sent) -> Verdict:
    """What two servers are by how often they send; unknown when that is not what they declared."""
    if min(one.intervals, other.intervals) < _ENOUGH_INTERVALS:
        return Verdict.UNDECIDED
    paces = [_pace(each) for each in (one, other)]
    if min(paces) >= _PACE_OF_ONE:
        return Verdict.COPIES
    is_untrue = 0 < sum(paces) < _LEAST_PACE_OF_NODES  # servers that only register send at none
    is_clear = sum(paces) <= _PACE_OF_NODES and not is_untrue
    return Verdict.NODES if is_clear else Verdict.UNDECIDED


FAR_APART = 200
"""Numbers that differ by more are not of one sequence, when both were sent lately."""

_ENOUGH_HEARTBEATS = 4
_ENOUGH_INTERVALS = 8
_FEW = 0.2
_SOME = 0.1
_MANY = 0.35
_LEAST_PACE_OF_NODES = 0.3  # heartbeats in an interval
_PACE_OF_NODES = 1.15
_SPARE_HEARTBEATS = 2
_PACE_OF_ONE = 0.8

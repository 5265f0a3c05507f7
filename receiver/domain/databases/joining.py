"""
Joins lines whose servers turn out to be nodes of one database.

A line is the servers that are known to share a database. If the database of one line turns out to
be a copy of another line's database, the two lines are noted as twins. The package
`receiver.domain.databases` explains these words.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from math import inf

from receiver.domain.databases.judging import FAR_APART, Verdict, judge, misfit
from receiver.domain.databases.lines import CheckTimes, Line, join
from receiver.domain.databases.watching import (
    are_apart,
    are_in_order,
    is_watched,
    pair,
    sent_since,
)
from receiver.domain.instants import microseconds

__all__ = ["judged"]

Pair = tuple[int, int]
"""The indexes of two lines in the list of all lines, the smaller index first."""


def judged(lines: Sequence[Line], times: CheckTimes) -> list[Line]:
    """
    Join the lines whose servers turn out to be nodes of one database, and note copies as twins.

    A line is the known servers of one database. Its messages may fit those of another line, but
    also those of a copy of that line's database. It is joined with the line whose messages they fit
    better, and with neither of the two while they fit both about equally well.

    Args:
        lines: All lines that may have the same database, oldest first.
        times: The times of the check.

    Returns the lines after that: of lines that were joined, one.
    """
    pairs = {
        (n, m): (elder, younger) for (n, elder), (m, younger) in combinations(enumerate(lines), 2)
    }
    verdicts = {each: _verdict(*two, times) for each, two in pairs.items()}
    fits = {each: _misfit(*two, times) for each, two in pairs.items()}
    copies: defaultdict[int, set[int]] = defaultdict(set)
    for (n, m), verdict in verdicts.items():
        if verdict is Verdict.COPIES or are_apart(lines[n], lines[m]):
            copies[n].add(m)
            copies[m].add(n)
    nodes = [
        each
        for each, verdict in verdicts.items()
        if verdict is Verdict.NODES and _is_clear(each, fits, copies)
    ]
    return _paired(_joined(lines, sorted(nodes, key=fits.__getitem__), times), times)


def _is_clear(fit: Pair, fits: Mapping[Pair, float], copies: Mapping[int, Iterable[int]]) -> bool:
    """
    Whether two lines fit each other clearly better than either fits a copy of the other.

    Args:
        fit: The two lines.
        fits: The `_misfit` of each pair of lines.
        copies: For each line, the lines whose databases are copies of its database.
    """
    return all(fits[each] > fits[fit] + _CLEAR for each in _rivals(fit, copies))


def _rivals(fit: Pair, copies: Mapping[int, Iterable[int]]) -> Iterator[Pair]:
    """Yield pairs that compete with the pair `fit`: one of its lines with a copy of the other."""
    for mine, its in (fit, fit[::-1]):
        for copy in copies.get(its, ()):
            yield min(mine, copy), max(mine, copy)


def _joined(lines: Sequence[Line], nodes: Iterable[Pair], times: CheckTimes) -> list[Line]:
    """Join pairs of lines in the given order, unless they no longer fit after an earlier join."""
    found = list(lines)
    place = list(range(len(found)))  # where in `found` each line is, once some are joined
    for one, other in nodes:
        n, m = sorted((place[one], place[other]))
        if n != m and _verdict(found[n], found[m], times) is Verdict.NODES:
            found[n] = join(found[n], found[m], times)
            place = [n if each == m else each for each in place]
    return [found[n] for n in sorted({*place})]


def _paired(lines: Sequence[Line], times: CheckTimes) -> list[Line]:
    """Find all pairs of lines that are judged to be copies, and note both lines as twins."""
    found = list(lines)
    for n, m in combinations(range(len(found)), 2):
        if _verdict(found[n], found[m], times) is Verdict.COPIES:
            found[n], found[m] = pair(found[n], found[m])
    return found


def _verdict(elder: Line, younger: Line, times: CheckTimes) -> Verdict:
    """Judge whether two lines are nodes or copies, by the messages that were counted of both."""
    one, other = elder.leader.mark, younger.leader.mark
    if _takes_over(younger, elder, times):
        return Verdict.NODES
    if one is None or other is None or not is_watched(elder, younger, times):
        return Verdict.UNDECIDED
    if any(microseconds(line.latest.last_seen) <= one.at for line in (elder, younger)):
        return Verdict.UNDECIDED
    verdict = judge(sent_since(one, elder, times), sent_since(other, younger, times))
    if verdict is Verdict.NODES and not are_in_order([*elder.members, *younger.members]):
        return Verdict.UNDECIDED  # the smaller number may be of a message that was overtaken
    return verdict


def _misfit(elder: Line, younger: Line, times: CheckTimes) -> float:
    """
    How badly the messages of two lines fit a single database: 0 is best.

    Infinite while the lines cannot be compared, or when their sequence numbers are out of order.
    """
    one, other = elder.leader.mark, younger.leader.mark
    if _takes_over(younger, elder, times):
        return 0.0
    if one is None or other is None or not is_watched(elder, younger, times):
        return inf
    if not are_in_order([*elder.members, *younger.members]):
        return inf
    return misfit(sent_since(one, elder, times), sent_since(other, younger, times))


def _takes_over(line: Line, other: Line, times: CheckTimes) -> bool:
    """Whether a line continues the numbers of another one whose nodes have all stopped sending."""
    if not (other.nodes and other.state.stale and line.state.is_heard) or are_apart(line, other):
        return False
    last, before = line.latest.sequence, other.mark(times.now).sequence
    return last is not None and before is not None and before < last <= before + FAR_APART


_CLEAR = 0.05  # by how much the misfit of a pair must be smaller than any other to decide

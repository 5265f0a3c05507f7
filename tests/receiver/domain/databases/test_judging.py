"""Nodes or copies, judged by sequence numbers after only a few heartbeats."""

import pytest

from receiver.domain.databases.judging import Sent, Verdict, judge


def sent(heartbeats: int, last: int) -> Sent:
    return Sent(intervals=3.0, heartbeats=heartbeats, first=47, last=last)


@pytest.mark.parametrize(("heartbeats", "last"), [(2, 51), (3, 52), (4, 53)])
def test_copy_whose_first_number_was_lost_is_not_taken_for_a_node(
    heartbeats: int, last: int
) -> None:
    """The lost number makes up for one of those that original and copy both used."""
    original = sent(heartbeats, 47 + heartbeats)
    copy = sent(last - 48, last)

    assert Verdict.NODES is not judge(original, copy)


def test_nodes_are_known_after_four_heartbeats_with_a_number_each() -> None:
    assert Verdict.UNDECIDED is judge(sent(2, 49), sent(1, 50))
    assert Verdict.NODES is judge(sent(2, 50), sent(2, 51))


def test_nodes_whose_heartbeat_was_sent_twice_are_known_after_nine_heartbeats() -> None:
    assert Verdict.UNDECIDED is judge(sent(4, 53), sent(4, 54))
    assert Verdict.NODES is judge(sent(5, 55), sent(4, 54))

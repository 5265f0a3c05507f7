"""Whether anybody is told of what is wrong with a server, and if not, why."""

from datetime import timedelta
from typing import Any

import pytest

from alert_values import NOW, rule
from contract import ServerRecord, State
from receiver.domain.alerts.reach import OpenAlarm, Reach, Reached, Telling
from receiver.domain.databases import Noted, subject_of
from server_records import server_record

LATER = NOW + timedelta(minutes=10)
EARLIER = NOW - timedelta(minutes=10)


def record(state: State = State.DOWN) -> ServerRecord:
    return server_record(at=EARLIER, state=state, odoo_stage="staging")


def reached(kind: str, *, since: Any = EARLIER, **known: Any) -> Reached:
    telling = Telling(has_channel=True, **known)
    return telling.of(record(), kind, since=since, now=NOW)


def test_reach_is_no_channel_without_a_channel() -> None:
    assert Reached(Reach.NO_CHANNEL) == Telling().of(record(), "down", since=EARLIER, now=NOW)


@pytest.mark.parametrize(
    ("kind", "since", "of_rule", "reach"),
    [
        ("down", EARLIER, {"query": "stage:production"}, Reach.NO_RULE),
        ("down", EARLIER, {"kinds": {"flapping"}}, Reach.NO_RULE),
        ("down", EARLIER, {}, Reach.MISSED),
        ("down", EARLIER, {"kinds": {"late"}}, Reach.MISSED),
        ("down", NOW, {}, Reach.LATER),
        ("late", EARLIER, {"query": "state:down"}, Reach.LATER),
        ("late", EARLIER, {"query": "stage:production"}, Reach.NO_RULE),
        ("twin", None, {"kinds": {"twin"}}, Reach.MISSED),
    ],
)
def test_reach_says_by_the_rules_why_there_is_no_alarm(
    kind: str, since: Any, of_rule: dict[str, Any], reach: Reach
) -> None:
    assert Reached(reach) == reached(kind, since=since, rules=[rule(created_at=EARLIER, **of_rule)])


@pytest.mark.parametrize(
    ("age", "reach"), [(timedelta(seconds=59), Reach.LATER), (timedelta(minutes=1), Reach.MISSED)]
)
def test_reach_of_what_is_older_than_its_rule_is_later_while_the_rule_is_new(
    age: timedelta, reach: Reach
) -> None:
    """A receiver takes up what is wrong already soon after the rule was made."""
    assert Reached(reach) == reached("down", rules=[rule(created_at=NOW - age)])


@pytest.mark.parametrize(
    ("alarms", "expected"),
    [
        ([("down", NOW, None)], Reached(Reach.TOLD, NOW)),
        ([("down", None, LATER), ("late", EARLIER, None)], Reached(Reach.TOLD, EARLIER)),
        ([("down", None, LATER), ("down", None, NOW)], Reached(Reach.LATER, NOW)),
        ([("down", None, None)], Reached(Reach.LATER)),
        ([("flapping", NOW, None)], Reached(Reach.NO_RULE)),
    ],
)
def test_reach_says_by_the_open_alarms_when_a_message_is_sent(
    alarms: list[Any], expected: Reached
) -> None:
    assert expected == reached("down", open_alarms=[OpenAlarm("a", *each) for each in alarms])


def test_reach_ignores_alarms_of_other_servers() -> None:
    others = [OpenAlarm("b", "down", NOW, None)]

    assert Reached(Reach.NO_RULE) == reached("down", open_alarms=others)


def test_reach_finds_a_rule_by_words_of_a_note() -> None:
    known = {"rules": [rule(query="ann", created_at=EARLIER)]}
    noted = Noted({"ann": frozenset({subject_of(record())})})

    assert Reached(Reach.NO_RULE) == reached("down", **known)
    assert Reached(Reach.MISSED) == reached("down", **known, noted=noted)

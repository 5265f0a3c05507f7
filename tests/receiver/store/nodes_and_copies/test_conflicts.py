"""Two machines under one id are a conflict."""

from datetime import timedelta

import pytest

from contract import EventKind
from odoos import Odoo, by_turns, minutes, together
from watched import Watched

pytestmark = pytest.mark.one_database
"""Stories of the simulation have the same servers, and run on PostgreSQL too."""


def test_two_machines_under_one_id_are_a_conflict_once(fleet: Watched) -> None:
    original = Odoo(fleet, sequence=900)
    copy = Odoo(fleet, sequence=12)
    begin = fleet.now
    minutes(fleet, together((original, "a"), (copy, "a"), count=60))

    (told,) = fleet.details(EventKind.CONFLICT)
    assert told["sequence"]["from"] > 900 > told["sequence"]["to"]
    since = fleet.record("a").conflict_since
    assert since is not None
    assert begin < since <= begin + timedelta(minutes=5)


def test_conflict_ends_when_one_machine_goes_on(fleet: Watched) -> None:
    original = Odoo(fleet, sequence=900)
    copy = Odoo(fleet, sequence=12)
    minutes(fleet, together((original, "a"), (copy, "a"), count=60))
    minutes(fleet, together((original, "a"), count=30))

    assert None is fleet.record("a").conflict_since
    assert 1 == len(fleet.details(EventKind.CONFLICT))


def test_restored_database_and_overtaken_messages_are_no_conflict(fleet: Watched) -> None:
    odoo = Odoo(fleet, sequence=900)
    minutes(fleet, by_turns(odoo, "a", count=20))
    odoo.sequence = 400
    minutes(fleet, by_turns(odoo, "a", count=20))
    fleet.beat("a", sequence=odoo.sequence - 1)
    minutes(fleet, by_turns(odoo, "a", count=20))

    assert [] == fleet.told()


def test_message_that_is_sent_again_is_no_conflict(fleet: Watched) -> None:
    for n in range(20):
        fleet.clock.advance(60)
        for _ in range(3):
            fleet.beat("a", sequence=n, timestamp=fleet.now)
            fleet.register("a", sequence=n)

    assert [] == fleet.told()

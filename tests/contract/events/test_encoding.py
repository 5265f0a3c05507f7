"""Events are the same after a round trip through JSON, and have the documented form."""

import json
from datetime import datetime, timezone

from hypothesis import given

from changed import NOON, WEB, heard
from contract import Event, EventKind, ServerRecord, changes, dumps, loads
from strategies import changed_records, moments


@given(changed_records(), moments())
def test_events_are_the_same_on_both_sides_of_the_wire(
    pair: tuple[ServerRecord, ServerRecord], at: datetime
) -> None:
    happened = changes(*pair, at=at.astimezone(timezone.utc))

    assert happened == [loads(dumps(event), Event) for event in happened]


@given(changed_records(), moments())
def test_events_are_written_in_utc_with_z(
    pair: tuple[ServerRecord, ServerRecord], at: datetime
) -> None:
    written = at.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")

    for event in changes(*pair, at=at):
        assert written == json.loads(dumps(event))["at"]


def test_an_encoded_event_has_the_documented_form() -> None:
    (event,) = changes(WEB, heard(WEB, odoo_stage=""), at=NOON)

    assert {
        "kind": "stage_changed",
        "at": "2026-01-31T12:00:00Z",
        "server_id": "acme_web-1",
        "details": {"odoo_stage": {"from": "staging", "to": ""}},
    } == json.loads(dumps(event))


def test_an_event_of_the_fleet_has_no_server() -> None:
    event = Event(
        kind=EventKind.FLEET_SILENT, at=NOON, server_id=None, details={"silent": 40, "of": 50}
    )

    assert {
        "kind": "fleet_silent",
        "at": "2026-01-31T12:00:00Z",
        "server_id": None,
        "details": {"silent": 40, "of": 50},
    } == json.loads(dumps(event))

"""Examples of each kind of event."""

from typing import Any

import pytest
from attrs import evolve

from changed import NOON, UNKNOWN, WEB, details_by_kind, heard
from contract import IpAddresses


def test_the_first_heartbeat_of_a_server_causes_a_registered_event() -> None:
    assert {"registered": {}} == details_by_kind(None, heard(None, hostname="web-1"))


def test_an_ordinary_heartbeat_causes_no_event() -> None:
    assert {} == details_by_kind(
        WEB, heard(WEB, timestamp=NOON, uptime_seconds=3600.0, status="healthy")
    )


def test_a_changed_host_is_a_move() -> None:
    addresses = IpAddresses(primary="10.0.0.9", all=("10.0.0.9", "fd00::9"))

    assert {
        "moved": {
            "hostname": {"from": "web-1", "to": "web-2"},
            "ip_addresses": {
                "from": {"primary": "10.0.0.5", "all": ["10.0.0.5"]},
                "to": {"primary": "10.0.0.9", "all": ["10.0.0.9", "fd00::9"]},
            },
        }
    } == details_by_kind(WEB, heard(WEB, hostname="web-2", ip_addresses=addresses))


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("port", 8768, 8769),
        ("transport", "http/sse", ""),
        ("endpoint_url", "https://web-1.example/mcp", "https://web-2.example/mcp"),
    ],
)
def test_a_changed_connection_field_is_a_move(name: str, old: Any, new: Any) -> None:
    assert {"moved": {name: {"from": old, "to": new}}} == details_by_kind(
        WEB, heard(WEB, **{name: new})
    )


def test_a_changed_version_is_an_upgrade() -> None:
    assert {
        "upgraded": {
            "version": {"from": "1.0.0", "to": "1.1.0"},
            "odoo_version": {"from": "19.0", "to": "19.1"},
        }
    } == details_by_kind(WEB, heard(WEB, version="1.1.0", odoo_version="19.1"))


def test_changed_tools_are_reported_by_name() -> None:
    assert {
        "capabilities_changed": {
            "capabilities": {"gained": ["unlink", "write"], "lost": ["create"]}
        }
    } == details_by_kind(WEB, heard(WEB, capabilities=("write", "search", "unlink")))


def test_the_loss_of_all_tools_is_reported() -> None:
    assert {
        "capabilities_changed": {"capabilities": {"gained": [], "lost": ["create", "search"]}}
    } == details_by_kind(WEB, heard(WEB, capabilities=()))


def test_a_changed_stage_is_reported() -> None:
    assert {
        "stage_changed": {"odoo_stage": {"from": "staging", "to": "production"}}
    } == details_by_kind(WEB, heard(WEB, odoo_stage="production"))


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("database", "acme", "acme-2"),
        ("database_uuid", "7b2f", "9c4d"),
        ("heartbeat_interval_seconds", 300.0, 60.0),
        ("status", "healthy", "degraded"),
    ],
)
def test_a_changed_field_without_a_kind_of_its_own_is_an_update(
    name: str, old: Any, new: Any
) -> None:
    assert {"updated": {name: {"from": old, "to": new}}} == details_by_kind(
        WEB, heard(WEB, **{name: new})
    )


def test_a_field_that_becomes_known_is_an_update() -> None:
    told: dict[str, Any] = {
        "hostname": "web-1",
        "version": "1.0.0",
        "capabilities": ("create", "search"),
        "odoo_stage": "",
        "status": "healthy",
        "uptime_seconds": 5.0,
    }

    assert {
        "updated": {
            "hostname": {"from": None, "to": "web-1"},
            "version": {"from": None, "to": "1.0.0"},
            "capabilities": {"from": None, "to": ["create", "search"]},
            "odoo_stage": {"from": None, "to": ""},
        }
    } == details_by_kind(UNKNOWN, heard(UNKNOWN, **told))


def test_one_message_may_cause_several_events() -> None:
    after = heard(WEB, hostname="web-2", version="1.1.0", uptime_seconds=1.0)

    assert {"moved", "restarted", "upgraded"} == {*details_by_kind(WEB, after)}


def test_events_come_in_the_order_of_their_kinds() -> None:
    after = evolve(WEB, status="degraded", version="2", hostname="web-2", twin_of="acme_web-2")

    assert ["moved", "upgraded", "updated", "twin"] == [*details_by_kind(WEB, after)]

"""The made-up servers."""

from hypothesis import given
from hypothesis import strategies as st

from client.made_up import made_up_fleet, rebuilt
from contract import ServerPayload, structure, unstructure


def test_made_up_servers_are_the_same_for_the_same_seed() -> None:
    assert made_up_fleet(20, seed=7) == made_up_fleet(20, seed=7)


def test_made_up_servers_differ_for_another_seed() -> None:
    ids = {each.database_uuid for each in made_up_fleet(20, seed=7)}

    assert ids.isdisjoint(each.database_uuid for each in made_up_fleet(20, seed=8))


def test_larger_fleet_begins_with_the_smaller() -> None:
    assert made_up_fleet(40)[:15] == made_up_fleet(15)


@given(st.integers(), st.integers(0, 60))
def test_made_up_servers_are_distinct(seed: int, count: int) -> None:
    fleet = made_up_fleet(count, seed=seed)

    for name in ("server_id", "database", "database_uuid"):
        assert len({getattr(each, name) for each in fleet}) == count


@given(st.integers())
def test_made_up_servers_are_valid(seed: int) -> None:
    for payload in made_up_fleet(5, seed=seed):
        assert structure(unstructure(payload), ServerPayload) == payload
        assert payload.server_id == f"{payload.database}_{payload.hostname}"
        assert list(payload.capabilities) == sorted(set(payload.capabilities))
        assert [*payload.capabilities] == [tool.name for tool in payload.tools or ()]


def test_made_up_servers_vary_in_stage_version_and_tools() -> None:
    fleet = made_up_fleet(12)

    assert {"production", "staging", "dev", ""} == {each.odoo_stage for each in fleet}
    assert len({each.odoo_version for each in fleet}) > 1
    assert len({each.version for each in fleet}) > 1
    assert len({each.capabilities for each in fleet}) > 6


def test_made_up_servers_declare_the_interval() -> None:
    (payload,) = made_up_fleet(1, interval_seconds=5)

    assert 5 == payload.heartbeat_interval_seconds


def test_rebuild_changes_only_host_addresses_and_server_id() -> None:
    (before,) = made_up_fleet(1)
    after = rebuilt(before)

    changed = {"server_id", "hostname", "ip_addresses", "endpoint_url"}
    assert {name for name, was in fields(before).items() if fields(after)[name] != was} == changed
    assert after.server_id == f"{before.database}_{after.hostname}"
    assert rebuilt(before) == after


def fields(payload: ServerPayload) -> dict[str, object]:
    return dict(unstructure(payload))

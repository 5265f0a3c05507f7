"""What is wrong with servers: which of them are one problem, and what comes first."""

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from attrs import evolve

from contract import IpAddresses, ServerRecord, State
from receiver.domain.grouping.problems import Problem, Trouble, problems
from server_records import server_record

NOW = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)


def server(server_id: str, *, seconds: float = 0, **fields: Any) -> ServerRecord:
    """A server that has been down since some seconds after noon, unless `fields` say otherwise."""
    since = NOW + timedelta(seconds=seconds)
    known = {"first_seen": NOW - timedelta(days=1), "state_since": since, "state": State.DOWN}
    return server_record(server_id, at=NOW, **{**known, **fields})


def ids(found: list[Problem]) -> list[tuple[str, list[str]]]:
    return [(each.trouble.value, [record.server_id for record in each.servers]) for each in found]


def test_servers_that_went_down_within_a_minute_are_one_problem() -> None:
    found = problems(
        [
            server("d", seconds=200),
            server("a", seconds=0),
            server("c", seconds=100),
            server("b", seconds=60),
        ]
    )

    assert [("down", ["a", "b", "c"]), ("down", ["d"])] == ids(found)
    assert NOW == found[0].first
    assert NOW + timedelta(seconds=100) == found[0].last


def test_problem_says_where_its_servers_are() -> None:
    address = {
        name: IpAddresses(primary=f"10.0.3.{n}", all=()) for n, name in enumerate(("a", "b", "c"))
    }
    stages = {"a": "staging", "b": "production", "c": "staging"}
    (found,) = problems(
        server(each, odoo_stage=stages[each], hostname=f"web-{each}", ip_addresses=address[each])
        for each in "abc"
    )

    assert [("production", 1), ("staging", 2)] == found.stages
    assert 3 == found.hosts
    assert "10.0.3.0/24" == found.network
    assert found.has_production


def test_production_is_named_first_of_what_went_down_together() -> None:
    """However many others there are; one without a stage counts as if it were in production."""
    stages = {"a": "staging", "b": "staging", "c": None, "d": "dev", "e": "production"}
    (found,) = problems(server(each, odoo_stage=stages[each]) for each in "abcde")

    assert [("production", 1), ("", 1), ("staging", 2), ("dev", 1)] == found.stages
    assert ["c", "e", "a"] == [each.server_id for each in found.foremost(3)]
    assert ["c", "e", "a", "b", "d"] == [each.server_id for each in found.foremost(9)]


@pytest.mark.parametrize(
    ("addresses", "expected"),
    [
        (["10.0.3.1", "10.0.4.1"], None),
        (["10.0.3.1", None], None),
        (["fd00:0:0:1::5", "fd00:0:0:1::6"], "fd00:0:0:1::/64"),
    ],
)
def test_network_of_a_problem_is_the_one_that_all_its_servers_share(
    addresses: list[str | None], expected: str | None
) -> None:
    (found,) = problems(
        server(
            f"s{n}",
            hostname=f"web-{n}",
            ip_addresses=None if each is None else IpAddresses(primary=each, all=()),
        )
        for n, each in enumerate(addresses)
    )

    assert expected == found.network


def test_servers_of_one_host_have_no_network_worth_telling() -> None:
    address = IpAddresses(primary="10.0.3.1", all=())
    (found,) = problems(server(each, hostname="web", ip_addresses=address) for each in "ab")

    assert 1 == found.hosts
    assert found.network is None


def test_production_comes_before_more_servers_of_another_stage_with_the_same_trouble() -> None:
    found = problems(
        [
            *(server(f"staging-{n:02}", odoo_stage="staging") for n in range(30)),
            server("production", seconds=-7200, odoo_stage="production"),
            server("late", seconds=300, state=State.LATE),
        ]
    )

    assert ["production", "staging-00", "late"] == [each.servers[0].server_id for each in found]


def test_problem_says_when_its_servers_were_last_seen() -> None:
    (found,) = problems(
        server(f"s{n}", last_seen=NOW - timedelta(minutes=n), odoo_stage="dev") for n in (7, 3, 5)
    )

    assert (NOW - timedelta(minutes=7), NOW - timedelta(minutes=3)) == found.seen


def test_problems_are_sorted_by_server_count_then_severity_then_production() -> None:
    found = problems(
        [
            server("flaps", state=State.UP, flapping_since=NOW),
            server("staging", seconds=-3600, odoo_stage="staging"),
            server("production", seconds=-7200, odoo_stage="production"),
            *(server(f"late-{n}", seconds=300, state=State.LATE) for n in range(10)),
        ]
    )

    assert ["late-0", "production", "staging", "flaps"] == [
        each.servers[0].server_id for each in found
    ]


def test_newer_problem_of_the_same_size_is_first() -> None:
    found = problems([server("old", seconds=-3600), server("new")])

    assert ["new", "old"] == [each.servers[0].server_id for each in found]


def test_twins_are_one_problem_by_their_database() -> None:
    up: dict[str, Any] = {"state": State.UP, "database_uuid": "u"}
    found = problems(
        [
            server("a", twin_of="b", **up),
            server("b", twin_of="a", **up),
            server("c", twin_of="x", state=State.UP),
        ]
    )

    assert [("twin", ["a", "b"]), ("twin", ["c"])] == ids(found)
    assert found[0].first is None


def test_conflicts_of_several_servers_are_one_problem() -> None:
    later = NOW + timedelta(days=1)
    found = problems(
        [
            server("a", state=State.UP, conflict_since=later),
            server("b", state=State.UP, conflict_since=NOW),
        ]
    )

    assert [("conflict", ["b", "a"])] == ids(found)
    assert (NOW, later) == (found[0].first, found[0].last)


def test_server_that_flaps_is_not_down_besides() -> None:
    found = problems([server("a", flapping_since=NOW, conflict_since=NOW)])

    assert [("conflict", ["a"]), ("flapping", ["a"])] == ids(found)


@pytest.mark.parametrize(
    "fields",
    [
        {"superseded_by": "b", "conflict_since": NOW},
        {"state": State.LEFT, "conflict_since": NOW},
        {"node_of": "b", "twin_of": "c", "flapping_since": NOW},
        {"state": State.UP},
    ],
)
def test_superseded_and_healthy_servers_are_no_problem(fields: dict[str, Any]) -> None:
    assert [] == problems([server("a", **fields)])


def test_conflict_of_a_node_is_a_problem() -> None:
    node = evolve(server("a"), node_of="b", conflict_since=NOW)

    assert [(Trouble.CONFLICT.value, ["a"])] == ids(problems([node]))

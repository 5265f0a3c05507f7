"""The numbers beside the filters of a list."""

from typing import Any

from receiver.domain.filter_text import FilterText
from receiver.domain.lists.breakdown import Alike, Breakdown, Counts, most_frequent
from receiver.domain.lists.profiles import Profile
from receiver.domain.queries import Rank


def alike(number: int, rank: Rank = Rank.UP, **said: Any) -> Alike:
    unknown = {"odoo_version": None, "version": None, "network": None, "owner": None}
    return Alike(Profile(**{"stage": "", "toolset": None, **unknown, **said}), rank, number)


GROUPS = [
    alike(1, Rank.DOWN, stage="production", odoo_version="19.0", toolset=1, owner="a"),
    alike(20, stage="production", odoo_version="18.0", toolset=2, owner="a"),
    alike(300, stage="staging", odoo_version="19.0", toolset=1, owner="b"),
    alike(4000, Rank.STRANGE, network="10.0.0.0/24", version="1.0"),
    alike(50_000, Rank.LEFT, stage="staging"),
    alike(600_000, Rank.SUPERSEDED, stage="staging"),
]
TOOLS = {1: ["read", "sell"], 2: ["read"]}


def counted(text: str, lapsed: tuple[str, ...] = (), **known: Any) -> Counts:
    matching = FilterText.parse(text).to_filter()
    return Breakdown(groups=GROUPS, tools=TOOLS, **known).count(matching, lapsed=lapsed)


def test_breakdown_counts_all_servers_by_every_facet() -> None:
    assert Counts(
        4321,
        {
            "state": {"down": 1, "up": 4320, "left": 50_000, "superseded": 600_000},
            "stage": {"production": 21, "staging": 300, "": 4000},
            "odoo": {"18.0": 20, "19.0": 301},
            "version": {"1.0": 4000},
            "tool": {"read": 321, "sell": 301},
            "network": {"10.0.0.0/24": 4000},
            "key": {"a": 21, "b": 300, "": 4000},
            "label": {},
        },
        are_partial=False,
    ) == counted("")


def test_breakdown_of_a_facet_ignores_the_filter_by_that_facet() -> None:
    found = counted("stage:production odoo:18.0")

    assert 20 == found.total
    assert {"production": 20} == found.values["stage"]
    assert {"18.0": 20, "19.0": 1} == found.values["odoo"]
    assert {"up": 20} == found.values["state"]
    assert {"read": 20} == found.values["tool"]


def test_breakdown_respects_states_and_exclusions() -> None:
    assert 50_001 == counted("state:down,left").total
    assert 4320 == counted("-state:down").total
    assert 0 == counted("state:down -state:down").total
    assert 4300 == counted("-odoo:18.0 -stage:production").total
    assert 4000 == counted("network:10.0.0.0/24 version:1.0 -stage:production").total


def test_breakdown_counts_by_tool_and_key_what_the_database_reports() -> None:
    one = frozenset({1})

    assert 301 == counted("tool:sell", offering=one).total
    assert {"read": 321, "sell": 301} == counted("tool:sell", offering=one).values["tool"]
    assert 4020 == counted("-tool:sell", offering_unwanted=one).total
    assert 4021 == counted("key:none,a", owners=frozenset({None, "a"})).total
    assert 300 == counted("-key:none,a", unwanted_owners=frozenset({None, "a"})).total


def test_servers_of_lapsed_keys_are_in_no_state() -> None:
    found = counted("", ("a",))

    assert 4321 == found.total
    assert {"up": 4300, "left": 50_000, "superseded": 600_000} == found.values["state"]


def test_breakdown_counts_servers_that_lists_leave_out() -> None:
    found = Breakdown(groups=GROUPS[:-1], tools=TOOLS, hidden={"node": 7, "superseded": 8})
    hidden = found.count(FilterText.parse("stage:production").to_filter())

    assert {"up": 20, "down": 1, "node": 7, "superseded": 8} == hidden.values["state"]
    assert 21 == hidden.total


def test_stages_are_counted_whatever_the_filter_says() -> None:
    found = Breakdown(groups=GROUPS, tools=TOOLS).stages

    assert {"production": 21, "staging": 300, "": 4000} == found


def test_unknown_tool_sets_make_the_breakdown_partial() -> None:
    matching = FilterText().to_filter()
    found = Breakdown(groups=GROUPS, tools={2: ["read"]}).count(matching)

    assert ({"read": 20}, True) == (found.values["tool"], found.are_partial)


def test_breakdown_lists_the_most_frequent_values_first() -> None:
    numbers = {"b": 1, "a": 1, "Big": 5}

    assert [("Big", 5), ("a", 1), ("b", 1)] == most_frequent(numbers)
    assert [("Big", 5), ("b", 1)] == most_frequent(numbers, "B")

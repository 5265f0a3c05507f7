"""
How many servers have which state, stage, version and so on: the numbers beside a list's filters.

The number beside a value, such as the stage `production`, says how many servers the list would show
if it were filtered by this value, and by no other value of the same name (`stage`). What the filter
says of other names limits the number, too.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

from attrs import field, frozen

from receiver.domain.lists.profiles import Profile
from receiver.domain.queries import LISTED, Filter, Rank, ranks_wanted

__all__ = ["FACETS", "Alike", "Breakdown", "Counts", "most_frequent"]

_OF_GROUPS = ("state", "stage", "odoo", "version", "tool", "network", "key")
"""The names of which all servers with the same profile and rank have the same values."""

_ATTRIBUTES = {"odoo": "odoo_version", "tool": "capability"}  # of a filter, if called otherwise

FACETS = (*_OF_GROUPS, "label")
"""The names whose values are counted, as in `name:value` in the text of a filter."""


class Alike(NamedTuple):
    """
    Servers that have the same profile and the same rank.

    Attributes:
        profile: What the servers have in common, such as stage and versions.
        rank: Their place in lists, which tells their state.
        number: How many servers there are.
    """

    profile: Profile
    rank: Rank
    number: int


class Counts(NamedTuple):
    """
    The numbers of servers beside the filters of a list.

    Attributes:
        total: How many servers match the whole filter.
        values: For each of `FACETS`, how many servers have which value. An unknown value is left
            out; a stage or key that is missing is "". The values of `key` are ids of keys.
        are_partial: Whether the tools of some servers were not counted, because the fleet has too
            many different sets of tools, or because some of these are too long.
    """

    total: int
    values: Mapping[str, Mapping[str, int]]
    are_partial: bool


@frozen(kw_only=True)
class Breakdown:
    """
    The servers that a filter may find, in groups that are alike, and what is needed to count them.

    Attributes:
        groups: The servers that lists show without a filter, that have left, or that are in a state
            that the filter names. Conditions of the filter on what is neither in a rank nor in a
            profile, such as a database, hold for all of them; the others are not applied yet.
        tools: The names of the tools in each set of tools, by the id of the set. Some sets may be
            missing.
        offering: The ids of the sets that have a tool that the filter names.
        offering_unwanted: The ids of the sets that have a tool that the filter excludes.
        owners: The ids of the keys that the filter names; None stands for no key.
        unwanted_owners: The ids of the keys that the filter excludes; None stands for no key.
        labels: For each label how many servers of databases with it match the filter, apart from
            the labels that it wants. Labels of few servers may be missing if there are very many.
        hidden: How many servers match the filter, apart from its states, that lists leave out
            because they are nodes or superseded, by the value of `Filter.state`.
    """

    groups: Sequence[Alike]
    tools: Mapping[int, Sequence[str]]
    offering: Collection[int] = frozenset()
    offering_unwanted: Collection[int] = frozenset()
    owners: Collection[str | None] = frozenset()
    unwanted_owners: Collection[str | None] = frozenset()
    labels: Mapping[str, int] = field(factory=dict)
    hidden: Mapping[str, int] = field(factory=dict)
    _counted: dict[object, Counts] = field(factory=dict, init=False, eq=False, repr=False)

    def count(self, matching: Filter, *, lapsed: Collection[str] = ()) -> Counts:
        """
        Count the servers by each of `FACETS`.

        Args:
            matching: The filter for which the groups were read.
            lapsed: The ids of keys that were revoked or have expired. Their servers are not counted
                by state, because they cannot send, and so their state says nothing.
        """
        key = matching, frozenset(lapsed)
        counts = self._counted.get(key)
        if counts is None:
            counts = self._count(matching, lapsed)
            self._counted.clear()  # one is enough: whoever looks again looks at the same
            self._counted[key] = counts
        return counts

    def _count(self, matching: Filter, lapsed: Collection[str]) -> Counts:
        accepts = self._accepted(matching)
        total = 0
        values: dict[str, Counter[str]] = {name: Counter() for name in _OF_GROUPS}
        values["label"] = Counter(self.labels)
        for alike in self.groups:
            if alike.profile.toolset in self.offering_unwanted:
                continue  # nor are its other tools counted: a filter by them would not find it
            failed = [name for name, accepted in accepts.items() if not accepted(alike)]
            if len(failed) > 1:
                continue
            total += 0 if failed else alike.number
            for name in failed or _OF_GROUPS:
                if name == "state" and alike.profile.owner in lapsed:
                    continue
                for value in self._values(name, alike):
                    values[name][value] += alike.number
        for state, number in self.hidden.items():
            values["state"].setdefault(state, number)
        sets = {each.profile.toolset for each in self.groups} - {None}
        return Counts(total, values, not sets.issubset(self.tools))

    @cached_property
    def stages(self) -> Mapping[str, int]:
        """
        How many servers in lists have which stage, whatever the filter says of rank and profile.

        The stage is "" for servers without one.
        """
        found: Counter[str] = Counter()
        for alike in self.groups:
            if alike.rank in LISTED:
                found[alike.profile.stage] += alike.number
        return found

    def _values(self, name: str, alike: Alike) -> Sequence[str]:
        """The values of a name that servers have."""
        if name == "tool":
            return self.tools.get(alike.profile.toolset or 0, ())
        value = _VALUES[name](alike)
        return () if value is None else (value,)

    def _accepted(self, matching: Filter) -> Mapping[str, Callable[[Alike], bool]]:
        """For each of `_OF_GROUPS` that the filter speaks of, whether servers match it there."""
        excluded = dict(matching.without)
        ranks = ranks_wanted(matching)
        accepted: Mapping[str, Callable[[Alike], bool]] = {
            "state": lambda each: each.rank in ranks,
            "stage": _has(matching.stage, excluded.get("stage", ()), _VALUES["stage"]),
            "odoo": _has(matching.odoo_version, excluded.get("odoo_version", ()), _VALUES["odoo"]),
            "version": _has(matching.version, excluded.get("version", ()), _VALUES["version"]),
            "network": _has(matching.network, excluded.get("network", ()), _VALUES["network"]),
            "key": lambda each: (
                (not matching.key or each.profile.owner in self.owners)
                and each.profile.owner not in self.unwanted_owners
            ),
            "tool": lambda each: not matching.capability or each.profile.toolset in self.offering,
        }
        attributes = {name: _ATTRIBUTES.get(name, name) for name in accepted}
        return {
            name: accepts
            for name, accepts in accepted.items()
            if name == "state"
            or getattr(matching, attributes[name])
            or attributes[name] in excluded
        }


def _has(
    wanted: Collection[str], unwanted: Collection[str], value: Callable[[Alike], str | None]
) -> Callable[[Alike], bool]:
    def accepts(alike: Alike) -> bool:
        found = value(alike)
        return (not wanted or found in wanted) and found not in unwanted

    return accepts


_VALUES: Mapping[str, Callable[[Alike], str | None]] = {
    "state": lambda each: each.rank.state,
    "stage": lambda each: each.profile.stage,
    "odoo": lambda each: each.profile.odoo_version,
    "version": lambda each: each.profile.version,
    "network": lambda each: each.profile.network,
    "key": lambda each: each.profile.owner or "",
}


def most_frequent(values: Mapping[str, int], find: str = "") -> list[tuple[str, int]]:
    """
    Sort the values of a name by how many servers have them, the most frequent first.

    Returns pairs of a value and its number, of the values that contain the text `find`, ignoring
    case.
    """
    sought = find.casefold()
    found = [each for each in values.items() if not sought or sought in each[0].casefold()]
    return sorted(found, key=lambda each: (-each[1], each[0]))

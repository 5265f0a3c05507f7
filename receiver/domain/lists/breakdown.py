"""
How many servers have what: the numbers beside the filters of a list.

The number beside a value says how many servers a list would show if this value were chosen and the
other values of its name were not. So the words of a filter for other names count, and those for the
same name do not.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

from attrs import frozen

from receiver.domain.lists.profiles import Profile
from receiver.domain.queries import Filter, Rank, ranks_wanted

__all__ = ["FACETS", "Alike", "Breakdown", "Counts", "most_frequent"]

FACETS = ("state", "stage", "odoo", "version", "tool", "network", "key")
"""The names that are counted, as `receiver.domain.filter_text` writes them."""


class Alike(NamedTuple):
    """
    Servers that have the same profile and the same rank.

    Attributes:
        profile: What they have in common.
        rank: Their rank.
        number: How many there are.
    """

    profile: Profile
    rank: Rank
    number: int


class Counts(NamedTuple):
    """
    The numbers of servers.

    Attributes:
        total: How many servers match the filter.
        values: By each of `FACETS`, how many servers have which value. An unknown value is left
            out; a stage or key that is missing is "". The values of `key` are ids of keys.
        are_partial: Whether there are sets of tools that were not counted, because there are too
            many, or they are too long.
    """

    total: int
    values: Mapping[str, Mapping[str, int]]
    are_partial: bool


@frozen(kw_only=True)
class Breakdown:
    """
    All servers, in groups that are alike, and what is needed to count them.

    Attributes:
        groups: The servers that are listed, have left, or are in a state that the filter names, and
            match those words of the filter that are about neither rank nor profile.
        tools: The names of the tools of sets, by the id of the set.
        offering: The ids of the sets that have a tool that the filter names.
        offering_unwanted: The ids of the sets that have a tool that the filter excludes.
        owners: The ids of the keys that the filter names; None stands for no key.
        unwanted_owners: The ids of the keys that the filter excludes; None stands for no key.
    """

    groups: Sequence[Alike]
    tools: Mapping[int, Sequence[str]]
    offering: Collection[int] = frozenset()
    offering_unwanted: Collection[int] = frozenset()
    owners: Collection[str | None] = frozenset()
    unwanted_owners: Collection[str | None] = frozenset()

    def count(self, matching: Filter, *, lapsed: Collection[str] = ()) -> Counts:
        """
        Count the servers.

        Args:
            matching: The filter with which the breakdown was taken.
            lapsed: The ids of keys that were revoked or have expired. Their servers are not counted
                by state, because they cannot send, and so their state says nothing.
        """
        accepts = self._accepted(matching)
        total = 0
        values: dict[str, Counter[str]] = {name: Counter() for name in FACETS}
        for alike in self.groups:
            failed = [name for name in FACETS if not accepts[name](alike)]
            if len(failed) > 1:
                continue
            total += 0 if failed else alike.number
            for name in failed or FACETS:
                if name == "state" and alike.profile.owner in lapsed:
                    continue
                for value in self._values(name, alike):
                    values[name][value] += alike.number
        sets = {each.profile.toolset for each in self.groups} - {None}
        return Counts(total, values, not sets.issubset(self.tools))

    def _values(self, name: str, alike: Alike) -> Sequence[str]:
        """The values of a name that servers have."""
        if name == "tool":
            return self.tools.get(alike.profile.toolset or 0, ())
        value = _VALUES[name](alike)
        return () if value is None else (value,)

    def _accepted(self, matching: Filter) -> Mapping[str, Callable[[Alike], bool]]:
        """For each of `FACETS`, whether servers match what the filter says of it."""
        excluded = dict(matching.without)
        ranks = ranks_wanted(matching)
        return {
            "state": lambda each: each.rank in ranks,
            "stage": _has(matching.stage, excluded.get("stage", ()), _VALUES["stage"]),
            "odoo": _has(matching.odoo_version, excluded.get("odoo_version", ()), _VALUES["odoo"]),
            "version": _has(matching.version, excluded.get("version", ()), _VALUES["version"]),
            "network": _has(matching.network, excluded.get("network", ()), _VALUES["network"]),
            "key": lambda each: (
                (not matching.key or each.profile.owner in self.owners)
                and each.profile.owner not in self.unwanted_owners
            ),
            "tool": lambda each: (
                (not matching.capability or each.profile.toolset in self.offering)
                and each.profile.toolset not in self.offering_unwanted
            ),
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
    """The values that contain a text, ignoring case, with their numbers; most frequent first."""
    sought = find.casefold()
    found = [each for each in values.items() if sought in each[0].casefold()]
    return sorted(found, key=lambda each: (-each[1], each[0]))

"""Counts the servers that offer each tool of the fleet, and those that describe it alike."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from sys import getsizeof
from time import monotonic
from typing import Any, Generic, TypeVar

import orjson

from contract import Tool, structure
from receiver.domain.inventory.tools import (
    StageCount,
    ToolCounts,
    ToolOverview,
    ToolVariant,
    Variant,
    differing,
    summarised,
    variant_of,
)
from receiver.service.store_calls import StoreCalls
from receiver.store import Inventory

__all__ = ["MOST_STAGES", "MOST_VARIANTS", "ToolIndex"]

T = TypeVar("T")

MOST_VARIANTS = 12
"""How many descriptions of a tool are told apart at most: the most frequent ones."""

MOST_STAGES = 6
"""For how many stages the servers with and without a tool are counted: the largest stages."""

MOST_HOLDERS = 10
"""How many servers are named for each description of a tool."""


class ToolIndex:
    """
    The tools of the fleet, with the numbers of servers that offer them.

    Servers that offer the same tools share a set of names, and those that describe them alike share
    a catalogue. Neither ever changes under its id. So the index keeps in memory what is in each of
    them, reads each once, and asks the database only how many servers have which of them.

    Args:
        inventory: Reads the database.
        calls: Calls its blocking methods in threads.
        max_bytes: About how many bytes of memory the index may take. When it is full, the least
            frequent sets and catalogues are not counted.
        patience: For how many seconds a call reads sets and catalogues that are not in memory yet.
            The next call goes on.
        elapsed: Returns a time in seconds.
    """

    def __init__(
        self,
        inventory: Inventory,
        calls: StoreCalls,
        *,
        max_bytes: int = 64 * 1024 * 1024,
        patience: float = 1.5,
        elapsed: Callable[[], float] = monotonic,
    ) -> None:
        self._inventory = inventory
        self._calls = calls
        self._max_bytes = max_bytes
        self._patience = patience
        self._elapsed = elapsed
        self._memory = _Memory()
        self._counts = ToolCounts(0, 0, {}, {}, {})
        self._overview = ToolOverview(tools=[], servers=0, offering=0, counted=0, differing=0)
        self._lock = asyncio.Lock()
        self._begun = 0
        self._ended = 0

    async def overview(self) -> ToolOverview:
        """
        All tools of the fleet, as they are now. Raises StoreUnavailable.

        Calls that come while another one reads wait for its end; then one of them reads for all.
        """
        begun_before = self._begun
        async with self._lock:
            if self._ended <= begun_before:
                self._begun += 1
                await self._refresh()
                self._ended = self._begun
            return self._overview

    async def stages(self, name: str) -> Sequence[StageCount]:
        """
        How many servers of each stage offer the tool `name`, and how many do not.

        The stage with most servers comes first; no more than `MOST_STAGES` are returned. The
        numbers are those of the last call of `overview`. Raises StoreUnavailable.
        """
        return await self._calls.read(_stages, name, self._memory, self._counts)

    async def variants(self, name: str) -> Sequence[ToolVariant]:
        """
        The different descriptions of the tool `name`, and the servers that describe it so.

        The most frequent one comes first; no more than `MOST_VARIANTS` are returned. They are those
        of the last call of `overview`, without those that no server has any more. Raises
        StoreUnavailable.
        """
        return await self._calls.read(self._variants, name, self._memory, self._counts)

    async def _refresh(self) -> None:
        counts = await self._calls.read(self._inventory.tool_counts)
        if self._memory.is_stale(counts):
            self._memory = _Memory()
        memory = self._memory
        deadline = self._elapsed() + self._patience
        has_read = False
        while (missing := self._missing(memory, counts)) and self._elapsed() < deadline:
            await self._calls.read(missing, memory)
            has_read = True
        if has_read or counts != self._counts:
            self._overview = await self._calls.read(_counted, memory, counts)
            self._counts = counts

    def _missing(self, memory: "_Memory", counts: ToolCounts) -> "Callable[[_Memory], None] | None":
        """The next step of reading what is not in memory; None if there is no more to read."""
        if memory.bytes > self._max_bytes:
            return None
        sets = [*islice((each for each in counts.toolsets if each not in memory.sets), _SETS)]
        if sets:
            return lambda memory: self._read_sets(sets, memory)
        ids = [
            *islice((each for each in counts.catalogues if each not in memory.catalogues), _TEXTS)
        ]
        return (lambda memory: self._read_catalogues(ids, memory)) if ids else None

    def _read_sets(self, ids: Iterable[int], memory: "_Memory") -> None:
        found = self._inventory.names([*ids])
        for each in ids:
            memory.add_set(each, found.get(each, ()))

    def _read_catalogues(self, ids: Iterable[str], memory: "_Memory") -> None:
        found = self._inventory.texts([*ids])
        for each in ids:
            memory.add_catalogue(each, map(variant_of, _by_name(found.get(each, "[]")).values()))

    def _variants(self, name: str, memory: "_Memory", counts: ToolCounts) -> list[ToolVariant]:
        holding = memory.catalogues_by_variant(name, counts.catalogues)
        numbers = {
            variant: sum(counts.catalogues[each] for each in ids)
            for variant, ids in holding.items()
        }
        most = sorted(numbers, key=lambda variant: -numbers[variant])[:MOST_VARIANTS]
        texts = self._inventory.texts([holding[variant][0] for variant in most])
        known: list[tuple[Variant, Tool, Sequence[str]]] = []
        for variant in most:
            tool = _tool_of(variant, texts.get(holding[variant][0], "[]"))
            holders = self._inventory.holders(holding[variant][:_ASKED], limit=MOST_HOLDERS)
            if tool is not None and holders:
                known.append((variant, tool, holders))
        known.sort(key=lambda each: (-numbers[each[0]], each[2][0]))
        return [
            ToolVariant(
                tool=tool,
                server_count=numbers[variant],
                server_ids=holders,
                differs_in=differing([known[0][0], variant]),
            )
            for variant, tool, holders in known
        ]


def _stages(name: str, memory: "_Memory", counts: ToolCounts) -> list[StageCount]:
    offering = memory.sets_with(name)
    largest = sorted(counts.stages, key=lambda each: (-sum(counts.stages[each].values()), each))
    found: list[StageCount] = []
    for stage in largest[:MOST_STAGES]:
        sets = counts.stages[stage]
        known = {each: n for each, n in sets.items() if each is None or each in memory.sets}
        has = sum(n for each, n in known.items() if each in offering)
        found.append(StageCount(stage=stage, offering=has, lacking=sum(known.values()) - has))
    return found


class _Memory:
    """
    What is in sets of tool names and in catalogues.

    Attributes:
        sets: The numbers of the names in each set of tool names.
        catalogues: The numbers of the variants in each catalogue.
        bytes: About how many bytes of memory all of this takes.
    """

    def __init__(self) -> None:
        self.sets: dict[int, tuple[int, ...]] = {}
        self.catalogues: dict[str, tuple[int, ...]] = {}
        self.bytes = 0
        self._names: _Numbered[str] = _Numbered()
        self._variants: _Numbered[Variant] = _Numbered()

    def add_set(self, toolset: int, names: Iterable[str]) -> None:
        self.sets[toolset] = self._numbers(self._names, {*names}, getsizeof)

    def add_catalogue(self, catalogue: str, variants: Iterable[Variant]) -> None:
        self.catalogues[catalogue] = self._numbers(self._variants, {*variants}, _bytes_of)

    def _numbers(
        self, known: "_Numbered[T]", values: Iterable[T], size: Callable[[T], int]
    ) -> tuple[int, ...]:
        before = len(known.values)
        numbers = tuple(map(known.number, values))
        self.bytes += _ENTRY_BYTES + 8 * len(numbers)
        self.bytes += sum(_VALUE_BYTES + size(value) for value in known.values[before:])
        return numbers

    def is_stale(self, counts: ToolCounts) -> bool:
        """Whether more is in memory that no server has any more than what servers have."""
        held = len(self.sets) + len(self.catalogues)
        used = len(self.sets.keys() & counts.toolsets.keys())
        used += len(self.catalogues.keys() & counts.catalogues.keys())
        return held - used > max(used, _FEW)

    def offered(self, counts: Mapping[int, int]) -> dict[str, int]:
        """How many servers offer each tool, by its name."""
        return self._names.summed((self.sets.get(key, ()), n) for key, n in counts.items())

    def described(self, counts: Mapping[str, int]) -> dict[Variant, int]:
        """How many servers describe tools in which way."""
        return self._variants.summed((self.catalogues.get(key, ()), n) for key, n in counts.items())

    def sets_with(self, name: str) -> set[int]:
        """The ids of the sets that have a name in them."""
        number = self._names.find(name)
        return {each for each, numbers in self.sets.items() if number in numbers}

    def catalogues_by_variant(self, name: str, counted: Iterable[str]) -> dict[Variant, list[str]]:
        """The ids of those of the counted catalogues that describe a tool, by the variant."""
        wanted = {
            number: variant
            for number, variant in enumerate(self._variants.values)
            if variant.name == name
        }
        found: dict[Variant, list[str]] = {}
        for catalogue in counted:
            for number in wanted.keys() & self.catalogues.get(catalogue, ()):
                found.setdefault(wanted[number], []).append(catalogue)
        return found


class _Numbered(Generic[T]):
    """
    Different values, each with a number.

    Attributes:
        values: The values, in the order of their numbers, which begin with 0.
    """

    def __init__(self) -> None:
        self.values: list[T] = []
        self._numbers: dict[T, int] = {}

    def number(self, value: T) -> int:
        known = self._numbers.setdefault(value, len(self.values))
        if known == len(self.values):
            self.values.append(value)
        return known

    def find(self, value: T) -> int | None:
        """The number of a value; None if it has none."""
        return self._numbers.get(value)

    def summed(self, counts: Iterable[tuple[Sequence[int], int]]) -> dict[T, int]:
        """For each value the sum of the counts of those sequences in which its number is."""
        sums = [0] * len(self.values)
        for numbers, count in counts:
            for number in numbers:
                sums[number] += count
        return {value: total for value, total in zip(self.values, sums, strict=True) if total}


def _counted(memory: _Memory, counts: ToolCounts) -> ToolOverview:
    tools = summarised(memory.offered(counts.toolsets), memory.described(counts.catalogues))
    return ToolOverview(
        tools=tools,
        servers=counts.servers,
        offering=counts.offering,
        counted=sum(n for each, n in counts.toolsets.items() if each in memory.sets),
        differing=sum(bool(tool.differs_in) for tool in tools),
    )


def _tool_of(variant: Variant, catalogue: str) -> Tool | None:
    """The tool in the JSON of a catalogue that has a variant of it; None if it is gone."""
    tool = _by_name(catalogue).get(variant.name)
    return None if tool is None else structure(tool, Tool)


def _by_name(catalogue: str) -> dict[str, Any]:
    """The tools in the JSON of a catalogue; of several with one name the first."""
    return {tool["name"]: tool for tool in reversed(orjson.loads(catalogue))}


def _bytes_of(variant: Variant) -> int:
    texts = (variant.title, variant.provider)
    return _VARIANT_BYTES + sum(getsizeof(each) for each in texts if each is not None)


_SETS = 200
_TEXTS = 10
"""How many sets of names, and how many catalogues, are read in one transaction."""

_FEW = 100
_ASKED = 20
"""Of how many catalogues with a description servers are named: those that most servers have."""

_ENTRY_BYTES = 200
_VALUE_BYTES = 100
_VARIANT_BYTES = 500

"""The index of all tools: what it counts, what it keeps in memory, and how far it reads."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import make_url

from contract import Registration, Tool
from receiver.domain.inventory.tools import ToolCounts, ToolOverview
from receiver.domain.outcomes import Incoming
from receiver.service.inventory.tool_index import MOST_STAGES, MOST_VARIANTS, ToolIndex
from receiver.service.store_calls import StoreCalls
from receiver.store import Inventory, SqlStore
from servers import PATIENCE_SECONDS
from watched import Watched, hear

PAY = Tool(name="pay", title="Pay", input_schema_digest="1")
OTHER = Tool(name="pay", title="Pay", input_schema_digest="2")
SELL = Tool(name="sell")


@pytest.fixture
def fleet(sqlite_url: str) -> Iterator[Watched]:
    store = SqlStore(make_url(sqlite_url))
    yield Watched(store)
    store.close()


def register(fleet: Watched, server_id: str, *tools: Tool, stage: str | None = None) -> None:
    names = tuple(tool.name for tool in tools)
    message = Registration(server_id=server_id, capabilities=names, tools=tools, odoo_stage=stage)
    hear(fleet.store, [Incoming(message, fleet.now)])


def index(fleet: Watched, **options: Any) -> ToolIndex:
    """An index whose clock stands still, so that it reads all there is in one call."""
    options.setdefault("elapsed", lambda: 0.0)
    return ToolIndex(fleet.store.inventory, StoreCalls(patience=PATIENCE_SECONDS), **options)


def counted(overview: ToolOverview) -> dict[str, tuple[int, int, tuple[str, ...]]]:
    return {
        tool.name: (tool.server_count, tool.variant_count, tool.differs_in)
        for tool in overview.tools
    }


def test_tool_overview_counts_servers_and_descriptions(fleet: Watched) -> None:
    tools = index(fleet)
    register(fleet, "a", PAY, SELL)
    register(fleet, "b", PAY)
    register(fleet, "c", OTHER)
    register(fleet, "d")

    overview = asyncio.run(tools.overview())

    differs = ("input_schema_digest",)
    assert {"pay": (3, 2, differs), "sell": (1, 1, ())} == counted(overview)
    assert (4, 3, 3, 1) == (
        overview.servers,
        overview.offering,
        overview.counted,
        overview.differing,
    )


def test_tool_overview_follows_the_fleet(fleet: Watched) -> None:
    async def follow() -> None:
        tools = index(fleet)
        assert {} == counted(await tools.overview())
        register(fleet, "a", PAY)
        first = await tools.overview()
        assert {"pay": (1, 1, ())} == counted(first)
        assert first is await tools.overview()
        register(fleet, "a", SELL)
        assert {"sell": (1, 1, ())} == counted(await tools.overview())

    asyncio.run(follow())


class Counted(Inventory):
    """Counts how often the database is asked for the counts."""

    readings = 0

    def tool_counts(self) -> ToolCounts:
        self.readings += 1
        return super().tool_counts()


def test_concurrent_calls_of_the_tool_index_share_one_reading(fleet: Watched) -> None:
    register(fleet, "a", PAY)
    inventory = Counted(fleet.store.transactions)
    tools = ToolIndex(inventory, StoreCalls(patience=PATIENCE_SECONDS), elapsed=lambda: 0.0)

    async def many() -> list[ToolOverview]:
        return await asyncio.gather(*(tools.overview() for _ in range(20)))

    assert [{"pay": (1, 1, ())}] * 20 == [counted(each) for each in asyncio.run(many())]
    assert 2 == inventory.readings


def test_tool_index_call_that_runs_out_of_time_leaves_the_rest_to_the_next(fleet: Watched) -> None:
    register(fleet, "a", PAY)
    register(fleet, "b", OTHER)
    times = iter(range(100))
    tools = index(fleet, patience=1.5, elapsed=lambda: float(next(times)))

    async def twice() -> list[ToolOverview]:
        return [await tools.overview(), await tools.overview()]

    first, second = asyncio.run(twice())

    assert {"pay": (2, 0, ())} == counted(first)
    assert {"pay": (2, 2, ("input_schema_digest",))} == counted(second)


def test_full_tool_index_says_how_many_servers_it_counts(fleet: Watched) -> None:
    for n in range(201):
        register(fleet, f"s{n}", Tool(name=f"t{n}"), Tool(name="common"))
    register(fleet, "again", Tool(name="t7"), Tool(name="common"))

    overview = asyncio.run(index(fleet, max_bytes=1000).overview())

    assert 202 == overview.offering
    assert 201 == overview.counted
    assert 201 == counted(overview)["common"][0]
    assert (2, 0, ()) == counted(overview)["t7"]


def test_tool_index_drops_tools_that_no_server_has_any_more(fleet: Watched) -> None:
    async def grow() -> None:
        tools = index(fleet)
        for n in range(3):
            for server_id in range(60):
                register(fleet, f"{server_id}", Tool(name=f"t{n}_{server_id}"))
            assert 60 == len((await tools.overview()).tools)
        held = tools._memory  # noqa: SLF001 - what it takes cannot be seen from outside
        assert len(held.sets) + len(held.catalogues) <= 240

    asyncio.run(grow())


def test_descriptions_of_a_tool_are_told_with_their_servers(fleet: Watched) -> None:
    for server_id in "cab":
        register(fleet, server_id, PAY)
    register(fleet, "d", OTHER, SELL)
    tools = index(fleet)

    async def read() -> Any:
        await tools.overview()
        found = await tools.variants("pay")
        fleet.store.servers.delete("d", fleet.now)
        return found, await tools.variants("pay"), await tools.variants("nothing")

    found, later, nothing = asyncio.run(read())

    assert [
        (PAY, 3, ["a", "b", "c"], ()),
        (OTHER, 1, ["d"], ("input_schema_digest",)),
    ] == [(each.tool, each.server_count, each.server_ids, each.differs_in) for each in found]
    assert [PAY] == [each.tool for each in later]
    assert [] == nothing


def test_stages_of_a_tool_count_servers_with_and_without_the_tool(fleet: Watched) -> None:
    stages = {"a": "production", "b": "production", "c": "staging", "d": "", "e": None}
    for server_id, stage in stages.items():
        tools = (PAY,) if server_id in "ac" else (SELL,) if server_id == "b" else ()
        names = tuple(tool.name for tool in tools)
        message = Registration(server_id=server_id, capabilities=names, odoo_stage=stage)
        hear(fleet.store, [Incoming(message, fleet.now)])
    for n in range(MOST_STAGES):
        register(fleet, f"s{n}", PAY, stage=f"z{n}")
    tools_of_fleet = index(fleet)

    async def read() -> Any:
        await tools_of_fleet.overview()
        return await tools_of_fleet.stages("pay"), await tools_of_fleet.stages("nothing")

    found, nothing = asyncio.run(read())

    assert [("", 0, 2), ("production", 1, 1), ("staging", 1, 0)] == [
        (each.stage, each.offering, each.lacking) for each in found[:3]
    ]
    assert MOST_STAGES == len(found)
    assert [0] * MOST_STAGES == [each.offering for each in nothing]


def test_only_the_most_frequent_descriptions_of_a_tool_are_returned(fleet: Watched) -> None:
    for n in range(MOST_VARIANTS + 1):
        register(fleet, f"s{n}", Tool(name="pay", title=f"{n}"))
    tools = index(fleet)

    async def read() -> Any:
        await tools.overview()
        return await tools.variants("pay")

    assert MOST_VARIANTS == len(asyncio.run(read()))

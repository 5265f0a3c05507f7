"""What all servers in lists offer: counted from indexes, without those that lists leave out."""

import json

from sqlalchemy import Engine, make_url, text

from contract import Registration, Tool
from receiver.domain.agents.toolsets import toolset_id
from receiver.domain.outcomes import Incoming
from receiver.domain.queries import Rank
from receiver.domain.rows import catalogue_id
from receiver.store import SqlStore
from receiver.store.catalogues.inventory import CATALOGUES, SETS
from watched import Watched, count_anew, hear

PAY = Tool(name="pay", title="Pay")
SELL = Tool(name="sell")


def register(fleet: Watched, server_id: str, *tools: Tool, names: str | None = None) -> None:
    offered = tuple(names) if names is not None else tuple(tool.name for tool in tools)
    message = Registration(server_id=server_id, capabilities=offered, tools=tools)
    hear(fleet.store, [Incoming(message, fleet.now)])


def catalogue(fleet: Watched, server_id: str, *tools: Tool) -> str:
    return catalogue_id(fleet.record(server_id).tools_digest or "", tools)


def test_servers_in_lists_are_counted_by_what_they_offer(fleet: Watched, engine: Engine) -> None:
    inventory = fleet.store.inventory
    for server_id in "abcdef":
        register(fleet, server_id, PAY, SELL)
    register(fleet, "g", PAY)
    register(fleet, "h", names="")
    both, one = (catalogue(fleet, *of) for of in (("a", PAY, SELL), ("g", PAY)))
    changes = {
        "b": ("superseded_by = 'a'", Rank.SUPERSEDED),
        "c": ("node_of = 'a'", Rank.NODE),
        "d": ("state = 'left'", Rank.LEFT),
        "e": ("state = 'down'", Rank.DOWN),
    }
    with engine.begin() as connection:
        for server_id, (change, rank) in changes.items():
            connection.execute(
                text(f"UPDATE servers SET {change}, rank = :rank WHERE server_id = :id"),
                {"id": server_id, "rank": rank.value},
            )
        count_anew(connection)

    counts = inventory.tool_counts()

    sets = [toolset_id(names) or 0 for names in (("pay", "sell"), ("pay",))]
    assert (5, 4) == (counts.servers, counts.offering)
    assert dict(zip(sets, (3, 1), strict=True)) == counts.toolsets
    assert {both: 3, one: 1} == {key: counts.catalogues[key] for key in (both, one)}
    assert {"": {sets[0]: 3, sets[1]: 1, None: 1}} == counts.stages
    assert [*counts.toolsets] == sets  # the most frequent first
    assert ["a", "e"] == inventory.holders([both, one], limit=2)
    assert ["a", "e", "f", "g"] == inventory.holders([both, one], limit=9)

    unknown = 12345
    names = inventory.names([*counts.toolsets, unknown])
    assert [{"pay", "sell"}, {"pay"}] == [{*names[key]} for key in sets]
    assert {*sets} == names.keys()
    texts = inventory.texts([both, "unknown"])
    assert [both] == [*texts]
    assert ["pay", "sell"] == [tool["name"] for tool in json.loads(texts[both])]


def test_sqlite_counts_servers_by_the_indexes(sqlite_url: str) -> None:
    store = SqlStore(make_url(sqlite_url))
    try:
        register(Watched(store), "a", PAY)
        queries = {"ix_servers_profile_rank_server_id": SETS, "ix_servers_described": CATALOGUES}
        for index, query in queries.items():
            with store.transactions.read() as connection:
                compiled = query.params(most=5).compile(connection)
                values = tuple(compiled.params[name] for name in compiled.positiontup or ())
                plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}", values).all()
                assert index in str(plan)
    finally:
        store.close()

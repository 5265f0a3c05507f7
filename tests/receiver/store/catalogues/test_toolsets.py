"""The names of tools: the database has each set of names once, and finds servers by a name."""

from collections.abc import Iterable
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Engine, make_url, text

from contract import Heartbeat
from receiver.domain.agents.toolsets import toolset_id
from receiver.domain.filter_text import FilterText
from receiver.domain.forgetting import FORGETTABLE, Forgettable, Stage
from receiver.domain.outcomes import Incoming
from receiver.domain.queries import Filter, Order, PageRequest
from receiver.store import SqlStore
from watched import Watched, at_once, count_anew, have_patience, hear, kept_in


def beat(fleet: Watched, server_id: str, names: Iterable[str] | None) -> None:
    message = Heartbeat(server_id=server_id, capabilities=None if names is None else tuple(names))
    hear(fleet.store, [Incoming(message, fleet.now)])


def stored(engine: Engine) -> set[int]:
    """The ids of the sets in the database."""
    with engine.connect() as connection:
        return {*connection.execute(text("SELECT id FROM toolsets")).scalars()}


def offering(store: SqlStore, name: str, **filters: Any) -> list[str]:
    return [record.server_id for record in kept_in(store, Filter(capability=name, **filters))]


def test_id_of_a_tool_set_depends_on_its_names_alone() -> None:
    assert toolset_id(("a", "b")) == toolset_id(("b", "a", "b"))
    assert 4 == len({toolset_id(names) for names in (("a",), ("b",), ("a", "b"), ("ab",))})
    assert [None, None] == [toolset_id(()), toolset_id(None)]


def test_servers_with_the_same_tools_share_a_set(fleet: Watched, engine: Engine) -> None:
    beat(fleet, "a", "xyz")
    beat(fleet, "b", "zyxx")
    beat(fleet, "c", None)
    beat(fleet, "d", "")

    assert {toolset_id(tuple("xyz"))} == stored(engine)
    assert [["a", "b"]] * 3 == [offering(fleet.store, name) for name in "xyz"]


def test_tool_whose_name_has_letters_beyond_ascii_is_found_by_a_word(fleet: Watched) -> None:
    beat(fleet, "new", ["read_\u00f6l"])
    beat(fleet, "changed", ["x"])
    beat(fleet, "changed", ["sell_\u00f6l", "x"])

    found = kept_in(fleet.store, FilterText.parse("\u00f6l").to_filter())

    assert ["changed", "new"] == [record.server_id for record in found]


def test_tool_set_is_deleted_with_the_last_server_that_has_it(
    fleet: Watched, engine: Engine
) -> None:
    for server_id in "abc":
        beat(fleet, server_id, "xy")
    beat(fleet, "a", "yz")
    beat(fleet, "a", None)
    fleet.store.servers.delete("b", fleet.now)

    assert {toolset_id(tuple("xy")), toolset_id(tuple("yz"))} == stored(engine)
    assert [["c"], ["a", "c"], ["a"]] == [offering(fleet.store, name) for name in "xyz"]

    beat(fleet, "c", "")
    assert {toolset_id(tuple("yz"))} == stored(engine)
    assert [[], ["a"], ["a"]] == [offering(fleet.store, name) for name in "xyz"]

    fleet.store.servers.delete("a", fleet.now)
    assert set() == stored(engine)
    beat(fleet, "c", "yz")
    assert [[], ["c"], ["c"]] == [offering(fleet.store, name) for name in "xyz"]


def test_tool_set_that_servers_exchange_in_one_transaction_is_kept(
    fleet: Watched, engine: Engine
) -> None:
    beat(fleet, "a", "x")
    beat(fleet, "b", "y")

    messages = [("a", "y"), ("b", "z"), ("b", "x"), ("c", "w"), ("c", "v")]
    hear(
        fleet.store,
        [Incoming(Heartbeat(server_id=n, capabilities=(t,)), fleet.now) for n, t in messages],
    )

    assert {toolset_id(("x",)), toolset_id(("y",)), toolset_id(("v",))} == stored(engine)
    assert [["b"], ["a"], [], ["c"], []] == [offering(fleet.store, name) for name in "xyzvw"]


def test_tool_sets_of_forgotten_servers_are_deleted(fleet: Watched, engine: Engine) -> None:
    beat(fleet, "a", "x")
    beat(fleet, "b", "y")
    fleet.go_on(1000, "b")

    for state in FORGETTABLE:
        fleet.store.servers.forget(Forgettable(), fleet.now, stage=Stage(state))

    assert {toolset_id(("y",))} == stored(engine)
    assert [[], ["b"]] == [offering(fleet.store, name) for name in "xy"]


def test_superseded_servers_and_nodes_are_found_by_their_tools(
    fleet: Watched, engine: Engine
) -> None:
    for server_id, state in (("a", "superseded"), ("b", "node"), ("c", "up")):
        beat(fleet, server_id, "x")
        named = {"superseded": "superseded_by = 'c', rank = 8", "node": "node_of = 'c', rank = 7"}
        with engine.begin() as connection:
            change = f"UPDATE servers SET {named.get(state, 'port = 1')} WHERE server_id = :id"
            connection.execute(text(change), {"id": server_id})
            count_anew(connection)

    assert ["c"] == offering(fleet.store, "x")
    found = [offering(fleet.store, "x", state=each) for each in ("superseded", "node", "up")]
    assert [["a"], ["b"], ["c"]] == found


@pytest.mark.parametrize("order", list(Order))
def test_pages_of_servers_with_a_tool_have_each_of_them_once(fleet: Watched, order: Order) -> None:
    for n in range(40):
        beat(fleet, f"s{n:02}", ["common", f"own {n % 7}", *(["rare"] if n % 9 == 0 else [])])
        fleet.clock.advance(1e-6)

    for name, expected in (("common", {*range(40)}), ("rare", {*range(0, 40, 9)})):
        found: list[str] = []
        asked = PageRequest(limit=3, now=fleet.now)
        while True:
            page = fleet.store.servers.page(Filter(capability=name), order, asked)
            found += [record.server_id for record in page.records]
            if page.next_after is None:
                break
            asked = PageRequest(limit=3, now=fleet.now, after=page.next_after)
        in_order = sorted(f"s{n:02}" for n in expected)
        assert (in_order[::-1] if order.is_descending else in_order) == found
        assert len(found) == fleet.store.servers.count(Filter(capability=name))


def test_tool_name_of_any_length_and_script_is_found(fleet: Watched) -> None:
    names = ["x" * 200, "наме", "a b", '"quoted" OR *', "'", "%", "\N{PILE OF POO}", "A", "a"]
    for n, name in enumerate(names):
        beat(fleet, str(n), [name])

    assert [[str(n)] for n in range(len(names))] == [offering(fleet.store, each) for each in names]


def test_thousand_tools_take_little_more_than_their_names(fleet: Watched, engine: Engine) -> None:
    """Of a name of three letters, which is six bytes in a message."""
    letters = "abcdefghijklmnop"
    names = [a + b + c for a in letters for b in letters for c in letters]
    before = bytes_of(engine)
    for n in range(80):
        beat(fleet, f"s{n}", [names[(n * 7 + 3 * m) % len(names)] for m in range(1_000)])

    assert bytes_of(engine) - before < 4 * 80 * 6 * 1_000


def bytes_of(engine: Engine) -> int:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("CHECKPOINT"))
            size = connection.execute(text("SELECT pg_database_size(current_database())"))
        else:
            connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))
            size = connection.execute(
                text("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size")
            )
        return int(size.scalar_one())


def test_list_of_servers_with_a_tool_is_read_from_an_index(fleet: Watched, engine: Engine) -> None:
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SET LOCAL enable_seqscan = off"))
            explain, query = "EXPLAIN", "SELECT id FROM toolsets WHERE hashes @> ARRAY[1::bigint]"
            index = "ix_toolsets_hashes"
        else:
            explain = "EXPLAIN QUERY PLAN"
            index = "COVERING INDEX ix_servers_profile_rank_server_id (profile=?"
            query = (
                "SELECT server_id FROM servers WHERE rank <= 5 AND profile IN "
                "(SELECT id FROM profiles WHERE toolset IN "
                "(SELECT rowid FROM toolset_words WHERE toolset_words MATCH '\"1\"'))"
            )
        plan = connection.execute(text(f"{explain} {query}")).all()

    assert index in " ".join(str(row[-1]) for row in plan)


def test_tool_set_that_another_transaction_takes_up_is_not_deleted(postgresql_url: str) -> None:
    one, other = (SqlStore(make_url(postgresql_url)) for _ in range(2))
    try:
        have_patience(one, other)
        fleet, second = Watched(one), Watched(other)
        for n in range(20):
            beat(fleet, "a", "xy")
            at_once(partial(beat, fleet, "a", [f"t{n}"]), partial(beat, second, "b", "xy"))
            assert ["b"] == offering(one, "x")
            at_once(partial(beat, fleet, "a", "xy"), partial(beat, second, "b", [f"u{n}"]))
            assert ["a"] == offering(one, "y")
    finally:
        one.close()
        other.close()

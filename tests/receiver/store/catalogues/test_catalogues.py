"""Descriptions of tools in the store: kept once for all servers that send them, and found."""

import asyncio
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, make_url, text

from contract import EventKind, Heartbeat, Registration, Tool, tools_digest
from receiver.domain.agents.tool_search import best, words_in
from receiver.domain.forgetting import FORGETTABLE, Forgettable, Stage
from receiver.domain.outcomes import Applied, Incoming
from receiver.domain.queries import (
    ALL_SERVERS,
    FIRST_TOOLS,
    MOST_NAMED_SERVERS,
    Filter,
    ToolPage,
)
from receiver.service.agents.tool_search import MOST_NEAR, MOST_TOOLS, ToolSearch
from receiver.service.store_calls import StoreCalls
from receiver.store import SqlStore
from receiver.store.catalogues import search
from strategies import tools
from watched import Watched, at_once, have_patience, hear

CONFIRM = Tool(name="sale_order_confirm", title="Confirm a sales order")
READ = Tool(name="record_read", description="Reads a record.")
OTHER = Tool(name="record_read", description="Reads one record.")


def register(fleet: Watched, server_id: str, *tools: Tool, **said: Any) -> Applied:
    (applied,) = heard(fleet, Registration(server_id=server_id, tools=tools, **said))
    return applied


def beat(fleet: Watched, server_id: str, digest: str | None) -> Applied:
    (applied,) = heard(fleet, Heartbeat(server_id=server_id, tools_digest=digest))
    return applied


def heard(fleet: Watched, *messages: Registration | Heartbeat) -> list[Applied]:
    return hear(fleet.store, [Incoming(each, fleet.now) for each in messages])


def stored(engine: Engine) -> list[tuple[str, str]]:
    """The catalogues in the database: their ids and words."""
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT id, words FROM catalogues ORDER BY number"))
        return [(row.id, row.words) for row in rows]


def found(store: SqlStore, question: str, matching: Filter = ALL_SERVERS) -> dict[str, list[str]]:
    """The servers that offer what a question means, by the name of the tool."""
    tools = [tool for page in pages(store, question, matching) for tool in page.tools]
    return {each.tool.name: [*each.server_ids] for each in tools}


def pages(store: SqlStore, question: str, matching: Filter = ALL_SERVERS) -> list[ToolPage]:
    async def read() -> list[ToolPage]:
        search = ToolSearch(servers=store.servers, calls=StoreCalls())
        found = [await search.find(matching, question, FIRST_TOOLS)]
        while (place := found[-1].next_place) is not None:
            found.append(await search.find(matching, question, place))
        return found

    return asyncio.run(read())


# What is stored


def test_servers_with_the_same_tools_share_a_catalogue(fleet: Watched, engine: Engine) -> None:
    register(fleet, "a", CONFIRM, READ)
    register(fleet, "b", READ, CONFIRM)

    ((name, words),) = stored(engine)

    digest = tools_digest([CONFIRM, READ])
    assert f"{digest} {digest}" == name
    assert "a confirm order read record sale" == words
    assert digest == fleet.record("a").tools_digest == fleet.record("b").tools_digest


def test_server_has_the_tools_that_it_described_last(fleet: Watched) -> None:
    assert fleet.store.servers.tools("a") is None
    assert fleet.store.servers.tools("a\0") is None

    fleet.beat("a")
    told = fleet.store.servers.tools("a")
    assert told is not None
    assert (None, False) == (told.tools, told.is_current)

    register(fleet, "a", READ)
    register(fleet, "a", CONFIRM, READ)
    told = fleet.store.servers.tools("a")
    assert told is not None
    assert ((CONFIRM, READ), True) == (told.tools, told.is_current)

    beat(fleet, "a", "another")
    told = fleet.store.servers.tools("a")
    assert told is not None
    assert ((CONFIRM, READ), False) == (told.tools, told.is_current)


def test_server_without_any_tool_has_described_that(fleet: Watched) -> None:
    register(fleet, "a")

    told = fleet.store.servers.tools("a")

    assert told is not None
    assert ((), True) == (told.tools, told.is_current)


def test_heartbeat_with_an_unknown_digest_lacks_the_tools(fleet: Watched) -> None:
    assert not beat(fleet, "a", None).lacks_tools
    assert beat(fleet, "a", "d1").lacks_tools
    assert beat(fleet, "a", None).lacks_tools
    assert not register(fleet, "a", CONFIRM, tools_digest="d1").lacks_tools
    assert not beat(fleet, "a", "d1").lacks_tools
    assert not beat(fleet, "a", None).lacks_tools
    assert beat(fleet, "a", "d2").lacks_tools


def test_digest_of_one_server_says_nothing_about_the_tools_of_another(fleet: Watched) -> None:
    register(fleet, "a", CONFIRM, tools_digest="d")

    assert beat(fleet, "b", "d").lacks_tools

    register(fleet, "b", READ, tools_digest="d")
    for server_id, tool in (("a", CONFIRM), ("b", READ)):
        told = fleet.store.servers.tools(server_id)
        assert told is not None
        assert told.tools == (tool,)


def test_registration_without_tools_changes_none(fleet: Watched, engine: Engine) -> None:
    register(fleet, "a", CONFIRM)
    before = stored(engine)

    heard(fleet, Registration(server_id="a", hostname="web-2"))

    assert before == stored(engine)
    told = fleet.store.servers.tools("a")
    assert told is not None
    assert told.is_current


def test_catalogue_is_deleted_with_the_last_server_that_has_it(
    fleet: Watched, engine: Engine
) -> None:
    for server_id in "abcd":
        register(fleet, server_id, CONFIRM)

    register(fleet, "a", READ)
    fleet.store.servers.delete("b", fleet.now)
    assert 2 == len(stored(engine))

    heard(
        fleet,
        Registration(server_id="c", tools=(OTHER,)),
        Registration(server_id="c", tools=(READ,)),
        Registration(server_id="d", tools=(READ,)),
    )
    assert [f"{tools_digest([READ])} {tools_digest([READ])}"] == [
        name for name, _ in stored(engine)
    ]
    assert {} == found(fleet.store, "confirm")

    for server_id in "acd":
        assert 1 == len(stored(engine))
        fleet.store.servers.delete(server_id, fleet.now)
    assert [] == stored(engine)


def test_catalogues_of_forgotten_servers_are_deleted(fleet: Watched, engine: Engine) -> None:
    register(fleet, "a", CONFIRM)
    register(fleet, "b", CONFIRM, READ)
    fleet.go_on(1000, "b")

    gone = [
        server_id
        for state in FORGETTABLE
        for server_id in fleet.store.servers.forget(
            Forgettable(), fleet.now, stage=Stage(state)
        ).ids
    ]

    assert ["a"] == gone

    assert 1 == len(stored(engine))


def test_deleted_server_that_is_back_has_no_tools(fleet: Watched) -> None:
    register(fleet, "a", CONFIRM)
    fleet.store.servers.delete("a", fleet.now)

    assert beat(fleet, "a", tools_digest([CONFIRM])).lacks_tools


def test_tools_that_change_under_their_name_are_reported(fleet: Watched) -> None:
    register(fleet, "a", CONFIRM, READ)

    register(fleet, "a", READ)
    register(fleet, "a", CONFIRM, OTHER)
    register(fleet, "a", CONFIRM, OTHER)

    assert [{"tools": {"record_read": ["description"]}}] == fleet.details(EventKind.TOOLS_CHANGED)


def test_two_tool_changes_in_one_transaction_are_both_reported(fleet: Watched) -> None:
    register(fleet, "a", READ)

    heard(
        fleet,
        Registration(server_id="a", tools=(OTHER,)),
        Registration(server_id="a", tools=(READ,)),
    )

    assert 2 == len(fleet.details(EventKind.TOOLS_CHANGED))


# Searches


def test_tool_search_finds_the_tools_with_the_words_of_a_question(fleet: Watched) -> None:
    register(fleet, "a", CONFIRM, READ)
    register(fleet, "b", READ)
    register(fleet, "c", CONFIRM)

    assert {"sale_order_confirm": ["a", "c"]} == found(
        fleet.store, "Which Odoo can confirm sales orders?"
    )
    assert {"record_read": ["a", "b"]} == found(fleet.store, "read a record")
    assert {} == found(fleet.store, "fly to the moon")


def test_tool_search_does_not_add_up_words_of_different_tools(fleet: Watched) -> None:
    register(fleet, "a", CONFIRM, READ)
    register(fleet, "b", Tool(name="confirm_record"))

    assert {"confirm_record": ["b"]} == found(fleet.store, "confirm record")


def test_tool_search_finds_near_matches_where_no_tool_has_all_words(fleet: Watched) -> None:
    register(fleet, "a", CONFIRM, READ)

    assert {"sale_order_confirm": ["a"]} == found(fleet.store, "confirm a purchase order")


def test_tool_search_finds_a_limited_number_of_near_matches(fleet: Watched) -> None:
    register(fleet, "a", *(Tool(name=f"read_{n}") for n in range(MOST_NEAR + 1)))

    assert MOST_NEAR == len(found(fleet.store, "read poems"))


def test_tool_search_finds_only_tools_of_servers_that_match(fleet: Watched) -> None:
    register(fleet, "a", CONFIRM, odoo_stage="production")
    register(fleet, "b", CONFIRM, odoo_stage="dev")
    register(fleet, "c", READ, odoo_stage="dev")

    assert {"sale_order_confirm": ["a"]} == found(fleet.store, "sale", Filter(stage="production"))
    assert {} == found(fleet.store, "read", Filter(stage="production"))
    assert {} == found(fleet.store, "sale", Filter(state="down"))


def test_found_tool_names_its_first_servers_and_their_number(fleet: Watched) -> None:
    number = MOST_NAMED_SERVERS + 1
    for n in range(number):
        register(fleet, f"s{n:02}", CONFIRM)
    register(fleet, "a", CONFIRM, READ)

    ((tool,),) = [page.tools for page in pages(fleet.store, "sale")]

    assert number + 1 == tool.server_count
    assert ["a", *(f"s{n:02}" for n in range(MOST_NAMED_SERVERS - 1))] == [*tool.server_ids]


def test_pages_of_the_tool_search_cover_all_catalogues(fleet: Watched) -> None:
    number = 2 * search.MOST_CATALOGUES + 1
    heard(
        fleet,
        *(
            Registration(server_id=f"s{n:03}", tools=(Tool(name="sale", title=f"number {n}"),))
            for n in range(number)
        ),
    )

    read = pages(fleet.store, "sale")

    assert 3 == len(read)
    ids = [server_id for page in read for tool in page.tools for server_id in tool.server_ids]
    assert [f"s{n:03}" for n in range(number)] == sorted(ids)


def test_page_of_the_tool_search_has_the_best_tools(fleet: Watched) -> None:
    register(fleet, "a", *(Tool(name=f"read_{n}") for n in range(MOST_TOOLS)), Tool(name="read"))

    (page,) = pages(fleet.store, "read")

    assert MOST_TOOLS == len(page.tools)


def test_page_of_the_tool_search_ends_when_it_has_read_much(fleet: Watched) -> None:
    text = "d" * 4000
    for server_id in "abc":
        names = [f"sale_{server_id}_{n}" for n in range(100)]
        register(fleet, server_id, *(Tool(name=name, description=text) for name in names))

    read = pages(fleet.store, "sale")

    assert [100, 100, 100] == [len(page.tools) for page in read]


def test_near_matches_follow_where_words_are_in_different_tools(fleet: Watched) -> None:
    number = search.MOST_CATALOGUES
    messages = [
        Registration(
            server_id=f"s{n}", tools=(Tool(name="refund", title=f"{n}"), Tool(name="order"))
        )
        for n in range(number)
    ]
    heard(fleet, *messages)
    register(fleet, "t", Tool(name="refund_the_order_now"))
    fleet.store.servers.delete("t", fleet.now)

    read = pages(fleet.store, "refund order")

    assert [] == [*read[0].tools]
    assert "order" in {tool.tool.name for page in read for tool in page.tools}


def test_near_match_is_found_beyond_many_catalogues(fleet: Watched) -> None:
    many = [
        Registration(server_id=f"s{n}", tools=(Tool(name=f"order_{n}"),))
        for n in range(search.MOST_CATALOGUES)
    ]
    heard(fleet, *many)
    register(fleet, "z", Tool(name="order_ship"), odoo_stage="production")

    assert {"order_ship": ["z"]} == found(
        fleet.store, "ship some order quickly", Filter(stage="production")
    )


def test_tools_that_a_server_describes_otherwise_now_are_not_found(fleet: Watched) -> None:
    register(fleet, "a", CONFIRM)
    beat(fleet, "a", "another")

    assert {} == found(fleet.store, "confirm")


@pytest.mark.parametrize("text", ["aufträge", "xy\u19b1z", "\u19b1", "確認"])
def test_tool_search_finds_letters_that_sqlite_and_postgresql_do_not_fold(
    fleet: Watched, text: str
) -> None:
    register(fleet, "a", Tool(name="t", title=text))

    assert {"t": ["a"]} == found(fleet.store, text)
    assert {"t": ["a"]} == found(fleet.store, f"{text} xyzzy")


def test_transaction_ends_early_when_indexing_tool_words_takes_long(fleet: Watched) -> None:
    words = [[f"w{n}x{m}" for m in range(900)] for n in range(20)]
    incoming = [
        Incoming(
            Registration(
                server_id=f"s{n}", tools=(Tool(name="t", description=" ".join(each)[:4000]),)
            ),
            fleet.now,
        )
        for n, each in enumerate(words)
    ]

    applied = fleet.store.servers.apply(incoming, allowed=lambda: 0.005)

    assert len(applied) < 5


@pytest.mark.parametrize("question", ['"', "a OR b", "NEAR(a b)", "x*", "' & !", "a:b", "col : x"])
def test_query_language_signs_mean_nothing_in_a_tool_search(fleet: Watched, question: str) -> None:
    register(fleet, "a", CONFIRM)

    assert {} == found(fleet.store, question)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(held=st.lists(tools(), min_size=1, max_size=3), data=st.data())
def test_tool_is_found_by_any_word_of_it(
    fleet: Watched, held: list[Tool], data: st.DataObject
) -> None:
    register(fleet, "a", *held)
    tool = data.draw(st.sampled_from(held))
    words = words_in([tool])

    for word in words:
        those = fleet.store.servers.tools_with(ALL_SERVERS, [word], after=0, is_any_enough=False)
        offered = [each.tool for each in best(those.tools, [word], is_near_enough=False)]
        assert tool in offered


def test_postgresql_finds_words_by_its_index(postgresql_url: str) -> None:
    store = SqlStore(make_url(postgresql_url))
    try:
        register(Watched(store), "a", CONFIRM, READ)

        assert {"sale_order_confirm": ["a"]} == found(store, "confirm the order")
        assert {"sale_order_confirm": ["a"]} == found(store, "confirm the purchase order")
        with store.transactions.read() as connection:
            connection.execute(text("SET LOCAL enable_seqscan = off"))
            plan = connection.execute(
                text(
                    "EXPLAIN SELECT number FROM catalogues "
                    "WHERE string_to_array(words, ' ') @> ARRAY['confirm']"
                )
            )
            assert "ix_catalogues_words" in "".join(plan.scalars())
    finally:
        store.close()


# Two receivers


def test_catalogue_that_another_transaction_takes_up_is_not_deleted(
    postgresql_url: str,
) -> None:
    one, other = (SqlStore(make_url(postgresql_url)) for _ in range(2))
    try:
        have_patience(one, other)
        fleet, second = Watched(one), Watched(other)
        for n in range(20):
            register(fleet, "a", CONFIRM, READ)
            at_once(
                partial(register, fleet, "a", Tool(name=f"t{n}")),
                partial(register, second, "b", CONFIRM, READ),
            )
            told = one.servers.tools("b")
            assert told is not None
            assert (CONFIRM, READ) == told.tools
            at_once(
                partial(register, fleet, "a", CONFIRM, READ),
                partial(register, second, "b", Tool(name=f"u{n}")),
            )
            told = one.servers.tools("a")
            assert told is not None
            assert (CONFIRM, READ) == told.tools
    finally:
        one.close()
        other.close()

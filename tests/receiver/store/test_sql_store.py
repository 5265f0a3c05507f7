"""The SQL store keeps records as the contract merges them, on SQLite and PostgreSQL."""

import itertools
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

import pytest
from attrs import evolve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, event, make_url

from contract import Heartbeat, Registration, ServerRecord, State, merge, register, structure
from long_texts import found_by, long_text
from receiver.domain.outcomes import Incoming
from receiver.domain.queries import ALL_SERVERS, Filter, Order, PageRequest
from receiver.store import SqlStore
from server_records import server_record
from strategies import heartbeats, moments, registrations
from watched import MOMENT, Watched, beats, counts, hear


def with_tools(server_id: str, *tools: str) -> Incoming:
    return Incoming(Heartbeat(server_id=server_id, capabilities=tools), MOMENT)


def test_transaction_takes_as_many_messages_as_it_has_time_for(store: SqlStore) -> None:
    """
    A row is thought to take 30 µs.

    So a thousand new names of tools take 8.2 ms, and those that another server has sent 0.7.
    """
    tools = [f"tool-{n}" for n in range(1000)]
    others = [f"other-{n}" for n in range(1000)]

    new = store.servers.apply([with_tools(each, *tools) for each in "abc"], allowed=lambda: 0.007)
    gone = store.servers.apply([with_tools("a", *others), *beats("a", "b")], allowed=lambda: 0.007)
    none = store.servers.apply(beats("a", "b"), allowed=lambda: 0)
    same = store.servers.apply([with_tools("a", *others)] * 5, allowed=lambda: 20)
    known = store.servers.apply([with_tools(each, *others) for each in "bc"], allowed=lambda: 7e-4)

    assert [1, 1, 1, 5, 1] == [len(each) for each in (new, gone, none, same, known)]
    assert {"a": 8, "b": 1} == counts(store)


def test_time_that_a_transaction_has_may_become_shorter_meanwhile(store: SqlStore) -> None:
    left = iter([20, 20, 0])

    taken = store.servers.apply(beats("a", "b", "c", "d"), allowed=lambda: next(left))

    assert ["a", "b", "c"] == [*counts(store)]
    assert 3 == len(taken)


def test_reopened_store_keeps_its_servers(database_url: str) -> None:
    first = SqlStore(make_url(database_url))
    first.servers.apply(beats("a"))
    first.close()

    second = SqlStore(make_url(database_url))
    kept = second.servers.get("a")
    second.close()

    assert server_record(at=MOMENT, heartbeat_count=1, state=State.UP) == kept


def test_connection_of_a_read_that_outlasts_its_store_is_closed(database_url: str) -> None:
    store = SqlStore(make_url(database_url))
    with store.transactions.read() as connection:
        kept: Any = connection.connection.dbapi_connection
        store.close()
        assert 1 == connection.exec_driver_sql("SELECT 1").scalar()

    with pytest.raises(Exception, match="closed"):
        kept.cursor()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    batches=st.lists(
        st.lists(st.tuples(heartbeats() | registrations(), moments()), min_size=1, max_size=4),
        min_size=1,
        max_size=4,
    )
)
def test_store_keeps_exactly_the_merged_record(
    store: SqlStore, batches: list[list[tuple[Heartbeat | Registration, datetime]]]
) -> None:
    expected = None
    for batch in batches:
        incoming = [Incoming(message, moment) for message, moment in batch]
        for each in incoming:
            expected = merged(expected, each)
        last = hear(store, incoming)[-1].record
    kept = store.servers.get(last.server_id)
    store.servers.delete(last.server_id, MOMENT)

    assert kept == last
    # Random sequence numbers go back and forth, which the store takes for a conflict, and servers
    # may say farewell and come back six times, which is flapping.
    assert expected == evolve(last, conflict_since=None, flapping_since=None)


def merged(before: ServerRecord | None, incoming: Incoming) -> ServerRecord:
    if isinstance(incoming.message, Registration):
        return register(before, incoming.message, received_at=incoming.received_at)
    return merge(before, incoming.message, received_at=incoming.received_at)


@pytest.mark.parametrize(
    ("name", "length"),
    [
        *itertools.product(
            ["stage", "database", "version", "odoo_version"], [1, 199, 200, 201, 700, 15_000]
        ),
        *itertools.product(["capability"], [1, 199, 200]),
    ],
)
def test_text_of_any_length_is_kept_and_found(store: SqlStore, name: str, length: int) -> None:
    long, other, server_id = long_text(length), long_text(length)[:-1] + "!", long_text(255)
    fields_of_message: dict[str, Any] = {"server_id": server_id, name: long}
    fields_of_message |= {"odoo_stage": long} if name == "stage" else {}
    fields_of_message |= {"capabilities": [long, "short"]} if name == "capability" else {}

    (applied,) = hear(store, [Incoming(structure(fields_of_message, Heartbeat), MOMENT)])

    assert applied.record == store.servers.get(server_id)
    wanted, unwanted = ({name: text} for text in (long, other))
    assert [server_id] == found_by(store, Filter(**wanted))  # type: ignore[arg-type]  # any name
    assert [] == found_by(store, Filter(**unwanted))  # type: ignore[arg-type]  # as above


def test_text_equal_to_the_digest_of_a_long_text_is_not_confused_with_it(store: SqlStore) -> None:
    long = long_text(1_000)
    digest = f"sha256:{sha256(long.encode()).hexdigest()}"

    store.servers.apply([Incoming(Heartbeat(server_id="long", database=long), MOMENT)])
    store.servers.apply([Incoming(Heartbeat(server_id="digest", database=digest), MOMENT)])

    assert ["long"] == found_by(store, Filter(database=long))
    assert ["digest"] == found_by(store, Filter(database=digest))


def test_empty_stage_filter_finds_servers_without_a_stage_in_any_state(fleet: Watched) -> None:
    fleet.beat("silent", "says nothing")
    fleet.beat("says none", odoo_stage="")
    fleet.beat("dev", odoo_stage="dev")
    fleet.beat("old", database="acme", database_uuid="u")
    fleet.beat("old dev", database="acme", database_uuid="v", odoo_stage="dev")
    fleet.go_on(300, "says nothing", "says none", "dev")
    fleet.beat("new", database="acme", database_uuid="u")
    fleet.beat("new dev", database="acme", database_uuid="v", odoo_stage="dev")
    fleet.sweep()

    assert ["new", "says none", "says nothing", "silent"] == fleet.ids(stage="")
    assert ["new", "says none", "says nothing"] == fleet.ids(stage="", state="up")
    assert ["silent"] == fleet.ids(stage="", state="down")
    assert ["old"] == fleet.ids(stage="", state="superseded")
    assert ["old dev"] == fleet.ids(stage="dev", state="superseded")
    assert ["new"] == fleet.ids(stage="", database="acme")
    assert 4 == fleet.store.servers.count(Filter(stage=""))


def test_batch_of_a_thousand_servers_is_applied(store: SqlStore) -> None:
    ids = [f"s{n:03}" for n in range(1000)]

    store.servers.apply(beats(*ids, *ids, hostname="host"))
    store.servers.apply(beats(*reversed(ids)))

    assert dict.fromkeys(ids, 3) == counts(store)


def test_id_that_no_server_can_have_is_the_id_of_none(store: SqlStore) -> None:
    """PostgreSQL refuses a NUL in a parameter."""
    assert store.servers.get("a\0") is None
    assert store.servers.owner("a\0") is None
    assert store.servers.past("a\0", MOMENT) is None
    assert [] == store.servers.hand_over(["a\0"], None)


def test_list_goes_on_after_a_server_that_is_deleted_while_it_is_read(
    store: SqlStore, other: SqlStore
) -> None:
    for read in (listed_ids, reachable_ids):
        other.servers.apply(beats("a", "b", "c"))

        @event.listens_for(Engine, "after_cursor_execute", once=True)
        def delete(*_: object) -> None:
            other.servers.delete("a", MOMENT)

        # Of one moment, before or after that: it is read again if rows were not there any more.
        assert read(store) in ((["a", "b"], True), (["b", "c"], False))


def listed_ids(store: SqlStore) -> tuple[list[str], bool]:
    asked = PageRequest(limit=2, now=MOMENT, after=None)
    page = store.servers.page(ALL_SERVERS, Order.SERVER_ID, asked)
    return [each.server_id for each in page.records], page.next_after is not None


def reachable_ids(store: SqlStore) -> tuple[list[str], bool]:
    found = store.servers.reachable(Filter(state="up"), after=None, limit=2)
    ids = [each.server_id for each in found.whereabouts]
    return ids, len(ids) == 2


@pytest.mark.one_database
@pytest.mark.parametrize(("seconds", "is_early"), [(29.9, True), (30, False)])
def test_heartbeat_is_early_before_half_of_the_declared_interval(
    store: SqlStore, seconds: float, *, is_early: bool
) -> None:
    later = MOMENT + timedelta(seconds=seconds)
    hear(store, beats("a", heartbeat_interval_seconds=60.0))

    (applied,) = hear(store, beats("a", at=later, heartbeat_interval_seconds=60.0))

    assert is_early is applied.is_early

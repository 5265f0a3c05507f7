"""A heartbeat that repeats a record is merged like any other, also when the record is old."""

from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from attrs import evolve, fields
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contract import Heartbeat, Registration, ServerRecord, State, merge, repeats
from keyring import made
from odoos import DATABASE
from receiver.domain.errors import Refusal
from receiver.domain.keys import Key
from receiver.domain.outcomes import Applied, Incoming
from receiver.domain.queries import EventFilter
from receiver.domain.rows import Row
from receiver.store import SqlStore
from receiver.store.rows import RowCache, read_rows
from strategies import share_of_examples
from watched import MOMENT, Watched, hear

FIRST = Heartbeat(server_id="a", hostname="first")
SECOND = Heartbeat(server_id="a", hostname="second")


@pytest.fixture
def old(store: SqlStore) -> ServerRecord:
    """The record of a server whose only heartbeat was `FIRST`."""
    (applied,) = hear(store, [Incoming(FIRST, MOMENT)])
    assert repeats(applied.record, FIRST)
    return applied.record


def kept(store: SqlStore) -> tuple[str | None, int]:
    """The hostname of the server, and the number of its heartbeats."""
    record = store.servers.get("a")
    assert record is not None
    return record.hostname, record.heartbeat_count


def test_heartbeat_that_repeats_the_current_record_is_counted(
    store: SqlStore, old: ServerRecord
) -> None:
    before = row(store, "a").revision

    (applied,) = hear(store, [Incoming(FIRST, MOMENT, repeated=old)])

    assert merge(old, FIRST, received_at=MOMENT) == applied.record == store.servers.get("a")
    assert before + 1 == row(store, "a").revision


def test_heartbeat_that_repeats_an_old_record_replaces_what_another_store_wrote(
    store: SqlStore, other: SqlStore, old: ServerRecord
) -> None:
    other.servers.apply([Incoming(SECOND, MOMENT)])

    store.servers.apply([Incoming(FIRST, MOMENT, repeated=old)])

    assert ("first", 3) == kept(other)
    assert ["moved", "moved", "registered"] == [kind for kind, *_ in history(other, "a")]


def test_heartbeat_that_repeats_an_old_record_counts_those_of_another_store(
    store: SqlStore, other: SqlStore, old: ServerRecord
) -> None:
    other.servers.apply([Incoming(FIRST, MOMENT)])

    store.servers.apply([Incoming(FIRST, MOMENT, repeated=old)])

    assert ("first", 3) == kept(other)


def test_two_stores_that_repeat_their_records_in_turn_count_each_heartbeat(
    store: SqlStore, other: SqlStore
) -> None:
    for each in [store, other, store, store, other, other, store]:
        known = each.servers.known("a")
        hear(each, [Incoming(FIRST, MOMENT, repeated=known)])

    assert ("first", 7) == kept(store)


def test_fallen_uptime_of_a_heartbeat_that_repeats_its_record_is_a_restart(
    store: SqlStore,
) -> None:
    for uptime in (900.0, 1.0):
        known = store.servers.known("a")
        beat = Heartbeat(server_id="a", uptime_seconds=uptime)
        hear(store, [Incoming(beat, MOMENT, repeated=known)])

    assert ["restarted", "registered"] == [kind for kind, *_ in history(store, "a")]


def test_heartbeat_that_repeats_the_record_of_a_deleted_server_creates_it(
    store: SqlStore, other: SqlStore, old: ServerRecord
) -> None:
    other.servers.delete("a", MOMENT)

    (applied,) = hear(store, [Incoming(FIRST, MOMENT, repeated=old)])

    assert applied.created
    assert ("first", 1) == kept(other)


def test_heartbeats_of_one_transaction_that_repeat_one_record_are_merged_in_turn(
    store: SqlStore, old: ServerRecord
) -> None:
    first, second = Incoming(FIRST, MOMENT, repeated=old), Incoming(SECOND, MOMENT)
    hear(store, [first, first, second, first])

    assert ("first", 5) == kept(store)


def test_superseded_server_that_repeats_its_record_is_back(fleet: Watched) -> None:
    fleet.beat("old", **DATABASE)
    fleet.go_on(300)
    fleet.beat("new", **DATABASE)
    fleet.sweep()
    known = fleet.store.servers.known("old")
    assert known is not None
    assert "new" == known.superseded_by

    beat = Heartbeat(server_id="old", **DATABASE)
    hear(fleet.store, [Incoming(beat, fleet.now, repeated=known)])

    record = fleet.record("old")
    assert (None, State.UP, fleet.now) == (record.superseded_by, record.state, record.state_since)


def test_first_heartbeat_of_a_registered_server_makes_it_up_at_the_same_moment(
    store: SqlStore,
) -> None:
    registration, beat = Registration(server_id="a"), Heartbeat(server_id="a")
    (applied,) = hear(store, [Incoming(registration, MOMENT)])
    assert repeats(applied.record, beat)

    hear(store, [Incoming(beat, MOMENT, repeated=applied.record)])

    assert State.UP is row(store, "a").record.state


def test_suspicion_of_two_senders_ends_with_heartbeats_that_repeat_their_record(
    store: SqlStore,
) -> None:
    """A number that is not above the one before counts three, and each of the others takes one."""
    scores = []
    for sequence in (5, 4, 5, 6, 7):
        known = store.servers.known("a")
        beat = Heartbeat(server_id="a", sequence=sequence)
        hear(store, [Incoming(beat, MOMENT, repeated=known)])
        scores.append(row(store, "a").repeats)

    assert [0, 3, 2, 1, 0] == scores


LATER = MOMENT + timedelta(days=1)
described = st.fixed_dictionaries(
    {},
    optional={
        "hostname": st.sampled_from(["h", "i"]),
        "status": st.sampled_from(["healthy", "healthy", "uninstalled"]),
        "heartbeat_interval_seconds": st.just(60.0),
        "started_at": st.sampled_from([MOMENT, LATER]),
        "tools_digest": st.just("0a"),
    },
)
moved = st.fixed_dictionaries(
    {},
    optional={
        "sequence": st.integers(0, 9),
        "timestamp": st.sampled_from([MOMENT, None]),  # None stands for the time of receipt
        "uptime_seconds": st.sampled_from([1.0, 100.0, 900.0]),
    },
)
# Nearly each message describes the server as the one before does, and nearly each is a heartbeat.
steps = st.tuples(
    st.sampled_from([0, 0, 0, 0, 1]),
    moved,
    st.sampled_from([0, 1, 29, 30, 31, 60, 200]),
    st.sampled_from([None, None, "agent", "agent", "other", "admin"]),
    st.sampled_from([Heartbeat] * 5 + [Registration]),
)
KEYS: dict[str | None, Key | None] = {
    None: None,
    "agent": made("agent")[0],
    "other": made("agent")[0],
    "admin": made("admin")[0],
}
numbers = count()


@settings(
    max_examples=share_of_examples(5),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    descriptions=st.tuples(described, described),
    sent=st.lists(steps, min_size=2, max_size=14),
    per_batch=st.integers(1, 3),
)
@pytest.mark.one_database
def test_server_is_the_same_whether_its_record_is_known_or_not(
    fleet: Watched,
    descriptions: tuple[dict[str, Any], ...],
    sent: list[tuple[int, dict[str, Any], int, str | None, type[Heartbeat | Registration]]],
    per_batch: int,
) -> None:
    """Two servers send the same messages, and only of one it is told which record they repeat."""
    number = next(numbers)
    known, unknown = f"known-{number}", f"unknown-{number}"
    for start in range(0, len(sent), per_batch):
        incoming = []
        for index, moving, pause, key, kind in sent[start : start + per_batch]:
            fleet.clock.advance(pause)
            said = descriptions[index] | moving
            names = {field.name for field in fields(kind)}
            said = {name: value for name, value in said.items() if name in names}
            if said.get("timestamp", MOMENT) is None:
                said["timestamp"] = fleet.now
            for server_id in (known, unknown):
                message = kind(server_id=server_id, **said)
                record = fleet.store.servers.known(server_id) if server_id == known else None
                repeated = record if record is not None and is_same(record, message) else None
                incoming.append(Incoming(message, fleet.now, KEYS[key], repeated))
        outcomes = fleet.store.servers.apply(incoming)
        assert [told(each) for each in outcomes[::2]] == [told(each) for each in outcomes[1::2]]
        fleet.sweep()

    rows = [anonymous(row(fleet.store, server_id)) for server_id in (known, unknown)]
    assert rows[0] == rows[1]
    assert history(fleet.store, known) == history(fleet.store, unknown)
    for server_id in (known, unknown):
        fleet.store.servers.delete(server_id, fleet.now)


def is_same(record: ServerRecord, message: Heartbeat | Registration) -> bool:
    return isinstance(message, Heartbeat) and repeats(record, message)


def told(outcome: Applied | Refusal) -> object:
    """What is answered to a message, but for the id of its server."""
    if isinstance(outcome, Refusal):
        return outcome.code
    return outcome._replace(record=evolve(outcome.record, server_id="same"))


def row(store: SqlStore, server_id: str) -> Row:
    """The row of a server as the database has it."""
    transactions = store.transactions
    return transactions.write(
        lambda connection: read_rows(
            transactions.dialect, connection, [server_id], RowCache(max_bytes=0)
        )
    )[server_id]


def anonymous(found: Row) -> Row:
    """A row without what differs from server to server."""
    return found._replace(revision=0, record=evolve(found.record, server_id="same"))


def history(store: SqlStore, server_id: str) -> list[Any]:
    page = store.events.page(EventFilter(server_id=server_id), before=None, limit=100)
    return [(e.event.kind.value, e.event.at, e.event.details) for e in page.events]

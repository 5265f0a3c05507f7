"""Random fleets of servers of one uuid keep the rules of states, rebuilds and twins."""

from datetime import datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from contract import EventKind, ServerRecord, State, interval, liveness
from receiver.store import SqlStore
from strategies import share_of_examples
from watched import Watched

DATABASE = {"database_uuid": "u-1", "database": "acme", "odoo_stage": "production"}


# Random histories


NAMES = ["a", "b", "c", "d"]
LONGEST = timedelta(seconds=300)
steps = st.lists(
    st.tuples(
        st.sampled_from([0.0, 1.0, 50.0, 134.0, 136.0, 250.0, 676.0]),
        st.lists(st.sampled_from(NAMES), unique=True, max_size=4),
        st.fixed_dictionaries(
            {"database_uuid": st.just("u")},
            optional={
                "database": st.sampled_from(["acme", "copy"]),
                "odoo_stage": st.sampled_from(["production", "dev"]),
                "heartbeat_interval_seconds": st.sampled_from([10.0, 60.0, 300.0]),
            },
        ),
        st.booleans(),
        st.none() | st.sampled_from(NAMES),
    ),
    min_size=1,
    max_size=14,
)


@settings(
    max_examples=share_of_examples(0.5),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=steps)
@example(
    steps=[
        (0.0, ["a"], {"database_uuid": "u"}, False, None),
        (0.0, ["a", "b"], {"database_uuid": "u"}, True, None),
        (676.0, ["a", "b"], {"database_uuid": "u"}, True, None),
        (136.0, ["a"], {"database_uuid": "u"}, False, None),
    ]
)
@example(
    steps=[
        (0.0, ["a", "b"], {"database_uuid": "u"}, False, None),
        (136.0, ["a", "b"], {"database_uuid": "u"}, False, None),
        (0.0, ["a"], {"odoo_stage": "dev", "heartbeat_interval_seconds": 10.0}, False, None),
        (50.0, [], {}, False, None),
    ]
)
def test_random_fleets_keep_the_rules_of_states_rebuilds_and_twins(
    store: SqlStore, steps: list[tuple[float, list[str], dict[str, Any], bool, str | None]]
) -> None:
    fleet = Watched(store)
    for name in NAMES:
        store.servers.delete(name, fleet.now)
    for seconds, heard, said, only_register, deleted in steps:
        if deleted is not None:
            store.servers.delete(deleted, fleet.now)
            left = known(store).values()
            assert deleted not in [*(e.superseded_by for e in left), *(e.twin_of for e in left)]
        seen = store.events.last()
        fleet.clock.advance(seconds)
        if only_register:
            fleet.register(*heard, **said)
        else:
            fleet.beat(*heard, **said)
        before = known(store)
        fleet.sweep()

        now = known(store)
        for record in now.values():
            assert_rules(record, now, fleet.now)
        news = store.events.after(seen, limit=1000)
        seen = store.events.last()
        for each in (e.event for e in news):
            if each.kind in (EventKind.LATE, EventKind.DOWN):
                assert None is now[str(each.server_id)].superseded_by
            if each.kind is EventKind.REBUILT:
                old, successor = before[str(each.server_id)], now[each.details["superseded_by"]]
                assert not liveness(successor, fleet.now).stale
                assert age(old) < age(successor) or overlap(old, successor) <= 2 * LONGEST
        fleet.sweep()
        assert (now, seen) == (known(store), store.events.last())


def known(store: SqlStore) -> dict[str, ServerRecord]:
    found = (store.servers.get(name) for name in NAMES)
    return {record.server_id: record for record in found if record is not None}


def age(record: ServerRecord) -> tuple[datetime, str]:
    return record.first_seen, record.server_id


def overlap(one: ServerRecord, other: ServerRecord) -> timedelta:
    """For how long both servers were up at the same time; zero if one never sent a heartbeat."""
    if not (one.heartbeat_count and other.heartbeat_count):
        return timedelta(0)
    return min(one.last_seen, other.last_seen) - max(one.state_since, other.state_since)


def assert_rules(record: ServerRecord, all_of_them: dict[str, ServerRecord], now: datetime) -> None:
    """Assert the rules that hold for every server after a sweep."""
    if record.superseded_by is not None:
        line = [record]
        while line[-1].superseded_by is not None:
            line.append(all_of_them[line[-1].superseded_by])
            assert len(line) <= len(all_of_them)
        assert record.state.stale
        assert None is record.twin_of
        return
    by_time = liveness(record, now)
    if record.state is not by_time:
        assert (State.LATE, State.DOWN) == (record.state, by_time)
        assert now - record.state_since <= 2 * interval(record)
    if record.twin_of is not None:
        twin = all_of_them[record.twin_of]
        assert not record.state.stale
        assert not twin.state.stale
        assert None is twin.superseded_by
        assert record.heartbeat_count
        assert twin.heartbeat_count
    same = ("database_uuid", "database", "odoo_stage", "superseded_by")
    successors = [
        each
        for each in all_of_them.values()
        if (
            age(each) > age(record)
            or each.state_since > record.last_seen
            or not (each.heartbeat_count and record.heartbeat_count)
        )
        and all(getattr(each, name) == getattr(record, name) for name in same)
        and not each.state.stale
    ]
    assert not (record.state.stale and successors)

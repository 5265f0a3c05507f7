"""Another database in the place of the one that was open, and events that are gone."""

from collections.abc import Callable

import pytest
from sqlalchemy import Engine, delete, make_url

from alarm_steps import advance, kept, progress, set_progress, silence_servers, tell, told
from alert_values import channel, rule
from receiver.store import SqlStore
from receiver.store.alerts.alarms import take_step, write_step
from receiver.store.tables import events
from watched import Watched


@pytest.fixture
def with_a_rule(database_url: str) -> None:
    """Store the channel and the rule before the database is copied."""
    store = SqlStore(make_url(database_url))
    store.alerts.add_channel(channel(), rule())
    store.close()


@pytest.mark.parametrize("is_progress_kept", [False, True])
def test_events_after_a_restored_backup_are_not_missed(
    with_a_rule: None,
    restore: Callable[[], object],
    fleet: Watched,
    engine: Engine,
    *,
    is_progress_kept: bool,
) -> None:
    """
    They have numbers that events had which were told before, and which the backup lacks.

    The progress may be that of the backup, or that of the database before.
    """
    silence_servers(fleet, "a")
    tell(fleet)
    assert ["alarm"] == told(fleet.store)
    before = progress(engine)
    restore()
    engine.dispose()
    assert 0 == fleet.store.events.last()
    assert 0 == progress(engine).event_id
    if is_progress_kept:
        set_progress(engine, event_id=before.event_id, event_at=before.event_at)
    fleet.clock.advance(1)
    silence_servers(fleet, "b")
    tell(fleet)

    assert ["b"] == [each.server_id for each in kept(fleet.store)]
    assert ["alarm"] == told(fleet.store)


@pytest.mark.parametrize("ahead", [1, 3, 1000])
def test_alarm_progress_ahead_of_the_events_misses_no_event(
    fleet: Watched, engine: Engine, ahead: int
) -> None:
    """As when the events alone are restored from a backup: later ones have the same numbers."""
    silence_servers(fleet, "a")
    advance(fleet)
    last = fleet.store.events.last()
    set_progress(engine, event_id=last + ahead, event_at=fleet.now)
    fleet.clock.advance(1)
    silence_servers(fleet, "b")
    advance(fleet)

    assert ["a", "b"] == [each.server_id for each in kept(fleet.store)]
    assert fleet.store.events.last() == progress(engine).event_id


def test_alarm_progress_behind_the_events_begins_no_alarm_twice(
    fleet: Watched, engine: Engine
) -> None:
    before = progress(engine)
    silence_servers(fleet, "a")
    tell(fleet)
    set_progress(engine, event_id=before.event_id, event_at=before.event_at)
    tell(fleet)

    assert 1 == len(kept(fleet.store))
    assert ["alarm"] == told(fleet.store)


def test_deleted_events_do_not_stop_the_alarms(
    fleet: Watched, engine: Engine, statements: Callable[[], list[str]]
) -> None:
    fleet.beat("b")
    advance(fleet)
    with engine.begin() as connection:
        connection.execute(delete(events))
    advance(fleet)
    statements()
    advance(fleet)
    assert 1 == len(statements())

    fleet.clock.advance(1)
    silence_servers(fleet, "a", "b")
    advance(fleet)

    assert ["a", "b"] == sorted(each.server_id or "" for each in kept(fleet.store))


def test_alarm_step_that_was_decided_by_another_database_is_not_written(
    restore: Callable[[], object], fleet: Watched, engine: Engine
) -> None:
    store, dialect = fleet.store, fleet.store.transactions.dialect
    silence_servers(fleet, "a")
    with store.transactions.read() as connection:
        step = take_step(dialect, connection, store.alerts._cache, fleet.now, None)  # noqa: SLF001 - to stop halfway
    assert step is not None
    restore()
    engine.dispose()
    set_progress(engine, revision=step.progress.revision)

    assert not store.transactions.write(lambda connection: write_step(dialect, connection, step))
    assert [] == kept(store)
    assert 0 == progress(engine).event_id

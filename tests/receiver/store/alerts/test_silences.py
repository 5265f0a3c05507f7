"""Silences: stored as they are, told in the timeline, and ended early."""

from datetime import timedelta

from attrs import evolve
from sqlalchemy import Engine

from alert_values import NOW, silence
from receiver.store import SqlStore
from watched import Watched, at_once

HOUR = timedelta(hours=1)


def test_silence_is_stored_as_it_is(store: SqlStore) -> None:
    nights = silence(
        "nights",
        query="stage:staging",
        ends_at=None,
        cron="0 22 * * *",
        duration=timedelta(hours=8),
        time_zone="Europe/Berlin",
        created_at=NOW + HOUR,
    )
    one = silence("one", server_id="a\U0001f600")
    store.alerts.add_silence(nights, NOW)
    store.alerts.add_silence(one, NOW)

    assert [one, nights] == store.alerts.silences(NOW)
    assert nights == store.alerts.silence("nights")
    assert None is store.alerts.silence("none")
    assert None is store.alerts.silence("a\x00b")


def test_silence_that_has_ended_is_listed_only_if_asked_for(store: SqlStore) -> None:
    later = silence("later", begins_at=NOW + HOUR, ends_at=NOW + 2 * HOUR)
    for each in (silence(), later):
        store.alerts.add_silence(each, NOW)

    assert [later] == store.alerts.silences(NOW + HOUR)
    assert {"later", "upgrade"} == {
        each.id for each in store.alerts.silences(NOW + HOUR, ended=True)
    }


def test_silence_is_an_event_of_its_server_or_of_a_filter(fleet: Watched) -> None:
    store = fleet.store
    store.alerts._on_events = fleet._hear  # noqa: SLF001 - the store is older than the test
    store.alerts.add_silence(silence("one", server_id="a"), NOW)
    store.alerts.add_silence(silence("all", query="stage:dev", ends_at=None), NOW + HOUR)

    of_one, of_all = (each.event for each in store.events.after(0, limit=9))
    details = {"until": "2026-01-31T13:00:00Z", "reason": "an upgrade", "by": "acme"}
    assert ("silenced", NOW, "a", details) == (
        of_one.kind.value,
        of_one.at,
        of_one.server_id,
        of_one.details,
    )
    assert (None, {**details, "until": None, "query": "stage:dev"}) == (
        of_all.server_id,
        of_all.details,
    )
    assert {"silenced": 2} == fleet.counts


def test_silence_is_ended_once(store: SqlStore, other: SqlStore) -> None:
    store.alerts.add_silence(silence(server_id="a"), NOW)
    end, ended = NOW + HOUR / 2, []

    at_once(
        lambda: ended.append(store.alerts.end_silence("upgrade", end, "one")),
        lambda: ended.append(other.alerts.end_silence("upgrade", end, "two")),
    )

    assert [False, True] == sorted(ended)
    assert [] == store.alerts.silences(end)
    assert evolve(silence(server_id="a"), ends_at=end) == store.alerts.silence("upgrade")
    last = store.events.after(1, limit=9)
    assert ["2026-01-31T12:30:00Z"] == [each.event.details["until"] for each in last]
    for unknown in ("unknown", "a\x00b"):
        assert not store.alerts.end_silence(unknown, end, "one")


def test_silence_that_is_over_cannot_be_ended(store: SqlStore) -> None:
    store.alerts.add_silence(silence(), NOW)

    assert not store.alerts.end_silence("upgrade", NOW + HOUR, "acme")
    assert silence() == store.alerts.silence("upgrade")


def test_number_of_silences_that_last_is_limited(store: SqlStore, engine: Engine) -> None:
    store.alerts.add_silence(silence(), NOW)
    copied = (
        "INSERT INTO silences SELECT '{id}', query, server_id, begins_at, {ends}, cron,"
        " duration_seconds, time_zone, reason, author, created_at FROM silences LIMIT 1"
    )
    with engine.begin() as connection:
        for n in range(998):
            connection.exec_driver_sql(copied.format(id=n, ends="NULL"))

    assert not store.alerts.is_full("silences", NOW)
    store.alerts.add_silence(silence("last"), NOW)
    assert store.alerts.is_full("silences", NOW)
    assert not store.alerts.is_full("silences", NOW + HOUR)


def test_old_silences_are_deleted(store: SqlStore) -> None:
    endless = silence("endless", ends_at=None)
    for each in (silence(), endless, silence("later", ends_at=NOW + 2 * HOUR)):
        store.alerts.add_silence(each, NOW)

    assert not store.alerts.trim(NOW + HOUR)
    assert 3 == len(store.alerts.silences(NOW, ended=True))
    assert not store.alerts.trim(NOW + 2 * HOUR)
    assert {"endless", "later"} == {each.id for each in store.alerts.silences(NOW, ended=True)}

"""The history of the fleet: a row for each hour, with what was counted in each of its minutes."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from attrs import evolve
from sqlalchemy import Engine, func, insert, select

from contract import FAREWELL, Heartbeat
from keyring import made, revoked
from receiver.domain.history import MOST_HOURS, Hour, Taken, begin_of_hour
from receiver.domain.outcomes import Incoming
from receiver.store import SqlStore
from receiver.store.history import census
from receiver.store.history.tables import hours
from watched import Watched, at_once

A_MINUTE = timedelta(minutes=1)
AN_HOUR = timedelta(hours=1)


class Kept(Watched):
    """
    A store whose hours are read.

    Attributes:
        taken: What this receiver has taken in since it started.
    """

    taken = Taken()

    def look_at(self, moment: datetime | None = None, *, by: SqlStore | None = None) -> None:
        """Sweep once, by this receiver or by another one."""
        options = evolve(self.sweep_options(), now=moment or self.now, taken=self.taken)
        (by or self.store).watch.sweep(options)

    def hours(self) -> list[Hour]:
        return [*self.store.hours.since(self.heard_since - 1000 * AN_HOUR)]


@pytest.fixture
def kept(store: SqlStore) -> Kept:
    return Kept(store)


def test_each_minute_counts_the_servers_that_lists_show(kept: Kept) -> None:
    kept.beat("a", "b", odoo_stage="production", odoo_version="19.0", version="1.0")
    kept.beat("c", odoo_stage="staging", heartbeat_interval_seconds=30.0)
    kept.register("new")
    kept.beat("gone", status=FAREWELL)
    kept.look_at()
    kept.look_at(kept.now + A_MINUTE / 2)
    kept.go_on(270, "a", "b", "new")

    (hour,) = kept.hours()
    assert (kept.heard_since, 5, kept.heard_since + 4 * A_MINUTE) == (
        hour.begins_at,
        hour.minutes,
        hour.counted_at,
    )
    # Server c, which sends twice a minute, is late in two of the minutes and then down.
    assert {"up": 16, "new": 1, "late": 2, "down": 1} == hour.sums
    assert {"up": 3, "down": 1} == hour.worst
    assert [("production", 2), ("staging", 1), ("", 1)] == hour.stages
    assert [("19.0", 2), ("", 2)] == hour.odoo_versions
    assert [("1.0", 2), ("", 2)] == hour.versions
    assert 6.0 == hour.missed


def test_pause_of_the_receiver_leaves_hours_of_the_history_unknown(kept: Kept) -> None:
    for after in (0.0, 30.0, 170.0, 172.0):
        kept.look_at(kept.heard_since + after * A_MINUTE)

    assert [(0, 2), (2, 2)] == [
        ((hour.begins_at - kept.heard_since) // AN_HOUR, hour.minutes) for hour in kept.hours()
    ]


def test_several_receivers_count_a_minute_once_and_each_its_own_messages(
    kept: Kept, other: SqlStore
) -> None:
    kept.beat("a")
    for n in range(4):
        kept.taken = Taken(10 * n, n)
        moment = kept.now + n * A_MINUTE
        at_once(lambda: kept.look_at(moment), lambda: kept.look_at(moment, by=other))  # noqa: B023 - both are over

    (hour,) = kept.hours()
    assert ({"up": 4}, 4) == (hour.sums, hour.minutes)
    assert (2 * 30, 2 * 3) == (hour.heartbeats, hour.turned_away)


def test_messages_taken_before_an_hour_began_count_for_the_hour_before(kept: Kept) -> None:
    kept.look_at(kept.now + 59 * A_MINUTE)
    kept.taken = Taken(7)
    kept.look_at(kept.now + 60 * A_MINUTE)
    kept.taken = Taken(9)
    kept.store.watch.note_taken(kept.now + 60 * A_MINUTE, kept.taken)
    kept.store.watch.note_taken(kept.now + 60 * A_MINUTE, kept.taken)

    assert [7, 2] == [hour.heartbeats for hour in kept.hours()]


def test_receiver_that_never_counted_adds_nothing_to_the_history(kept: Kept) -> None:
    kept.store.watch.note_taken(kept.now, Taken(5))

    assert [] == kept.hours()


def test_hours_of_a_quarter_are_kept(kept: Kept, engine: Engine) -> None:
    kept.look_at()
    with engine.begin() as connection:
        row = dict(connection.execute(select(hours)).mappings().one())
        connection.execute(
            insert(hours),
            [{**row, "begins_at": kept.now + n * AN_HOUR} for n in range(1, MOST_HOURS + 5)],
        )
    last = kept.now + (MOST_HOURS + 5) * AN_HOUR
    kept.look_at(last)

    with engine.connect() as connection:
        found = connection.execute(
            select(func.min(hours.c.begins_at), func.max(hours.c.begins_at), func.count())
        ).one()
    assert (last - (MOST_HOURS - 1) * AN_HOUR, last, MOST_HOURS) == tuple(found)


def test_clock_that_was_set_back_leaves_no_hour_in_the_future(kept: Kept) -> None:
    for after in (10 * A_MINUTE, 59 * A_MINUTE, 3 * AN_HOUR):
        kept.look_at(kept.now + after)

    back = kept.now + 30 * A_MINUTE
    kept.store.watch.leave_no_future(back)
    kept.look_at(back + A_MINUTE)

    (hour,) = kept.hours()
    assert (begin_of_hour(back), back + A_MINUTE, 3) == (
        hour.begins_at,
        hour.counted_at,
        hour.minutes,
    )


def test_servers_of_lapsed_keys_are_not_counted(kept: Kept) -> None:
    gone = revoked(made("agent")[0])
    kept.store.keys.add(gone)
    kept.store.servers.apply(
        [
            Incoming(Heartbeat(server_id=each, version=each), kept.now, key)
            for each, key in {"a": None, "b": gone}.items()
        ]
    )
    kept.look_at()

    (hour,) = kept.hours()
    assert ({"up": 1}, [("a", 1)]) == (hour.sums, hour.versions)


def test_versions_of_a_large_fleet_are_counted_every_ten_minutes(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(census, "_FEW", 0)
    found: list[Any] = []
    for n in range(1, 22):
        kept.beat(f"s{n}", version="1.0")
        kept.look_at(kept.now + n * A_MINUTE)
        found += [kept.hours()[0].versions[0][1]]

    assert [1] * 9 + [10] * 10 + [20] * 2 == found


def test_missed_heartbeats_of_many_silent_servers_are_estimated_from_a_sample(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(census, "_MOST_ASKED", 2)
    kept.beat("a", "b", "c", heartbeat_interval_seconds=120.0)
    kept.clock.advance(1000)
    kept.sweep()
    kept.look_at(kept.now + A_MINUTE)

    (hour,) = kept.hours()
    assert ({"late": 3}, 1.5) == (hour.worst, hour.missed)

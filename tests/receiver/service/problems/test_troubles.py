"""What is wrong is read once for all who ask at the same time."""

import sqlite3
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from datetime import datetime
from itertools import count
from pathlib import Path
from threading import Event
from time import sleep

import pytest
from sqlalchemy import make_url

from receiver.domain.errors import StoreUnavailable
from receiver.service.problems.troubles import Found, Troubles
from receiver.store import SqlStore
from servers import PATIENCE_SECONDS
from watched import Watched, at_once


def nobody(_: datetime) -> frozenset[str]:
    return frozenset()


def troubles_of(
    fleet: Watched,
    elapsed: Callable[[], float] = lambda: 0.0,
    clock: Callable[[], datetime] | None = None,
) -> Troubles:
    return Troubles(
        fleet.store,
        clock=clock or fleet.clock,
        lapsed_keys=nobody,
        expired_keys=nobody,
        elapsed=elapsed,
    )


class Stopped:
    """A clock of which the first to ask waits, and with that reads nothing, until it goes on."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self.asked, self.goes_on = Event(), Event()

    def __call__(self) -> datetime:
        self.asked.set()
        assert self.goes_on.wait(PATIENCE_SECONDS)
        return self._clock()


def found_at_once(troubles: Troubles, clock: Stopped, *, number: int) -> list[Future[Found]]:
    """What so many find, all but the first of them while that one reads."""
    with ThreadPoolExecutor(number) as pool:
        first = pool.submit(troubles.find)
        assert clock.asked.wait(PATIENCE_SECONDS)
        others = [pool.submit(troubles.find) for _ in range(number - 1)]
        sleep(0.1)
        clock.goes_on.set()
    return [first, *others]


@pytest.fixture
def fleet(sqlite_url: str) -> Watched:
    return Watched(SqlStore(make_url(sqlite_url)))


def test_problems_read_from_many_servers_are_reused_for_a_moment(fleet: Watched) -> None:
    fleet.beat(*(f"s{n}" for n in range(100)))
    fleet.go_on(400)
    passed = 0.0
    troubles = troubles_of(fleet, lambda: passed)

    found = [len(troubles.find().servers)]
    fleet.beat("s0")
    passed = 0.04  # half a thousandth for each server is 0.05
    found.append(len(troubles.find().servers))
    passed = 0.06
    found.append(len(troubles.find().servers))

    assert [100, 100, 99] == found
    fleet.store.close()


def test_value_computed_from_problems_is_computed_once_per_key(fleet: Watched) -> None:
    found = troubles_of(fleet).find()
    made = iter("abc")

    assert ["a", "a", "b"] == [found.once(key, lambda: next(made)) for key in (1, 1, 2)]
    fleet.store.close()


def test_those_who_wait_for_a_read_share_the_next_one(fleet: Watched) -> None:
    clock = Stopped(fleet.clock)
    troubles = troubles_of(fleet, count().__next__, clock=clock)
    first, *others = found_at_once(troubles, clock, number=3)
    one, other = (each.result() for each in others)

    assert one is other
    assert first.result() is not one
    assert troubles.find() is not one
    fleet.store.close()


def test_problems_are_read_again_after_the_database_failed(fleet: Watched, tmp_path: Path) -> None:
    troubles = troubles_of(fleet)
    rename(tmp_path, "servers", "hidden")

    with pytest.raises(StoreUnavailable):
        troubles.find()
    rename(tmp_path, "hidden", "servers")

    assert [] == troubles.find().servers
    fleet.store.close()


def test_problems_and_list_of_a_page_are_of_one_moment(fleet: Watched) -> None:
    fleet.beat("s0")
    fleet.go_on(400)
    troubles = troubles_of(fleet, count().__next__)

    with fleet.store.at_one_moment():
        assert ["s0"] == fleet.ids()
        at_once(lambda: fleet.beat("s0"))
        assert ["s0"] == [each.record.server_id for each in troubles.find().servers]
    assert [] == troubles.find().servers
    fleet.store.close()


def test_pages_that_have_connections_and_others_that_need_one_do_not_wait_for_each_other(
    fleet: Watched,
) -> None:
    """There are fewer connections than threads, as when many people open pages in an outage."""
    troubles = troubles_of(fleet)

    def open_page() -> None:
        with fleet.store.at_one_moment():
            fleet.ids()
            troubles.find()

    with ThreadPoolExecutor(40) as pool:
        jobs = [pool.submit(open_page if n % 4 else troubles.find) for n in range(400)]
        for job in jobs:
            job.result(timeout=PATIENCE_SECONDS)
    fleet.store.close()


def test_those_who_wait_for_a_read_that_fails_share_its_failure(fleet: Watched) -> None:
    reads = count(1)

    def fail_twice() -> datetime:
        if next(reads) <= 2:
            raise StoreUnavailable("gone for lunch")
        return fleet.clock()

    clock = Stopped(fail_twice)
    troubles = troubles_of(fleet, count().__next__, clock=clock)
    for each in found_at_once(troubles, clock, number=4):
        with pytest.raises(StoreUnavailable):
            each.result()

    assert 3 == next(reads), "the three that waited read once for all"
    assert [] == troubles.find().servers
    fleet.store.close()


def rename(folder: Path, table: str, name: str) -> None:
    with closing(sqlite3.connect(folder / "fleet.db")) as database:
        database.execute(f"ALTER TABLE {table} RENAME TO {name}")

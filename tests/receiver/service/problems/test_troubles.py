"""What is wrong is read once for all who ask at the same time."""

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy import make_url

from receiver.domain.errors import StoreUnavailable
from receiver.service.problems.troubles import Troubles
from receiver.service.store_calls import StoreCalls
from receiver.store import SqlStore
from watched import Watched


def nobody(_: datetime) -> frozenset[str]:
    return frozenset()


def troubles_of(fleet: Watched, elapsed: Callable[[], float] = lambda: 0.0) -> Troubles:
    return Troubles(
        fleet.store,
        StoreCalls(),
        clock=fleet.clock,
        lapsed_keys=nobody,
        expired_keys=nobody,
        elapsed=elapsed,
    )


@pytest.fixture
def fleet(sqlite_url: str) -> Watched:
    return Watched(SqlStore(make_url(sqlite_url)))


def test_problems_read_from_many_servers_are_reused_for_a_moment(fleet: Watched) -> None:
    fleet.beat(*(f"s{n}" for n in range(100)))
    fleet.go_on(400)
    passed = 0.0
    troubles = troubles_of(fleet, lambda: passed)

    async def find() -> int:
        return len((await troubles.find()).servers)

    async def look() -> list[int]:
        nonlocal passed
        found = [await find()]
        fleet.beat("s0")
        passed = 0.04  # half a thousandth for each server is 0.05
        found.append(await find())
        passed = 0.06
        return [*found, await find()]

    assert [100, 100, 99] == asyncio.run(look())
    fleet.store.close()


def test_value_computed_from_problems_is_computed_once_per_key(fleet: Watched) -> None:
    found = asyncio.run(troubles_of(fleet).find())
    made = iter("abc")

    assert ["a", "a", "b"] == [found.once(key, lambda: next(made)) for key in (1, 1, 2)]
    fleet.store.close()


def test_concurrent_requests_for_problems_share_one_read(fleet: Watched) -> None:
    troubles = troubles_of(fleet)

    async def look() -> bool:
        one, other = await asyncio.gather(troubles.find(), troubles.find())
        return one is other and await troubles.find() is not one

    assert asyncio.run(look())
    fleet.store.close()


def test_problems_are_read_again_after_the_database_failed(fleet: Watched, tmp_path: Path) -> None:
    troubles = troubles_of(fleet)
    rename(tmp_path, "servers", "hidden")

    async def look() -> int:
        with pytest.raises(StoreUnavailable):
            await troubles.find()
        rename(tmp_path, "hidden", "servers")
        return len((await troubles.find()).servers)

    assert 0 == asyncio.run(look())
    fleet.store.close()


def rename(folder: Path, table: str, name: str) -> None:
    with closing(sqlite3.connect(folder / "fleet.db")) as database:
        database.execute(f"ALTER TABLE {table} RENAME TO {name}")

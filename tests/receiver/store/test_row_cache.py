"""How many rows the cache holds is bounded by their size."""

from datetime import datetime, timezone
from time import thread_time

import pytest
from attrs import evolve

from contract import IpAddresses, ServerRecord
from receiver.domain.rows import Row
from receiver.store.rows import Committed, RowCache
from server_records import server_record

MOMENT = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
SMALL = server_record("s", at=MOMENT)
LONG = [f"{n:04d}" * 50 for n in range(1000)]
ADDRESSES = tuple(f"2001:db8::{n:x}" for n in range(4000))
"""Texts that take 200 to 250 kB of memory together."""


@pytest.mark.parametrize(
    "large",
    [
        evolve(SMALL, capabilities=tuple(LONG)),
        evolve(SMALL, ip_addresses=IpAddresses(primary="10.0.0.1", all=ADDRESSES)),
        evolve(SMALL, hostname="".join(LONG)),
    ],
)
def test_row_cache_holds_fewer_rows_when_they_are_long(large: ServerRecord) -> None:
    cache = RowCache(1_000_000)

    keep(cache, *(evolve(large, server_id=f"s{n}") for n in range(20)))

    assert 2 <= len(held(cache, 20)) <= 5


def test_row_cache_holds_many_short_rows() -> None:
    cache = RowCache(1_000_000)

    keep(cache, *(evolve(SMALL, server_id=f"s{n}") for n in range(200)))

    assert 200 == len(held(cache, 200))


def test_rows_that_become_long_are_counted_as_long() -> None:
    cache = RowCache(1_000_000)
    keep(cache, *(evolve(SMALL, server_id=f"s{n}") for n in range(20)))

    for n in range(20):
        row = Row(evolve(SMALL, server_id=f"s{n}", capabilities=tuple(LONG)), 2, None)
        cache.keep(Committed({row.server_id: row}, [], described={row.server_id}))

    assert 2 <= len([row for row in held(cache, 20) if row.record.capabilities]) <= 4


def test_deleted_and_forgotten_rows_leave_room_for_others() -> None:
    cache = RowCache(1_000_000)
    large = evolve(SMALL, capabilities=tuple(LONG))

    for n in range(20):
        keep(cache, evolve(large, server_id=f"s{n}"))
        cache.keep(Committed({}, [], deleted=[f"s{n}"]))
    keep(cache, evolve(large, server_id="a"))
    cache.clear()
    keep(cache, evolve(SMALL, server_id="b"), evolve(large, server_id="c"))

    assert {"b", "c"} == {each for each in "abc" if cache.get(each)}


@pytest.mark.serial
def test_time_to_cache_a_row_does_not_grow_with_the_number_of_rows() -> None:
    def seconds(count: int) -> float:
        cache = RowCache(1_000_000_000)
        keep(cache, *(evolve(SMALL, server_id=f"s{n}") for n in range(count)))
        begun = thread_time()
        for _ in range(100):
            keep(cache, SMALL)
        return thread_time() - begun

    few, many = (min(seconds(count) for _ in range(3)) for count in (100, 50_000))

    assert many < 10 * few  # 200 times when each row is looked at


def keep(cache: RowCache, *records: ServerRecord) -> None:
    for record in records:
        cache.keep(Committed({record.server_id: Row(record, 1, None)}, []))


def held(cache: RowCache, count: int) -> list[Row]:
    found = (cache.get(f"s{n}") for n in range(count))
    return [row for row in found if row is not None]

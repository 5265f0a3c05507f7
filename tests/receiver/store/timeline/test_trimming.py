"""Trimming old events."""

from datetime import timedelta
from threading import Thread

from receiver.store import SqlStore
from servers import PATIENCE_SECONDS
from watched import Watched


def test_trim_deletes_old_events_only(fleet: Watched) -> None:
    for n in range(10):
        fleet.beat(f"s{n}")
        fleet.clock.advance(10)

    is_more = fleet.store.events.trim(fleet.now - timedelta(seconds=50))
    again = fleet.store.events.trim(fleet.now - timedelta(seconds=50))

    assert (False, False) == (is_more, again)
    assert [f"s{n}" for n in range(5, 10)] == [who for _, who in fleet.told(but=())]
    assert 10 == len(fleet.ids())


def test_trim_deletes_at_most_a_thousand_events_per_call(fleet: Watched) -> None:
    for n in range(3):
        fleet.beat(*(f"s{n}-{m}" for m in range(500)))
        fleet.clock.advance(1)
    left = []
    for _ in range(3):
        is_more = fleet.store.events.trim(fleet.now)
        left.append((is_more, len(fleet.told(but=()))))

    assert [(True, 500), (False, 0), (False, 0)] == left


def test_concurrent_trims_of_two_stores_keep_recent_events(
    store: SqlStore, other: SqlStore
) -> None:
    fleet = Watched(store)
    fleet.beat(*(f"s{n}" for n in range(3000)))
    fleet.clock.advance(10)
    fleet.beat("young")
    until = fleet.now - timedelta(seconds=5)

    def trim(store: SqlStore) -> None:
        for _ in range(6):
            store.events.trim(until)

    threads = [Thread(target=trim, args=(each,)) for each in (store, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)

    assert [("registered", "young")] == fleet.told(but=())

"""The watch looks for alarms and for reports that are due, and deletes what is old."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta, timezone

import pytest
from sqlalchemy import Engine, text

from receiver.domain.alerts.values import Channel, Delivery, DeliveryKind, OutboxCounts
from receiver.domain.errors import StoreUnavailable
from receiver.service.alerts.watch import AlertWatch, WatchTiming, report_due_at
from receiver.service.store_calls import StoreCalls
from receiver.store import SqlStore
from servers import PATIENCE_SECONDS, Clock, wait_until
from telling import NOON, channel, delivery, keep_channel

EAGER = WatchTiming(look_seconds=0.01, report_seconds=0, trim_seconds=0)
MONDAY = datetime(2026, 2, 2, 8, tzinfo=timezone.utc)


async def report(to: Channel, now: datetime) -> Delivery:
    number = int(to.id.removeprefix("channel-"))
    return delivery(number, to, kind=DeliveryKind.REPORT, created_at=now, next_at=now)


def watch(
    store: SqlStore,
    clock: Callable[[], datetime],
    make_report: Callable[[Channel, datetime], Awaitable[Delivery]] = report,
) -> AlertWatch:
    return AlertWatch(
        store, StoreCalls(), clock=clock, public_url=None, make_report=make_report, timing=EAGER
    )


def run(found: AlertWatch, until: Callable[[], bool]) -> None:
    async def scenario() -> None:
        running = asyncio.create_task(found.run())
        await asyncio.to_thread(wait_until, until)
        running.cancel()
        await asyncio.wait([running])

    asyncio.run(scenario())


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("report_at", "time_zone", "after", "due_at"),
    [
        (None, "UTC", NOON, None),
        ("0 8 * * 1", "UTC", NOON, MONDAY),
        ("0 8 * * 1", "UTC", MONDAY, MONDAY + timedelta(days=7)),
        ("0 8 * * 1", "Europe/Berlin", NOON, MONDAY - timedelta(hours=1)),
        # Summer has begun on the Sunday before.
        (
            "0 8 * * 1",
            "Europe/Berlin",
            datetime(2026, 3, 28, tzinfo=timezone.utc),
            datetime(2026, 3, 30, 6, tzinfo=timezone.utc),
        ),
    ],
)
def test_report_is_due_at_the_local_time(
    report_at: str | None, time_zone: str, after: datetime, due_at: datetime | None
) -> None:
    made = channel(report_at=report_at, time_zone=time_zone, created_at=after)
    reported = channel(report_at=report_at, time_zone=time_zone, reported_at=after)

    assert [due_at, due_at] == [report_due_at(made), report_due_at(reported)]


def test_report_is_made_once_by_any_number_of_receivers(store: SqlStore, clock: Clock) -> None:
    keep_channel(store, report_at="0 8 * * 1")
    keep_channel(store, 2)
    made: list[datetime] = []
    both = asyncio.Barrier(2)

    async def slow(to: Channel, now: datetime) -> Delivery:
        """Make a report, and end when the other receiver makes one, too."""
        made.append(now)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await both.wait()
        return await report(to, now)

    async def look() -> None:
        await asyncio.gather(watch(store, clock, slow).look(), watch(store, clock, slow).look())

    asyncio.run(look())
    clock.now = MONDAY
    asyncio.run(look())
    asyncio.run(look())

    (found,) = store.alerts.deliveries(limit=9)
    assert [MONDAY] * 2 == made
    assert DeliveryKind.REPORT is found.kind
    assert [MONDAY, None] == [each.reported_at for each in store.alerts.channels()]


def test_alert_watch_counts_the_waiting_messages(store: SqlStore, clock: Clock) -> None:
    to = keep_channel(store)
    store.alerts.enqueue(delivery(1, to))
    found = watch(store, clock)
    before = found.seen.counts

    asyncio.run(found.look())

    assert OutboxCounts(0, 0, None) == before
    assert OutboxCounts(1, 0, NOON) == found.seen.counts
    assert 0 == found.seen.open_alarms


def test_messages_are_deleted_after_the_time_in_which_receivers_run(
    store: SqlStore, clock: Clock
) -> None:
    to = keep_channel(store)
    store.watch.note_presence(NOON, absent=timedelta.max)
    store.alerts.enqueue(delivery(1, to, next_at=None, sent_at=NOON))
    clock.advance(100 * 86_400)
    found = watch(store, clock)

    asyncio.run(found.look())
    kept = len(store.alerts.deliveries(limit=9))
    store.watch.note_presence(clock.now, absent=timedelta.max)
    clock.advance(91 * 86_400)
    store.watch.note_presence(clock.now, absent=timedelta.max)
    asyncio.run(found.look())

    assert (1, 0) == (kept, len(store.alerts.deliveries(limit=9)))


@pytest.mark.one_database
def test_unreachable_database_is_logged_once_by_the_alert_watch(
    store: SqlStore, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    warned = "Alarms go unnoticed for now"
    looks: list[datetime] = []

    def clock() -> datetime:
        looks.append(NOON)
        return NOON

    found = watch(store, clock)
    to = keep_channel(store)
    store.alerts.enqueue(delivery(1, to))

    def is_back() -> bool:
        return found.seen.counts.waiting == 1

    def warned_and_mended() -> bool:
        if len(looks) < 5:
            return False
        rename("away", "deliveries")
        return True

    def rename(name: str, new: str) -> None:
        with engine.begin() as connection:
            connection.execute(text(f"ALTER TABLE {name} RENAME TO {new}"))

    rename("deliveries", "away")
    run(found, warned_and_mended)
    run(found, is_back)

    assert 1 == caplog.text.count(warned)


@pytest.mark.one_database
def test_report_that_fails_is_logged_and_keeps_no_other_channel_waiting(
    store: SqlStore, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    clock.now = MONDAY
    keep_channel(store, 1, report_at="0 8 * * 1")
    keep_channel(store, 2, report_at="0 8 * * 1")
    failures = iter([LookupError("it lost its way")])

    async def failing(to: Channel, now: datetime) -> Delivery:
        for failure in failures:
            raise failure
        return await report(to, now)

    found = watch(store, clock, failing)
    asyncio.run(found.look())
    first = [each.reported_at for each in store.alerts.channels()]

    assert [None, MONDAY] == first
    assert 1 == caplog.text.count("The report for the channel 'Channel 1' failed")
    assert "it lost its way" in caplog.text


@pytest.mark.one_database
def test_alert_watch_ends_its_look_when_the_database_fails_during_a_report(
    store: SqlStore, clock: Clock
) -> None:
    clock.now = MONDAY
    keep_channel(store, report_at="0 8 * * 1")

    async def failing(_: Channel, __: datetime) -> Delivery:
        raise StoreUnavailable("the database does not answer")

    with pytest.raises(StoreUnavailable):
        asyncio.run(watch(store, clock, failing).look())


@pytest.mark.one_database
def test_failed_look_of_the_alert_watch_is_logged_and_the_next_one_follows(
    store: SqlStore, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    store.alerts.enqueue(delivery(1, keep_channel(store)))
    failures = iter([LookupError("it lost its way")])

    def failing() -> datetime:
        for failure in failures:
            raise failure
        return clock()

    found = watch(store, failing)
    run(found, lambda: found.seen.counts.waiting == 1)

    assert 1 == caplog.text.count("A look for alarms failed")
    assert "it lost its way" in caplog.text

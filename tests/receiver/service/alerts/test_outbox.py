"""Messages wait in the database until they are sent, or given up after a day."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Engine, text

from contract import EventKind
from receiver.domain.alerts.values import Channel, Delivery
from receiver.domain.queries import EventFilter
from receiver.service.alerts.outbox import WAITS, Outbox, Pace
from receiver.service.store_calls import StoreCalls
from receiver.store import SqlStore
from servers import PATIENCE_SECONDS, Clock
from telling import NOON, delivery, keep_channel

QUICK = Pace(look_seconds=0.01)

Deliver = Callable[[Channel, Delivery], Coroutine[Any, Any, str | None]]


class Sent:
    """
    Notes the messages that are sent.

    Attributes:
        ids: Their ids.
        error: Why sending fails; None if it does not.
        hanging: The ids of the channels through which sending takes for ever.
    """

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.error: str | None = None
        self.hanging: set[str] = set()

    async def __call__(self, channel: Channel, delivery: Delivery) -> str | None:
        self.ids.append(delivery.id)
        if channel.id in self.hanging:
            await asyncio.Event().wait()
        return self.error


class Looks:
    """
    A clock that stands still, and counts how often somebody looks at it.

    Attributes:
        count: How often.
    """

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> datetime:
        self.count += 1
        return NOON


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not holds():  # noqa: ASYNC110 - it is the database that changes
            await asyncio.sleep(0.01)


def run(
    store: SqlStore,
    clock: Callable[[], datetime],
    deliver: Deliver,
    holds: Callable[[], bool],
    pace: Pace = QUICK,
) -> None:
    """Run an outbox until something holds."""

    async def scenario() -> None:
        outbox = Outbox(store, StoreCalls(), deliver, clock=clock, pace=pace)
        running = asyncio.create_task(outbox.run())
        try:
            await until(holds)
        finally:
            running.cancel()
            await asyncio.wait([running])

    asyncio.run(scenario())


def waiting(store: SqlStore) -> int:
    return store.alerts.counts(NOON).waiting


def one(store: SqlStore) -> Delivery:
    (found,) = store.alerts.deliveries(limit=2)
    return found


def is_put_off(store: SqlStore, until: datetime) -> bool:
    return one(store).next_at == until


def test_messages_of_a_channel_are_sent_in_their_order(store: SqlStore, clock: Clock) -> None:
    sent = Sent()
    to = keep_channel(store)
    for number in range(5):
        created_at = NOON - timedelta(minutes=number)
        store.alerts.enqueue(delivery(number, to, created_at=created_at))

    run(store, clock, sent, lambda: waiting(store) == 0)

    assert [delivery(number, to).id for number in (4, 3, 2, 1, 0)] == sent.ids
    assert {NOON} == {each.sent_at for each in store.alerts.deliveries(limit=9)}


def test_channel_that_hangs_holds_up_no_other(store: SqlStore, clock: Clock) -> None:
    sent = Sent()
    hanging, other = keep_channel(store, 1), keep_channel(store, 2)
    sent.hanging = {hanging.id}
    for number in range(1, 7):
        store.alerts.enqueue(delivery(number, hanging if number % 2 else other))

    run(store, clock, sent, lambda: waiting(store) == 3)

    assert [delivery(1, hanging).id] == [each for each in sent.ids if each[-1] in "135"]
    assert 3 == len([each for each in sent.ids if each[-1] in "246"])


def test_outbox_sends_no_more_messages_at_once_than_its_limit(store: SqlStore) -> None:
    sent = Sent()
    channels = [keep_channel(store, number) for number in range(3)]
    sent.hanging = {each.id for each in channels[:2]}
    for number, each in enumerate(channels):
        created_at = NOON - timedelta(minutes=3 - number)
        store.alerts.enqueue(delivery(number, each, created_at=created_at, next_at=created_at))

    looks = Looks()
    run(store, looks, sent, lambda: looks.count > 10, Pace(look_seconds=0.01, most=2))

    assert 3 == waiting(store)
    assert {delivery(number, channels[number]).id for number in (0, 1)} == {*sent.ids}


def test_failed_message_is_tried_for_a_day_and_given_up_loudly(
    store: SqlStore, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    sent = Sent()
    sent.error = "the answer was 500"
    to = keep_channel(store)
    store.alerts.enqueue(delivery(1, to))

    for number, wait in enumerate(WAITS, start=1):
        due_at = clock.now + wait
        run(store, clock, sent, partial(is_put_off, store, due_at))
        assert number == one(store).attempts
        clock.now = due_at
    run(store, clock, sent, lambda: waiting(store) == 0)

    found = one(store)
    page = store.events.page(EventFilter(), before=None, limit=9, max_bytes=100_000)
    assert timedelta(hours=23) < clock.now - NOON <= timedelta(days=1)
    assert len(WAITS) + 1 == len(sent.ids)
    assert {found.id} == {*sent.ids}
    assert (clock.now, None, sent.error) == (found.given_up_at, found.sent_at, found.error)
    assert [EventKind.UNDELIVERED] == [each.event.kind for each in page.events]
    assert 1 == store.alerts.counts(clock.now).given_up
    last = caplog.records[-1]
    assert logging.ERROR == last.levelno
    assert (
        "The message 'Down: server 1' was not delivered through the channel 'Channel 1' within a "
        "day, and is given up: the answer was 500"
    ) == last.getMessage()


def test_failed_message_that_is_sent_later_is_sent_with_the_same_id(
    store: SqlStore, clock: Clock
) -> None:
    sent = Sent()
    sent.error = "there was no answer"
    store.alerts.enqueue(delivery(1, keep_channel(store)))
    run(store, clock, sent, lambda: one(store).error is not None)
    sent.error = None
    clock.advance(10)

    run(store, clock, sent, lambda: waiting(store) == 0)

    assert 2 == len(sent.ids) == one(store).attempts
    assert 1 == len({*sent.ids})
    assert clock.now == one(store).sent_at


def test_message_of_a_receiver_that_was_stopped_is_sent_after_its_lease(
    store: SqlStore, clock: Clock
) -> None:
    sent, other = Sent(), Sent()
    to = keep_channel(store)
    sent.hanging = {to.id}
    store.alerts.enqueue(delivery(1, to))
    run(store, clock, sent, lambda: bool(sent.ids))

    clock.advance(59)
    looks: list[datetime] = []

    def looking() -> datetime:
        looks.append(clock.now)
        return clock.now

    run(store, looking, other, lambda: len(looks) > 3)
    early = [*other.ids]
    clock.advance(1)
    run(store, clock, other, lambda: waiting(store) == 0)

    assert [] == early
    assert sent.ids == other.ids


def test_receiver_that_stood_still_leaves_its_message_to_others(store: SqlStore) -> None:
    """Its lease could end while it sends."""
    sent = Sent()
    store.alerts.enqueue(delivery(1, keep_channel(store)))
    asked: list[datetime] = []

    def clock() -> datetime:
        asked.append(NOON if not asked else NOON + timedelta(seconds=21))
        return asked[-1]

    run(store, clock, sent, lambda: len(asked) > 3)

    assert 1 == one(store).attempts
    assert [] == sent.ids


@contextmanager
def away(engine: Engine, table: str) -> Iterator[None]:
    """Let a table be away for a while, so that every transaction with it fails."""
    rename(engine, table, f"{table}_away")
    try:
        yield
    finally:
        rename(engine, f"{table}_away", table)


def rename(engine: Engine, table: str, name: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(f"ALTER TABLE {table} RENAME TO {name}"))


@pytest.mark.one_database
def test_outbox_waits_for_an_unreachable_database(
    store: SqlStore, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    sent, looks = Sent(), Looks()
    store.alerts.enqueue(delivery(1, keep_channel(store)))
    warned = "Messages of alerts wait for the database"

    async def scenario() -> None:
        outbox = Outbox(store, StoreCalls(), sent, clock=looks, pace=QUICK)
        with away(engine, "deliveries"):
            running = asyncio.create_task(outbox.run())
            await until(lambda: looks.count > 5)
        await until(lambda: waiting(store) == 0)
        running.cancel()
        await asyncio.wait([running])

    asyncio.run(scenario())

    assert 1 == caplog.text.count(warned)
    assert 1 == len(sent.ids)


@pytest.mark.one_database
@pytest.mark.parametrize("comes_back", [True, False])
def test_outcome_of_a_message_is_written_when_the_database_is_back(
    store: SqlStore,
    engine: Engine,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
    *,
    comes_back: bool,
) -> None:
    store.alerts.enqueue(delivery(1, keep_channel(store)))
    is_sent = asyncio.Event()
    warned = "cannot be written, so it may be sent again"

    async def scenario() -> None:
        async def deliver(_: Channel, __: Delivery) -> str | None:
            rename(engine, "deliveries", "deliveries_away")
            is_sent.set()
            return None

        outbox = Outbox(store, StoreCalls(), deliver, clock=clock, pace=QUICK)
        running = asyncio.create_task(outbox.run())
        await is_sent.wait()
        if not comes_back:
            await until(lambda: warned in caplog.text)
            running.cancel()
            await asyncio.wait([running])
        rename(engine, "deliveries_away", "deliveries")
        if comes_back:
            await until(lambda: waiting(store) == 0)
            running.cancel()
            await asyncio.wait([running])

    asyncio.run(scenario())

    assert (not comes_back, comes_back) == (warned in caplog.text, waiting(store) == 0)


def test_message_that_cannot_be_sent_ends_no_receiver(
    store: SqlStore, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """The next start would find it again, and end, too."""
    sent = Sent()
    bad, good = keep_channel(store, 1), keep_channel(store, 2)

    async def deliver(channel: Channel, message: Delivery) -> str | None:
        if channel.id == bad.id:
            raise LookupError("it lost its way")
        return await sent(channel, message)

    for number, to in enumerate([bad, good]):
        store.alerts.enqueue(delivery(number, to))
    run(store, clock, deliver, lambda: waiting(store) == 1 and one_of(store, bad).error is not None)

    assert [delivery(1, good).id] == sent.ids
    assert "the receiver has failed; its log says why" == one_of(store, bad).error
    assert "it lost its way" in caplog.text


def one_of(store: SqlStore, to: Channel) -> Delivery:
    (found,) = store.alerts.deliveries(channel_id=to.id, limit=2)
    return found

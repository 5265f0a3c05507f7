"""Sends the messages that wait in the database, and notes there what came of each."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from functools import partial
from uuid import uuid4

from attrs import frozen

from receiver.domain.alerts.values import Channel, Delivery
from receiver.domain.errors import StoreUnavailable
from receiver.service.store_calls import StoreCalls
from receiver.store import SqlStore

__all__ = ["WAITS", "Outbox", "Pace"]

_log = logging.getLogger(__name__)

Deliver = Callable[[Channel, Delivery], Coroutine[object, object, str | None]]
"""A function that sends a message; returns None, or the reason why that failed, for people."""

WAITS = (
    timedelta(seconds=10),
    timedelta(minutes=1),
    timedelta(minutes=5),
    timedelta(minutes=15),
    timedelta(minutes=30),
    timedelta(hours=1),
    timedelta(hours=2),
    timedelta(hours=4),
    timedelta(hours=8),
    timedelta(hours=8),
)
"""
How long after the first failed attempt to send a message the second one is made, and so on.

When one attempt more than there are items has failed, the message is given up.
"""


@frozen(kw_only=True)
class Pace:
    """
    The intervals and limits of the outbox.

    Attributes:
        look_seconds: How many seconds pass between two looks for messages that are due.
        seconds: How many seconds one attempt to send a message may take.
        most: How many messages are sent at the same time at most.
    """

    look_seconds: float = 1.0
    seconds: float = 30.0
    most: int = 6

    @property
    def lease(self) -> timedelta:
        """How long a lease lasts: no other receiver sends the leased message meanwhile."""
        return timedelta(seconds=2 * self.seconds)


class Outbox:
    """
    Sends messages until each is sent, or given up after a day.

    Any number of receivers share the outbox. Each takes a lease of a message before it sends it,
    and of one message of a channel at a time, so that messages arrive in their order. A receiver
    that is killed leaves the message to the others, when its lease ends; what it had sent, without
    having noted it, arrives twice, with the same id.

    Args:
        store: Where the messages wait.
        calls: Calls the store's blocking methods in threads.
        deliver: Sends a message; takes `pace.seconds` at most.
        clock: Returns the current time.
        pace: The intervals and limits.
    """

    def __init__(
        self,
        store: SqlStore,
        calls: StoreCalls,
        deliver: Deliver,
        *,
        clock: Callable[[], datetime],
        pace: Pace = Pace(),
    ) -> None:
        self._alerts = store.alerts
        self._calls = calls
        self._deliver = deliver
        self._clock = clock
        self._pace = pace
        self._holder = uuid4().hex
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._is_away = False

    async def run(self) -> None:
        """Send the messages that are due, until cancelled; log errors."""
        async with asyncio.TaskGroup() as group:
            while True:
                now = self._clock()
                for delivery, channel in await self._lease(now):
                    task = group.create_task(self._send(delivery, channel, now))
                    self._under_way[channel.id] = task
                    task.add_done_callback(partial(self._forget, channel.id))
                await self._wait()

    def _forget(self, channel_id: str, _: "asyncio.Task[None]") -> None:
        del self._under_way[channel_id]

    async def _wait(self) -> None:
        """Wait until an attempt to send a message has ended, for `look_seconds` at most."""
        if self._under_way:
            await asyncio.wait(
                [*self._under_way.values()],
                timeout=self._pace.look_seconds,
                return_when=asyncio.FIRST_COMPLETED,
            )
        else:
            await asyncio.sleep(self._pace.look_seconds)

    async def _lease(self, now: datetime) -> list[tuple[Delivery, Channel]]:
        """Take messages that are due, as many as may be sent at the same time."""
        free = self._pace.most - len(self._under_way)
        if free == 0:
            return []
        try:
            leased = await self._calls.change(
                self._alerts.lease,
                now,
                self._holder,
                now + self._pace.lease,
                free,
                [*self._under_way],
            )
        except StoreUnavailable as error:
            if not self._is_away:
                _log.warning("Messages of alerts wait for the database: %s", error)
            self._is_away = True
            return []
        self._is_away = False
        return leased

    async def _send(self, delivery: Delivery, channel: Channel, leased_at: datetime) -> None:
        if self._clock() > leased_at + self._pace.lease / 3:
            return  # the process stood still meanwhile, and the lease could end while it sends
        try:
            error = await self._deliver(channel, delivery)
        except Exception:  # noqa: BLE001 - one message must not end the receiver, again and again
            _log.exception("The message %s cannot be sent", delivery.id)
            error = "the receiver has failed; its log says why"
        now = self._clock()
        if error is None:
            await self._note(delivery, partial(self._alerts.sent, delivery.id, self._holder, now))
            return
        is_last = delivery.attempts > len(WAITS)
        next_at = None if is_last else now + WAITS[delivery.attempts - 1]
        if is_last:
            _log.error(
                "The message %r was not delivered through the channel %r within a day, and is "
                "given up: %s",
                delivery.title,
                channel.name,
                error,
            )
        else:
            _log.warning(
                "The message %r was not delivered through the channel %r, and waits: %s",
                delivery.title,
                channel.name,
                error,
            )
        await self._note(
            delivery,
            partial(self._alerts.failed, delivery.id, self._holder, now, error, next_at),
        )

    async def _note(self, delivery: Delivery, note: Callable[[], bool]) -> None:
        """Write what came of a message, even if the database is away for some seconds."""
        for _ in range(_TRIES):
            try:
                await self._calls.change(note)
            except StoreUnavailable:
                await asyncio.sleep(self._pace.look_seconds)
            else:
                return
        _log.warning(
            "What came of the message %s cannot be written, so it may be sent again", delivery.id
        )


_TRIES = 10

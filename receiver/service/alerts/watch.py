"""Looks, every few seconds, which alarms have begun or ended, and which reports are due."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from time import monotonic

from attrs import field, frozen
from cronsim import CronSim

from receiver.domain.alerts.values import Channel, Delivery, OutboxCounts
from receiver.domain.alerts.windows import zone
from receiver.domain.errors import StoreUnavailable
from receiver.service.store_calls import StoreCalls
from receiver.store import SqlStore

__all__ = ["AlertWatch", "Seen", "WatchTiming", "report_due_at"]

_log = logging.getLogger(__name__)

MakeReport = Callable[[Channel, datetime], Awaitable[Delivery]]
"""A function that makes the report of the last week for a channel, given the current time."""


@frozen(kw_only=True)
class WatchTiming:
    """
    The intervals of the watch.

    Attributes:
        look_seconds: How many seconds pass between two looks for alarms.
        report_seconds: How many seconds pass between two looks for reports that are due.
        trim_seconds: How many seconds pass between two deletions of old alarms, messages and
            silences.
        retention: How long alarms and silences that have ended are kept, and messages that were
            sent or given up; only time in which receivers run is counted.
    """

    look_seconds: float = 2.0
    report_seconds: float = 30.0
    trim_seconds: float = 60.0
    retention: timedelta = timedelta(days=90)


@frozen(kw_only=True)
class Seen:
    """
    What the last look has found.

    Attributes:
        open_alarms: How many alarms have begun and not ended, without those that are silenced or
            told as a part of another alarm.
        counts: How many messages wait, or were given up within the last day.
    """

    open_alarms: int = 0
    counts: OutboxCounts = field(factory=lambda: OutboxCounts(0, 0, None))


class AlertWatch:
    """
    Turns new events into alarms, and alarms into messages that wait to be sent.

    Every receiver has one; they share the work, and the database keeps them from doing any of it
    twice.

    Args:
        store: Where events, alarms and messages are.
        calls: Calls the store's blocking methods in threads.
        clock: Returns the current time.
        public_url: The URL of the pages, for links in messages; None for messages without links.
        make_report: Makes the report of a channel.
        timing: The intervals.

    Attributes:
        seen: What the last look has found; zeros before the first.
    """

    def __init__(  # noqa: PLR0913 - what it reads, and when
        self,
        store: SqlStore,
        calls: StoreCalls,
        *,
        clock: Callable[[], datetime],
        public_url: str | None,
        make_report: MakeReport,
        timing: WatchTiming = WatchTiming(),
    ) -> None:
        self._store = store
        self._alerts = store.alerts
        self._calls = calls
        self._clock = clock
        self._public_url = public_url
        self._make_report = make_report
        self._timing = timing
        self._reported = self._trimmed = float("-inf")
        self._is_away = False
        self.seen = Seen()

    async def run(self) -> None:
        """Call `look` every `look_seconds`, or at once while more is due; log errors."""
        while True:
            is_more_due = False
            try:
                is_more_due = await self.look()
                self._is_away = False
            except StoreUnavailable as error:
                if not self._is_away:
                    _log.warning("Alarms go unnoticed for now: %s", error)
                self._is_away = True
            except Exception:  # noqa: BLE001 - the next look may succeed
                _log.exception("A look for alarms failed")
            await asyncio.sleep(0 if is_more_due else self._timing.look_seconds)

    async def look(self) -> bool:
        """
        Let alarms begin and end by the events since the last look, and store messages about them.

        At certain intervals it also stores the reports that are due, and deletes what is old.
        Returns whether there are more events to look at, so that it should be called again at once.
        Raises StoreUnavailable.
        """
        now = self._clock()
        is_more_due = await self._calls.change(self._alerts.advance, now, self._public_url)
        self.seen = Seen(
            open_alarms=await self._calls.read(self._alerts.open_count),
            counts=await self._calls.read(self._alerts.counts, now),
        )
        elapsed = monotonic()
        if elapsed - self._reported >= self._timing.report_seconds:
            await self._report_to_all(now)
            self._reported = elapsed
        if elapsed - self._trimmed >= self._timing.trim_seconds:
            is_more = await self._calls.change(self._trim, now)
            self._trimmed = self._trimmed if is_more else elapsed
        return is_more_due

    def _trim(self, now: datetime) -> bool:
        # Only time in which receivers run counts, so a clock that is ahead deletes nothing.
        since = self._store.watch.attended_since(now, self._timing.retention)
        return self._alerts.trim(since)

    async def _report_to_all(self, now: datetime) -> None:
        for channel in await self._calls.read(self._alerts.channels):
            try:
                await self._report_to(channel, now)
            except StoreUnavailable:
                raise
            except Exception:  # noqa: BLE001 - the other channels get theirs
                _log.exception("The report for the channel %r failed", channel.name)

    async def _report_to(self, channel: Channel, now: datetime) -> None:
        due_at = report_due_at(channel)
        if due_at is not None and due_at <= now:
            report = await self._make_report(channel, now)
            # Of several receivers, the first one that comes here adds its report.
            await self._calls.change(self._alerts.add_report, report, now, channel.reported_at)


def report_due_at(channel: Channel) -> datetime | None:
    """
    When the next report of a channel is due, in its time zone; None if it gets no reports.

    That is the first time that its cron expression means after its last report or, if there was
    none, after the channel was made. It may be in the past.
    """
    if channel.report_at is None:
        return None
    last = channel.reported_at or channel.created_at
    return next(CronSim(channel.report_at, last.astimezone(zone(channel.time_zone))), None)

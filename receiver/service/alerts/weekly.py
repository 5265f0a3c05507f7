"""Makes the report of a week: from the counts of the database, and the histories of servers."""

from collections.abc import Sequence
from datetime import datetime

from contract.fields import format_moment
from receiver.domain.alerts.messages.texts import Message, delivery
from receiver.domain.alerts.reports import WEEK, DatabaseWeek, Report, WeekCounts
from receiver.domain.alerts.values import Channel, Delivery, DeliveryKind
from receiver.domain.history import StateLog
from receiver.domain.instants import microseconds
from receiver.service.availability import History
from receiver.service.store_calls import StoreCalls
from receiver.store import SqlStore

__all__ = ["report_delivery", "report_of_week"]


async def report_of_week(
    store: SqlStore, calls: StoreCalls, *, until: datetime, now: datetime
) -> Report:
    """
    Make the report of the week that ends at `until`.

    Reads the histories in parts, so that no read of the database takes long. Raises
    StoreUnavailable.

    Args:
        store: The database.
        calls: Calls the store's blocking methods in threads.
        until: The end of the week.
        now: The current time.
    """
    rows, fleet_alarms = await calls.read(store.alerts.weekly, until - WEEK, until)
    lines: list[DatabaseWeek] = []
    for first in range(0, len(rows), _AT_ONCE):
        part = rows[first : first + _AT_ONCE]
        lines += await calls.read(_lines, store, part, until=until, now=now)
    return Report.of(lines, until=until, fleet_alarms=fleet_alarms)


async def report_delivery(
    store: SqlStore,
    calls: StoreCalls,
    channel: Channel,
    now: datetime,
    *,
    public_url: str | None,
) -> Delivery:
    """
    Make the message with the report of the last week, without storing it.

    Raises StoreUnavailable.

    Args:
        store: The database.
        calls: Calls the store's blocking methods in threads.
        channel: The channel that gets the report, in whose time zone its times are.
        now: The current time, at which the week ends.
        public_url: The URL under which people reach the pages; None for a message without a link.
    """
    report = await report_of_week(store, calls, until=now, now=now)
    page = f"report?until={format_moment(now)}"
    url = None if public_url is None else f"{public_url.rstrip('/')}/{page}"
    title = report.title(channel.time_zone)
    text = report.text(channel.time_zone, link=url)
    body = {
        "type": f"fleet.{DeliveryKind.REPORT.value}",
        "timestamp": format_moment(now),
        "data": {"title": title, "text": text, "url": url, **report.to_json()},
    }
    return delivery(
        DeliveryKind.REPORT,
        Message(title, text, body),
        channel_id=channel.id,
        thread=f"report_{format_moment(now)}",
        now=now,
    )


def _lines(
    store: SqlStore, rows: Sequence[WeekCounts], *, until: datetime, now: datetime
) -> list[DatabaseWeek]:
    """Add how available each database was in the week, and in the week before."""
    listed = [row.server_id for row in rows if row.is_listed]
    logs = store.servers.state_logs(listed, until - 2 * WEEK)
    lines = []
    for row in rows:
        found = logs.get(row.server_id)
        if found and min(log.first_seen for log in found) >= microseconds(until):
            continue  # the server came later
        lines.append(_line(row, found, until=until, now=now))
    return lines


def _line(
    row: WeekCounts, logs: Sequence[StateLog] | None, *, until: datetime, now: datetime
) -> DatabaseWeek:
    """A line of the report; without `logs` it is not known how available the database was."""
    if not logs:
        return DatabaseWeek(counts=row, availability=None, availability_before=None)
    begin, before = until - WEEK, until - 2 * WEEK
    history = History.of(logs, since=before, now=now)
    return DatabaseWeek(
        counts=row,
        availability=history.availability_between(begin, until),
        availability_before=history.availability_between(before, begin),
    )


_AT_ONCE = 100
"""Of how many servers the histories are read at once; they share a limit of changes."""

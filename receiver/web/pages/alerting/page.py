"""The page of alerts: what is alarming, who was told, and the channels, rules and silences."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from receiver.domain.alerts.values import Alarm
from receiver.domain.alerts.windows import active
from receiver.domain.keys import Power
from receiver.store import SqlStore
from receiver.web.context import services, visitor
from receiver.web.pages import wording
from receiver.web.pages.rendering import PageRoute, answer_from_thread
from receiver.web.pages.told import untold_now

__all__ = ["routes"]

SHOWN_ALARMS = 200
"""How many open alarms the page lists; the API has all."""

SHOWN_AT_FIRST = 20
"""How many of them are not folded away, since a large outage raises any number of them."""

SHOWN_ENDED = 20
SHOWN_DELIVERIES = 30


def routes() -> list[BaseRoute]:
    """The route of the page."""
    return [PageRoute("/alerts", alerts_page, methods=["GET"], needs=Power.READ)]


async def alerts_page(request: Request) -> Response:
    """The page of alerts."""
    found = services(request)
    now = found.clock()
    read = await found.calls.read(_read, found.store, now)
    return await answer_from_thread(
        request,
        "alerts.html",
        may_change=visitor(request).may_manage,
        SHOWN_AT_FIRST=SHOWN_AT_FIRST,
        untold=await untold_now(found),
        **read,
    )


def _read(store: SqlStore, now: datetime) -> dict[str, Any]:
    """What the page shows of the database."""
    alerts = store.alerts
    channels = alerts.channels()
    rules = alerts.rules()
    alarms = alerts.alarms(is_open=True, is_part=False, limit=SHOWN_ALARMS + 1)
    loud = [each for each in alarms[:SHOWN_ALARMS] if each.silenced_by is None]
    servers = {each.server_id for each in loud}
    parts = alerts.alarms(is_open=True, is_part=True, limit=SHOWN_ALARMS + 1)
    ended = alerts.alarms(is_open=False, is_part=False, limit=SHOWN_ENDED)
    return {
        "channels": channels,
        "channel_names": {channel.id: channel.name for channel in channels},
        "rules": rules,
        "rule_names": {rule.id: rule.name for rule in rules},
        "silences": [(silence, active(silence, now)) for silence in alerts.silences(now)],
        "alarms": alarms[:SHOWN_ALARMS],
        "loud": alerts.open_count(),
        "loud_servers": None if None in servers else len(servers),
        "quiet": sum(each.silenced_by is not None for each in alarms[:SHOWN_ALARMS]),
        "has_more_alarms": len(alarms) > SHOWN_ALARMS,
        "parts_of": parts[:SHOWN_ALARMS],
        "has_more_parts": len(parts) > SHOWN_ALARMS,
        "ended": ended,
        "alarm_names": _names([*alarms, *parts, *ended]),
        "deliveries": alerts.deliveries(limit=SHOWN_DELIVERIES),
        "counts": alerts.counts(now),
    }


def _names(alarms: Iterable[Alarm]) -> Mapping[str, str]:
    """What the page calls the servers of the alarms, by their ids."""
    return wording.apart(
        {
            alarm.server_id: alarm.known.get("server", {}).get("database") or alarm.server_id
            for alarm in alarms
            if alarm.server_id is not None
        }
    )

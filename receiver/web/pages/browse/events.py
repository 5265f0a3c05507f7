"""Lists of events on pages."""

from receiver.domain.cursors import write_event_cursor
from receiver.domain.queries import RecordedEvent
from receiver.service.fleet import Fleet
from receiver.web.requests import EventQuery

__all__ = ["events_of"]


async def events_of(fleet: Fleet, query: EventQuery) -> tuple[list[RecordedEvent], str | None]:
    """The events of a query, newest first, and the next page's cursor; None on the last page."""
    part = await fleet.events(query.matching, before=query.before, limit=query.limit)
    older = None if part.next_before is None else write_event_cursor(part.next_before)
    return part.events, older

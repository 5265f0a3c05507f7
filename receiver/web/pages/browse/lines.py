"""The lines of timelines: events, and groups of events that happened together."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from urllib.parse import quote_plus

from attrs import evolve, frozen
from starlette.requests import Request

from contract import EventKind
from receiver.domain.cursors import write_event_cursor
from receiver.domain.grouping.timeline import Brief, Group
from receiver.domain.queries import ALL_EVENTS, EventFilter, RecordedEvent
from receiver.service.fleet import MAX_EVENTS_BYTES
from receiver.store import SqlStore
from receiver.web.context import services
from receiver.web.pages.last_look import last_look
from receiver.web.pages.rendering import DAY
from receiver.web.pages.sizes import EVENTS_BYTES, NEWS_BYTES, lines_bytes
from receiver.web.pages.wording import (
    BY_IMPORTANCE,
    FEW_SERVERS,
    SUMMED_UP,
    fits_into_link,
    is_seen,
    named_servers,
    span_url,
)
from receiver.web.requests import EventQuery

__all__ = ["Line", "Lines", "News", "grouped", "names_in", "news_of"]

Line = RecordedEvent | Group


@frozen(kw_only=True)
class Lines:
    """
    A part of a timeline.

    Attributes:
        lines: The lines, newest first.
        older: The cursor of the part with older lines; None if there are none.
        kinds: How many of the events that were read are of each kind.
        is_all: Whether all events that match were read, so that `kinds` counts all of them.
        names: The names of databases, by the `server_id` of the servers in the lines.
    """

    lines: Sequence[Line]
    older: str | None
    kinds: Counter[EventKind]
    is_all: bool
    names: Mapping[str, str]


@frozen(kw_only=True)
class News:
    """
    What has happened since somebody last looked.

    Attributes:
        since: When that was; a day ago if it is not known.
        is_last_look: Whether it is known when that was.
        recent: The newest lines of what has happened since then.
        kinds: How many events of each kind have happened since then; of the newest `MOST_COUNTED`
            if there are more.
        query: The text of the filter that the servers match, for links to the timeline; empty if
            there is no filter, or if its text is too long for many links.
    """

    since: datetime
    is_last_look: bool
    recent: Lines
    kinds: Counter[EventKind]
    query: str

    @property
    def sums(self) -> list[tuple[EventKind, int]]:
        """The most important kinds, each with the number of its events; as many as fit."""
        found = [(kind, self.kinds[kind]) for kind in BY_IMPORTANCE if self.kinds[kind]]
        return found[:_MOST_SUMS]

    def in_timeline(self, kind: EventKind) -> str:
        """
        The URL of the events of a kind that have happened since then, relative to the home page.

        A time that is a day ago is rounded down to the minute, so that the URLs of an open page do
        not change with each second.
        """
        since = self.since if self.is_last_look else self.since.replace(second=0, microsecond=0)
        return span_url([kind], since, None, self.query, is_grouped=True)

    @property
    def is_cut(self) -> bool:
        """Whether more events may have happened than were counted."""
        return self.kinds.total() >= MOST_COUNTED


def grouped(store: SqlStore, query: EventQuery, *, repeated: int) -> Lines:
    """
    Read a part of the timeline of all servers, in which events that happened together are one line.

    It has at most `query.limit` lines, and fewer if they would take too many bytes of HTML.

    Args:
        store: Where the events are.
        query: Which events.
        repeated: How many bytes the text of the filter takes, which the page has in many links.
    """
    room = EVENTS_BYTES - _LINKS_WITH_FILTER * repeated
    return _lines(store, query, read=_READ, room=room, for_group=2 * repeated)


def names_in(store: SqlStore, lines: Iterable[Line]) -> Mapping[str, str]:
    """
    The names of the databases of the servers that a page names in these lines, by `server_id`.

    Names without a visible character are left out.
    """
    ids: set[str] = set()
    for line in lines:
        named = named_servers(line) if isinstance(line, Group) else [line.event.server_id]
        ids.update(each for each in named if each is not None)
    found = store.servers.databases(ids)
    return {server_id: name for server_id, name in found.items() if is_seen(name)}


def news_of(request: Request, matching: EventFilter = ALL_EVENTS, *, query: str = "") -> News:
    """
    What has happened since the person who makes a request last looked, or since a day ago.

    Blocks, because it reads the database. Raises StoreUnavailable.

    Args:
        request: Tells in a cookie when the person last looked.
        matching: Only events that match this filter.
        query: The text of the filter that the servers of these events match; empty without one.
    """
    found = services(request)
    now = found.clock()
    looked_at = last_look(request, now)
    since = now - DAY if looked_at is None else looked_at
    linked = query if fits_into_link(query) else ""
    recent, kinds = _news(found.store, evolve(matching, since=since), len(quote_plus(linked)))
    return News(
        since=since, is_last_look=looked_at is not None, recent=recent, kinds=kinds, query=linked
    )


def _news(
    store: SqlStore, matching: EventFilter, repeated: int
) -> tuple[Lines, Counter[EventKind]]:
    query = EventQuery(matching=matching, limit=_NEWS)
    recent = _lines(store, query, read=_READ_OF_NEWS, room=NEWS_BYTES, for_group=2 * repeated)
    if recent.is_all:
        return recent, recent.kinds
    return recent, store.events.count_kinds(matching, most=MOST_COUNTED)


def _lines(
    store: SqlStore, query: EventQuery, *, read: int, room: int, for_group: int = 0
) -> Lines:
    """
    Read a part of a timeline.

    Args:
        store: Where the events are.
        query: Which events, and how many lines at most.
        read: How many events are read at most.
        room: About how many bytes of HTML the lines may take; there is at least one line.
        for_group: How many bytes a group takes besides those that `lines_bytes` counts.
    """
    stretch = store.events.stretch(query.matching, before=query.before, limit=read)
    is_all = stretch.following is None
    most = query.limit
    while True:
        entries, taken = stretch.together(most=most)
        alone = [entry.id for entry in entries if isinstance(entry, Brief)]
        events = store.events.by_ids(alone, max_bytes=MAX_EVENTS_BYTES)
        lines: list[Line] = []
        for entry in entries:
            if isinstance(entry, Group):
                lines.append(_with_details(store, entry))
            elif entry.id in events:  # it may have been deleted in between
                lines.append(events[entry.id])
        names = names_in(store, lines)
        size = lines_bytes(lines, names) + for_group * (len(entries) - len(alone))
        if most == 1 or (len(lines) == len(entries) and size <= room):
            break
        most //= 2
    is_last = is_all and taken == len(stretch.briefs)
    older = None if is_last else write_event_cursor(stretch.briefs[taken - 1].id)
    return Lines(lines=lines, older=older, kinds=stretch.kinds, is_all=is_all, names=names)


def _with_details(store: SqlStore, group: Group) -> Group:
    """The group, with the details of its events where a page says what became what."""
    if group.kind not in SUMMED_UP:
        return group
    alike = store.events.alike(group.event_ids, max_bytes=_DETAILS_BYTES)
    if len(alike) <= 1 or len(group.event_ids) > FEW_SERVERS:
        return evolve(group, alike=alike)
    events = store.events.by_ids(group.event_ids, max_bytes=_DETAILS_BYTES).values()
    is_all = len(events) == len(group.event_ids)  # long ones are left out
    return evolve(group, alike=alike, each=[each.event for each in events] if is_all else ())


MOST_COUNTED = 10_000
"""How many events the front page counts at most, since a large fleet has any number in a day."""

_LINKS_WITH_FILTER = 45  # besides those of groups
_DETAILS_BYTES = 64 * 1024
_READ = 5000
_READ_OF_NEWS = 1000
_NEWS = 12
_MOST_SUMS = 10
"""How many kinds of events are summed up on the front page at most."""

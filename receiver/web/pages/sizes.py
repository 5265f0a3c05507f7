"""
Bounds the size of pages by limiting how many servers, events and tools they list.

In a URL, a `server_id` of 255 characters may take 3 KB. So a page lists fewer servers, events or
tools when their names are long.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache, partial
from itertools import accumulate
from typing import TypeVar

from markupsafe import escape

from receiver.domain.alerts.reports import DatabaseWeek
from receiver.domain.grouping.problems import Problem, Trouble
from receiver.domain.grouping.timeline import Group
from receiver.domain.queries import RecordedEvent
from receiver.service.fleet import Sighting
from receiver.web.pages.rendering import marked, server_url
from receiver.web.pages.wording import (
    NAMED_SERVERS,
    brief,
    called,
    counted_stages,
    named_servers,
    tale,
    tale_of_many,
)

__all__ = [
    "EVENTS_BYTES",
    "NEWS_BYTES",
    "SHOWN_LABELS",
    "SHOWN_NODES",
    "fitting",
    "fitting_calm",
    "fitting_changed",
    "fitting_events",
    "fitting_problems",
    "fitting_servers",
    "fitting_weeks",
    "html_bytes",
    "lines_bytes",
]

T = TypeVar("T")

SHOWN_NODES = 5
"""How many nodes (the other servers of a database) are shown with a server in the list."""

SHOWN_LABELS = 3
"""How many labels of a server are shown in the list."""

_SERVERS_BYTES = 72_500
_PROBLEMS_BYTES = 8_000
NEWS_BYTES = 8_500
"""About how many bytes of HTML the events on the front page may take."""

EVENTS_BYTES = 90_000
"""About how many bytes of HTML the events on a page of events may take."""

_WEEKS_BYTES = 70_000
_CALM_BYTES = 20_000
_CHANGED_BYTES = 2_500


def fitting_servers(servers: Sequence[Sighting]) -> Sequence[Sighting]:
    """
    As many of the first servers as fit into the list of the front page, by the size of their HTML.

    Returns at least one server, unless `servers` is empty.
    """
    return fitting(servers, _server_bytes, _SERVERS_BYTES)


def fitting_events(
    events: Sequence[RecordedEvent], names: Mapping[str, str]
) -> Sequence[RecordedEvent]:
    """
    As many of the first events as fit onto a page of events, by the size of their HTML.

    Returns at least one event, unless `events` is empty. `names` are those of the databases of
    servers, by `server_id`; servers that are not in it are called by their ids.
    """
    return fitting(events, partial(_event_bytes, names=names), EVENTS_BYTES)


def fitting_problems(problems: Sequence[Problem], *, most: int) -> Sequence[Problem]:
    """
    As many of the problems as fit onto the front page, by the size of their HTML.

    The first problem with each trouble goes before the others, so that one of each kind is seen
    also while there are many of another. Returns at most `most` problems, in the order in which
    they were, and at least one, unless `problems` is empty.
    """
    first: dict[Trouble, int] = {}
    for place, problem in enumerate(problems):
        first.setdefault(problem.trouble, place)
    places = [*first.values(), *(n for n in range(len(problems)) if n not in first.values())]
    fit = fitting(places[:most], lambda place: _problem_bytes(problems[place]), _PROBLEMS_BYTES)
    return [problems[place] for place in sorted(fit)]


def fitting_weeks(lines: Sequence[DatabaseWeek]) -> Sequence[DatabaseWeek]:
    """
    As many of the first lines of a weekly report as fit into its table, by the size of their HTML.

    Returns at least one line, unless `lines` is empty.
    """
    return fitting(lines, lambda line: 400 + _week_bytes(line), _WEEKS_BYTES)


def fitting_calm(lines: Sequence[DatabaseWeek]) -> Sequence[DatabaseWeek]:
    """As many of the first lines of a weekly report as can be named beneath its table."""
    return fitting(lines, _week_bytes, _CALM_BYTES)


def fitting_changed(lines: Sequence[DatabaseWeek]) -> Sequence[DatabaseWeek]:
    """As many of the first lines of a weekly report as can be named of those that changed."""
    return fitting(lines, _week_bytes, _CHANGED_BYTES)


def lines_bytes(lines: Iterable[RecordedEvent | Group], names: Mapping[str, str]) -> int:
    """
    About how many bytes of HTML the lines of a timeline take: events, and groups of events.

    `names` are those of the databases of servers, as in `fitting_events`.
    """
    return sum(
        _group_bytes(line, names) if isinstance(line, Group) else _event_bytes(line, names)
        for line in lines
    )


def fitting(items: Sequence[T], size: Callable[[T], int], room: int) -> Sequence[T]:
    """
    As many of the first items as do not take more than a number of bytes together.

    Returns at least one item, unless `items` is empty.

    Args:
        items: The items.
        size: Returns about how many bytes of HTML an item takes.
        room: How many bytes all of them together may take.
    """
    ends = accumulate(map(size, items))
    return items[: max(1, sum(end <= room for end in ends))]


def _server_bytes(server: Sighting) -> int:
    """About how many bytes of HTML a server takes in the list."""
    record = server.record
    nodes = server.nodes[:SHOWN_NODES]
    texts = [record.database, record.hostname, record.odoo_stage, record.odoo_version]
    texts += [node.hostname for node in nodes]
    texts += (record.labels or ())[:SHOWN_LABELS]
    texts.append(record.server_id)  # of the box to choose it
    linked = [record.server_id, *(node.server_id for node in nodes)]
    tags = 90 + 25 * SHOWN_LABELS if record.labels else 0
    shown = html_bytes(each for each in texts if each is not None)
    turned = 200 if server.state.stale else 0
    return 1000 + tags + turned + shown + _link_bytes(linked)


def _event_bytes(recorded: RecordedEvent, names: Mapping[str, str]) -> int:
    """About how many bytes of HTML an event takes in a list."""
    told = tale(recorded.event)
    linked = [each for each in (recorded.event.server_id, told.other) if each is not None]
    texts = [told.says, *(text for line in told.more for text in line)]
    named = [names[each] for each in linked if each in names]
    return 400 + html_bytes([*texts, *named]) + _link_bytes(linked) + 50 * len(named)


def _group_bytes(group: Group, names: Mapping[str, str]) -> int:
    """About how many bytes of HTML a group of events takes in a list."""
    linked = named_servers(group)
    texts = [text for line in tale_of_many(group).more for text in line]
    texts += [names[each] for each in linked if each in names]
    told = [text for each in group.each for line in tale(each).more for text in line]
    return 1000 + html_bytes([*texts, *told]) + _link_bytes(linked) + 50 * len(told)


def _problem_bytes(problem: Problem) -> int:
    """About how many bytes of HTML a problem takes."""
    named = problem.foremost(NAMED_SERVERS)
    stages = counted_stages(problem.stages)
    hosts = named if problem.trouble is Trouble.TWIN else named[:1]
    texts = [*stages, *(record.hostname or "" for record in hosts)]
    texts += map(called, named)
    tags = 1400 if len(problem.servers) > 1 else 750
    links = 100 * len(stages) + html_bytes(stages) if len(stages) > 1 else 0
    return tags + links + html_bytes(texts) + _link_bytes(record.server_id for record in named)


def _week_bytes(line: DatabaseWeek) -> int:
    """About how many bytes the link to the database of a line of a weekly report takes."""
    return html_bytes([line.name]) + _link_bytes([line.counts.server_id])


def _link_bytes(ids: Iterable[str]) -> int:
    """About how many bytes links to servers take: with URL, tooltip, text and key of the row."""
    return sum(100 + len(server_url(each)) + 3 * html_bytes([each]) for each in ids)


def html_bytes(texts: Iterable[str]) -> int:
    """How many bytes of HTML some texts take, each cut to 255 characters and escaped."""
    return sum(map(_html_bytes, texts))


@lru_cache(maxsize=2000)  # the next page has nearly all of them again
def _html_bytes(text: str) -> int:
    return len(escape(marked(brief(text))).encode())

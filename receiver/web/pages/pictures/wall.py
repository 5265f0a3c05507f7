"""The wallboard: a tile for each database, for a screen on the wall that nobody touches."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from math import ceil
from typing import Any
from urllib.parse import urlencode

from attrs import frozen
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from contract import State
from receiver.domain.keys import Power
from receiver.domain.lists.wall import GroupCount, OnWall
from receiver.domain.queries import Filter, Grouping
from receiver.web.context import Services, services
from receiver.web.pages.drawing import CELL, cells, columns_for
from receiver.web.pages.rendering import PageRoute, answer_from_thread
from receiver.web.pages.sizes import html_bytes
from receiver.web.pages.wording import brief
from receiver.web.requests import wall_query

__all__ = ["routes"]

Counts = Mapping[str, int]
"""How many servers are in which state."""


def routes() -> list[BaseRoute]:
    return [PageRoute("/wall", wall_page, methods=["GET"], needs=Power.READ)]


@frozen(kw_only=True)
class Grid:
    """
    A picture of a group of servers, with a small square (cell) for each of them, or for several.

    Attributes:
        width: How wide the picture is, in SVG units.
        height: How high it is, in SVG units.
        paths: For each state the SVG path of its cells.
    """

    width: int
    height: int
    paths: Mapping[str, str]


@frozen(kw_only=True)
class Group:
    """
    Servers that have the same value of a field, such as their stage.

    Attributes:
        name: The value; "" if it is not known. None for the servers with all values that have no
            group of their own.
        counts: How many servers are in which state.
        tiles: The servers, to be shown by name; empty if there is a `grid`.
        grid: A picture of the servers, if there are too many to show all by name; otherwise None.
    """

    name: str | None
    counts: Counts
    tiles: Sequence[OnWall] = ()
    grid: Grid | None = None


async def wall_page(request: Request) -> Response:
    """The wallboard, with the servers that the query asks for, in groups."""
    matching, by = wall_query(request)
    found = services(request)
    now = found.clock()
    seen, groups, each = await _read(found, matching, by, now)
    total: Counter[str] = Counter()
    for group in groups:
        total.update(group.counts)
    query = request.query_params.get("query")

    return await answer_from_thread(
        request,
        "wall.html",
        groups=groups,
        unnamed="no stage" if by is Grouping.STAGE else "not reported",
        total=total,
        of=total.total(),
        states=_SHOWN,
        each=each,
        size=next(name for name, most in _SIZES.items() if len(seen) <= most),
        **_names_on_tiles(seen),
        back=f"?{urlencode({'query': query})}" if query else "",
        silent=_silent(seen)[:_MOST_NAMED],
        silent_count=sum(total[state.value] for state in State if state.stale),
        flapping=sum(server.is_flapping for server in seen),
        now=now,
    )


async def _read(
    found: Services, matching: Filter, by: Grouping, now: datetime
) -> tuple[Sequence[OnWall], list[Group], int]:
    """
    Read the servers of the wallboard in groups, which show as much of each server as has room.

    Returns the servers, at most one more than `_MOST_CELLS`; the groups, which count all servers;
    and for how many servers a cell stands at most.
    """
    read, wall = found.calls.read, found.store.servers
    seen = await read(partial(wall.on_wall, matching, by, now, limit=_MOST_CELLS + 1))
    if len(seen) <= _MOST_TILES:
        return seen, _with_tiles(seen), 1
    if len(seen) <= _MOST_CELLS:
        return seen, _with_cells(seen), 1
    counts = await read(wall.wall_counts, matching, by, now)
    each = ceil(sum(n for *_, n in counts) / _MOST_CELLS)
    return seen, _with_shares(counts, each), each


def _silent(servers: Sequence[OnWall]) -> list[OnWall]:
    """The servers that are down, and then those that are late; of both the most recent first."""
    silent = [server for server in servers if server.state.stale]
    return sorted(
        silent, key=lambda server: (server.state is not State.DOWN, -server.since.timestamp())
    )


def _names_on_tiles(servers: Sequence[OnWall]) -> dict[str, Any]:
    """The variables of the template for the names: whether it shows them, and how much of them."""
    is_named = len(servers) <= _MOST_TILES
    names = [server.database or server.server_id for server in servers] if is_named else []
    length = _longest_name(names)
    return {
        "is_named": is_named,
        "length": length or _CUT_NAME,
        "has_titles": length > 0,
        "has_long_names": 4 * sum(len(name) > _SHORT_NAME for name in names) > len(names),
    }


def _longest_name(names: Sequence[str]) -> int:
    """
    How many characters of the names the tiles have, so that the page stays small.

    0 if the names are so long that the tiles have only `_CUT_NAME` characters, and no tooltips.
    """
    fits = (
        length
        for length in _NAME_LENGTHS
        if html_bytes(brief(name, length) for name in names) <= _NAMES_BYTES
    )
    return next(fits, 0)


def _with_tiles(servers: Sequence[OnWall]) -> list[Group]:
    return [
        Group(name=name, counts=_counted(within), tiles=within) for name, within in _groups(servers)
    ]


def _with_cells(servers: Sequence[OnWall]) -> list[Group]:
    groups = _groups(servers)
    columns = columns_for([len(within) for _, within in groups])
    return [
        Group(
            name=name,
            counts=_counted(within),
            grid=_grid([server.state.value for server in within], columns),
        )
        for name, within in groups
    ]


def _with_shares(counts: Sequence[GroupCount], each: int) -> list[Group]:
    """Groups in which a cell stands for `each` servers of a state, the last one for fewer."""
    by_name: dict[str | None, Counter[str]] = {}
    shown = _shown_names(_added(counts))
    for count in counts:
        name = count.group if count.group in shown else None
        by_name.setdefault(name, Counter())[count.state.value] += count.servers
    of_cells = {
        name: [state.value for state in _SHOWN for _ in range(ceil(states[state.value] / each))]
        for name, states in by_name.items()
    }
    columns = columns_for([len(each) for each in of_cells.values()])
    return [
        Group(name=name, counts=by_name[name], grid=_grid(of_cells[name], columns))
        for name in sorted(by_name, key=lambda name: _place(name, shown))
    ]


def _groups(servers: Sequence[OnWall]) -> list[tuple[str | None, list[OnWall]]]:
    """The servers by group, the largest first; servers of small groups are together in None."""
    shown = _shown_names(Counter(server.group for server in servers))
    found: dict[str | None, list[OnWall]] = {}
    for server in servers:
        found.setdefault(server.group if server.group in shown else None, []).append(server)
    return sorted(found.items(), key=lambda item: _place(item[0], shown))


def _added(counts: Sequence[GroupCount]) -> Counter[str]:
    sizes: Counter[str] = Counter()
    for count in counts:
        sizes[count.group] += count.servers
    return sizes


def _shown_names(sizes: Counter[str]) -> list[str]:
    """The names of the largest groups, so many as have room, the largest first."""
    return sorted(sizes, key=lambda name: (-sizes[name], name))[:_MOST_GROUPS]


def _place(name: str | None, shown: Sequence[str]) -> int:
    return len(shown) if name is None else shown.index(name)


def _counted(servers: Sequence[OnWall]) -> Counts:
    return Counter(server.state.value for server in servers)


def _grid(states: Sequence[str], columns: int) -> Grid:
    return Grid(
        width=CELL * columns,
        height=CELL * ceil(len(states) / columns),
        paths=cells(states, columns),
    )


_SHOWN = (State.DOWN, State.LATE, State.NEW, State.UP)
_MOST_TILES = 240
_MOST_CELLS = 5_000
_MOST_GROUPS = 12
_MOST_NAMED = 24
_NAME_LENGTHS = (255, 80)
_CUT_NAME = 40
_SHORT_NAME = 17
"""
How many characters of a name fit into a line of a narrow tile.

If more than a quarter of the names are longer, the tiles are wider: so they need less room than
with names that take two lines.
"""

_NAMES_BYTES = 30_000
"""How many bytes of HTML the names of all tiles may take; each has one more, in its tooltip."""

_SIZES = {"huge": 12, "large": 40, "middle": 100, "small": _MOST_CELLS + 1}
"""How large the tiles are, by the number of servers."""

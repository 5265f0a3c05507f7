"""The wallboard: a tile for each database, for a screen on the wall that nobody touches."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from math import ceil
from typing import Any
from urllib.parse import urlencode

from attrs import evolve, frozen
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from contract import State
from receiver.domain.alerts.reach import Reach
from receiver.domain.grouping.problems import Trouble
from receiver.domain.keys import Power
from receiver.domain.lists.wall import GroupCount, OnWall
from receiver.domain.queries import Filter, Grouping
from receiver.web.context import Services, services
from receiver.web.pages.drawing import CELL, cells, columns_for
from receiver.web.pages.rendering import PageRoute, answer_from_thread
from receiver.web.pages.sizes import html_bytes
from receiver.web.pages.told import untold_now
from receiver.web.pages.wording import apart, brief
from receiver.web.requests import wall_query

__all__ = ["routes"]

Counts = Mapping[str, int]
"""How many servers look in which way (`Silent.look`)."""

_SILENCED = "silenced"


def routes() -> list[BaseRoute]:
    return [PageRoute("/wall", wall_page, methods=["GET"], needs=Power.READ)]


@frozen(kw_only=True)
class Grid:
    """
    A picture of a group of servers, with a small square (cell) for each of them, or for several.

    Attributes:
        width: How wide the picture is, in SVG units.
        height: How high it is, in SVG units.
        paths: For each look of servers the SVG path of their cells.
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
        counts: How many servers look in which way.
        tiles: The servers, to be shown by name; empty if there is a `grid`.
        grid: A picture of the servers, if there are too many to show all by name; otherwise None.
    """

    name: str | None
    counts: Counts
    tiles: Sequence[OnWall] = ()
    grid: Grid | None = None


@frozen(kw_only=True)
class Silent:
    """
    The servers of the whole fleet that are late or down, and what people are told of them.

    Attributes:
        ids: The ids of these servers, of at most 5,000 of them.
        silenced: The ids of those that are silenced: nobody is told of their alarms.
        untold: The ids of the others of which nobody was told, and nobody will be unless somebody
            changes the rules and channels.
    """

    ids: tuple[str, ...]
    silenced: frozenset[str]
    untold: frozenset[str]

    def look(self, server: OnWall) -> str:
        """How a server is shown: by its state, or if it is late or down and silenced, as that."""
        is_silenced = server.state.stale and server.server_id in self.silenced
        return _SILENCED if is_silenced else server.state.value


@frozen(kw_only=True)
class Board:
    """
    What the wallboard shows.

    Attributes:
        seen: The servers, at most one more than `_MOST_CELLS`.
        silent: Those that are late or down, also of the servers that are not in `seen`.
        groups: The groups, which count all servers.
        each: For how many servers a cell stands at most.
    """

    seen: Sequence[OnWall]
    silent: Sequence[OnWall]
    groups: Sequence[Group]
    each: int = 1


async def wall_page(request: Request) -> Response:
    """The wallboard, with the servers that the query asks for, in groups."""
    matching, by = wall_query(request)
    found = services(request)
    now = found.clock()
    silent = await _find_silent(found)
    board = await _read(found, matching, by, now, silent)
    seen = board.seen
    total: Counter[str] = Counter()
    for group in board.groups:
        total.update(group.counts)
    query = request.query_params.get("query")
    urgent = _most_urgent(board.silent, silent)[:_MOST_NAMED]

    return await answer_from_thread(
        request,
        "wall.html",
        groups=board.groups,
        unnamed="no stage" if by is Grouping.STAGE else "not reported",
        total=total,
        of=total.total(),
        looks=_SHOWN,
        look=silent.look,
        each=board.each,
        size=next(name for name, most in _SIZES.items() if len(seen) <= most),
        **_names_on_tiles(seen),
        back=f"?{urlencode({'query': query})}" if query else "",
        silent=urgent,
        silent_names=_names(urgent),
        silent_count=sum(total[state.value] for state in State if state.stale),
        untold=sum(server.server_id in silent.untold for server in board.silent),
        flapping=sum(server.is_flapping for server in seen),
        now=now,
    )


async def _find_silent(found: Services) -> Silent:
    """Find the servers that are late or down, and what people are told of them."""
    troubles = await found.calls.read(found.troubles.find)
    untold = await untold_now(found)
    return Silent(
        ids=tuple(each.record.server_id for each in troubles.servers if each.record.state.stale),
        silenced=frozenset(record.server_id for record in untold.silenced),
        untold=frozenset(
            record.server_id
            for group in untold.groups
            if group.trouble in _OF_SILENCE and group.reach is not Reach.LATER
            for record in group.servers
        ),
    )


async def _read(
    found: Services, matching: Filter, by: Grouping, now: datetime, silent: Silent
) -> Board:
    """Read the servers of the wallboard in groups, which show of each as much as has room."""
    read, wall = found.calls.read, found.store.servers
    seen = await read(partial(wall.on_wall, matching, by, now, limit=_MOST_CELLS + 1))
    if len(seen) <= _MOST_CELLS:
        draw = _with_tiles if len(seen) <= _MOST_TILES else _with_cells
        stale = [server for server in seen if server.state.stale]
        return Board(seen=seen, silent=stale, groups=draw(seen, silent))
    counts = await read(wall.wall_counts, matching, by, now)
    each = ceil(sum(n for *_, n in counts) / _MOST_CELLS)
    stale = []
    if silent.ids:
        # A filter that finds so many servers names none of them by its id.
        those = evolve(matching, server_id=silent.ids)
        rows = await read(partial(wall.on_wall, those, by, now, limit=len(silent.ids)))
        stale = [server for server in rows if server.state.stale]
    groups = _with_shares(_with_silenced(counts, stale, silent), each)
    return Board(seen=seen, silent=stale, groups=groups, each=each)


def _most_urgent(servers: Sequence[OnWall], silent: Silent) -> list[OnWall]:
    """
    Those of the servers, which are late or down, that are not silenced.

    First come those that are down, and then those that are late; of both the most recent first.
    """
    loud = [server for server in servers if silent.look(server) != _SILENCED]
    return sorted(
        loud, key=lambda server: (server.state is not State.DOWN, -server.since.timestamp())
    )


def _names_on_tiles(servers: Sequence[OnWall]) -> dict[str, Any]:
    """The variables of the template for the names: whether it shows them, and how much of them."""
    is_named = len(servers) <= _MOST_TILES
    tile_names = _tile_names(servers) if is_named else {}
    names = [*tile_names.values()]
    length = _longest_name(names)
    return {
        "is_named": is_named,
        "tile_names": tile_names,
        "length": length or _CUT_NAME,
        "has_titles": length > 0,
        "has_long_names": 4 * sum(len(name) > _SHORT_NAME for name in names) > len(names),
    }


def _names(servers: Iterable[OnWall]) -> Mapping[str, str]:
    """
    What the wall calls servers, by their ids: by the database, or else by the id.

    Those with the same database name are called by their ids.
    """
    return apart({server.server_id: server.database or server.server_id for server in servers})


def _tile_names(servers: Sequence[OnWall]) -> dict[str, str]:
    """
    What the tiles call the servers, by their ids: see `_names`.

    A name does not end with that of its group, which stands above the tiles: `acme-production` is
    `acme` there, unless another server is called so.
    """
    names = {**_names(servers)}
    taken = {*names.values()}
    for server in servers:
        name = names[server.server_id]
        short = name.removesuffix(server.group) if server.group else name
        is_cut = len(short) < len(name) and short.endswith(_SEPARATORS)
        if is_cut and len(short) > 1 and short[:-1] not in taken:
            names[server.server_id] = short[:-1]
    return names


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


def _with_tiles(servers: Sequence[OnWall], silent: Silent) -> list[Group]:
    return [
        Group(name=name, counts=Counter(map(silent.look, within)), tiles=within)
        for name, within in _groups(servers, silent)
    ]


def _with_cells(servers: Sequence[OnWall], silent: Silent) -> list[Group]:
    groups = _groups(servers, silent)
    columns = columns_for([len(within) for _, within in groups])
    return [
        Group(
            name=name,
            counts=Counter(map(silent.look, within)),
            grid=_grid([*map(silent.look, within)], columns),
        )
        for name, within in groups
    ]


def _with_silenced(
    counts: Sequence[GroupCount], stale: Sequence[OnWall], silent: Silent
) -> list[tuple[str, str, int]]:
    """
    How many servers of which group look in which way: group, look and number.

    Args:
        counts: How many servers of which group are in which state.
        stale: The servers that are late or down, which tell how many of them are silenced.
        silent: What people are told of these.
    """
    silenced = Counter(
        (server.group, server.state) for server in stale if silent.look(server) == _SILENCED
    )
    looks = []
    for group, state, number in counts:
        few = min(number, silenced[group, state])  # some may have changed between the queries
        looks += [(group, state.value, number - few), (group, _SILENCED, few)]
    return looks


def _with_shares(counts: Sequence[tuple[str, str, int]], each: int) -> list[Group]:
    """
    Groups in which a cell stands for `each` servers that look alike, the last one for fewer.

    `counts` are tuples of a group, a look, and how many servers have both.
    """
    by_name: dict[str | None, Counter[str]] = {}
    sizes: Counter[str] = Counter()
    for group, _, number in counts:
        sizes[group] += number
    shown = _shown_names(sizes)
    for group, look, number in counts:
        name = group if group in shown else None
        by_name.setdefault(name, Counter())[look] += number
    of_cells = {
        name: [look for look in _SHOWN for _ in range(ceil(looks[look] / each))]
        for name, looks in by_name.items()
    }
    columns = columns_for([len(each) for each in of_cells.values()])
    return [
        Group(name=name, counts=by_name[name], grid=_grid(of_cells[name], columns))
        for name in sorted(by_name, key=lambda name: _place(name, shown))
    ]


def _groups(servers: Sequence[OnWall], silent: Silent) -> list[tuple[str | None, list[OnWall]]]:
    """
    The servers by group, the largest first; servers of small groups are together in None.

    Within a group, those that need somebody come first.
    """
    shown = _shown_names(Counter(server.group for server in servers))
    found: dict[str | None, list[OnWall]] = {}
    for server in sorted(servers, key=lambda server: _SHOWN.index(silent.look(server))):
        found.setdefault(server.group if server.group in shown else None, []).append(server)
    return sorted(found.items(), key=lambda item: _place(item[0], shown))


def _shown_names(sizes: Counter[str]) -> list[str]:
    """The names of the largest groups, so many as have room, the largest first."""
    return sorted(sizes, key=lambda name: (-sizes[name], name))[:_MOST_GROUPS]


def _place(name: str | None, shown: Sequence[str]) -> int:
    return len(shown) if name is None else shown.index(name)


def _grid(looks: Sequence[str], columns: int) -> Grid:
    return Grid(
        width=CELL * columns,
        height=CELL * ceil(len(looks) / columns),
        paths=cells(looks, columns),
    )


_SHOWN = (
    State.DOWN.value,
    State.LATE.value,
    _SILENCED,
    State.NEW.value,
    State.UP.value,
)
"""The looks of servers in the order in which they are counted and drawn."""

_OF_SILENCE = (Trouble.DOWN, Trouble.LATE)
_MOST_TILES = 240
_MOST_CELLS = 5_000
_MOST_GROUPS = 12
_MOST_NAMED = 24
_NAME_LENGTHS = (255, 80)
_CUT_NAME = 40
_SEPARATORS = ("-", "_", ".")
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

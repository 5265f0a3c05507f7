"""The page of the versions that the fleet runs: what runs where, and what is oldest."""

from collections import Counter
from collections.abc import Sequence

from attrs import frozen
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from receiver.domain.filter_text import FilterText
from receiver.domain.grouping.problems import counts_as_production
from receiver.domain.inventory.software import Software, VersionCount, oldest
from receiver.domain.keys import Power
from receiver.web.context import services
from receiver.web.inventory.versions import counted_versions
from receiver.web.pages.inventory.links import list_link
from receiver.web.pages.rendering import PageRoute, answer_from_thread
from receiver.web.pages.sizes import fitting, html_bytes

__all__ = ["routes"]


def routes() -> list[BaseRoute]:
    return [PageRoute("/versions", versions_page, methods=["GET"], needs=Power.READ)]


@frozen(kw_only=True)
class Cell:
    """
    A number of servers in a table.

    Attributes:
        servers: The number.
        link: A link to the list of these servers; None if no filter finds them.
    """

    servers: int
    link: str | None


@frozen(kw_only=True)
class ShownVersion:
    """
    A version in its table.

    Attributes:
        version: The version; empty for servers that have not reported any.
        all: All servers that run it.
        share: Which share of all servers run it, in percent.
        stages: The servers that run it, in each of the stages that have a column.
        others: How many servers run it in the other stages.
    """

    version: str
    all: Cell
    share: float
    stages: Sequence[Cell]
    others: int


@frozen(kw_only=True)
class VersionTable:
    """
    The versions of one software.

    Attributes:
        id: The HTML id of the section with the table.
        title: The name of the software.
        versions: The versions, the oldest first.
        more_versions: How many versions are not in the table.
        more_servers: How many servers run versions that are not in the table.
        known: How many different versions servers have reported, in the table or not.
        oldest: The oldest version; None if no version is older than another.
        stages: The stages with columns: the most frequent ones, production first.
        has_others: Whether there are stages without a column.
    """

    id: str
    title: str
    versions: Sequence[ShownVersion]
    more_versions: int
    more_servers: int
    known: int
    oldest: ShownVersion | None
    stages: Sequence[str]
    has_others: bool


async def versions_page(request: Request) -> Response:
    """The page of the versions of Odoo and of MCP servers, and how many servers run each."""
    counted = await counted_versions(services(request))
    by_stage: Counter[str] = Counter()
    for each in counted[Software.ODOO]:
        by_stage.update(dict(each.stages))
    return await answer_from_thread(
        request,
        "versions.html",
        servers=by_stage.total(),
        tables=[table(software, counted[software], by_stage) for software in Software],
    )


def table(
    software: Software, counts: Sequence[VersionCount], by_stage: Counter[str]
) -> VersionTable:
    """
    The table of the versions of a software, as many as fit on the page.

    Args:
        software: The software.
        counts: How many servers run each version, the oldest first.
        by_stage: How many servers there are in each stage.
    """
    frequent = [stage for stage, _ in by_stage.most_common(_STAGES)]
    stages = sorted(frequent, key=lambda stage: not counts_as_production(stage))
    total = by_stage.total()
    chosen = fitting(_chosen(counts), _version_bytes, _ROOM)
    left = [each for each in counts if each not in chosen]
    first = oldest(counts)
    return VersionTable(
        id=software.value.replace("_", "-"),
        title=_TITLES[software],
        versions=[_shown(software, each, stages, total) for each in counts if each in chosen],
        more_versions=len(left),
        more_servers=sum(each.servers for each in left),
        known=sum(bool(each.version) for each in counts),
        oldest=None if first is None else _shown(software, first, stages, total),
        stages=stages,
        has_others=len(by_stage) > len(stages),
    )


def _chosen(counts: Sequence[VersionCount]) -> list[VersionCount]:
    """The versions to show: the oldest ones, and those of the most servers."""
    old = counts[: _MOST // 2]
    others = sorted(counts[_MOST // 2 :], key=lambda each: -each.servers)
    return [*old, *others[: _MOST - len(old)]]


def _shown(
    software: Software, count: VersionCount, stages: Sequence[str], total: int
) -> ShownVersion:
    numbers = dict(count.stages)
    cells = [
        Cell(servers=numbers.get(stage, 0), link=_link(software, count.version, stage))
        for stage in stages
    ]
    return ShownVersion(
        version=count.version,
        all=Cell(servers=count.servers, link=_link(software, count.version)),
        share=round(100 * count.servers / total, 1),
        stages=cells,
        others=count.servers - sum(cell.servers for cell in cells),
    )


def _link(software: Software, version: str, *stages: str) -> str | None:
    """A link to the servers with a version; None if it is unknown, or too long for a link."""
    if not version or max(map(len, (version, *stages))) > _LONGEST:
        return None
    if software is Software.ODOO:
        return list_link(FilterText(odoo=(version,), stage=stages))
    return list_link(FilterText(version=(version,), stage=stages))


def _version_bytes(count: VersionCount) -> int:
    """About how many bytes of HTML a version takes in its table."""
    link = _link(Software.MCP_SERVER, count.version) or ""
    stages = sum(len(stage.encode()) for stage, _ in count.stages[:_STAGES])
    return 560 + 2 * html_bytes([count.version]) + (1 + _STAGES) * (80 + len(link)) + 12 * stages


_TITLES = {Software.ODOO: "Odoo", Software.MCP_SERVER: "MCP server"}
_STAGES = 4
"""How many stages have a column of their own."""

_MOST = 40
"""How many versions a table shows at most."""

_LONGEST = 100
_ROOM = 50_000

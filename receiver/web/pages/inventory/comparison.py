"""The page that shows two servers side by side, and before that a form that chooses them."""

from collections.abc import Collection, Mapping, Sequence

from attrs import frozen
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from contract import ServerRecord
from receiver.domain.filter_text import FilterText
from receiver.domain.inventory.comparison import ToolsCompared
from receiver.domain.keys import Power
from receiver.service.fleet import Sighting
from receiver.web.context import Services, services
from receiver.web.inventory.comparison import compared
from receiver.web.pages import wording
from receiver.web.pages.inventory.links import filled, link
from receiver.web.pages.rendering import PageRoute, answer_from_thread
from receiver.web.pages.silenced import silenced_now
from receiver.web.pages.sizes import fitting, html_bytes
from receiver.web.requests import compare_query

__all__ = ["routes"]


def routes() -> list[BaseRoute]:
    return [PageRoute("/compare", compare_page, methods=["GET"], needs=Power.READ)]


@frozen(kw_only=True)
class Side:
    """
    One of the two servers, or the servers that it could be.

    Attributes:
        name: The name of the query parameter: `a` or `b`.
        text: The text that was given for it; empty if none was.
        server: The server; None if it is not known yet.
        candidates: If it is not known, servers that the text could mean, each with a link that
            chooses it.
    """

    name: str
    text: str
    server: Sighting | None = None
    candidates: Sequence[tuple[Sighting, str]] = ()


@frozen(kw_only=True)
class FieldRow:
    """
    A field of the records of both servers.

    Attributes:
        name: The name of the field.
        label: The label of the field.
        a: The lines of its value in the record of the first server; empty if it is unknown.
        b: The lines of its value in the record of the second server; empty if it is unknown.
    """

    name: str
    label: str
    a: Sequence[str]
    b: Sequence[str]


@frozen(kw_only=True)
class Names:
    """
    Names of tools, as many as fit on the page.

    Attributes:
        of: The name of the server that alone offers these tools; None if both offer them and
            describe them in different ways.
        lacking: The name of the server that lacks these tools; None if none does.
        shown: The names; each with the fields in which the descriptions differ, in words, or "".
        count: How many names there are, with those that do not fit.
    """

    of: str | None
    lacking: str | None
    shown: Sequence[tuple[str, str]]
    count: int


async def compare_page(request: Request) -> Response:
    """The page with two servers side by side, or with a form that chooses them."""
    query = compare_query(filled(request), needs_both=False)
    found = services(request)
    texts = {"a": query.a, "b": query.b}
    sides = [await _side(found, name, texts, other) for name, other in (("a", "b"), ("b", "a"))]
    a, b = (side.server for side in sides)
    silenced = await silenced_now(found)
    if a is None or b is None:
        related = () if a is None else await _related(found, a)
        return await answer_from_thread(
            request, "choose.html", sides=sides, related=related, silenced=silenced
        )

    pair = await compared(found, a, b)
    rows = _rows(a.record, b.record)
    titles = _titles(a.record, b.record)
    return await answer_from_thread(
        request,
        "compare.html",
        a=a,
        b=b,
        silenced=silenced,
        titles=titles,
        telling=[row for row in rows if row.a != row.b and row.name not in _OWN],
        own=[row for row in rows if row.a != row.b and row.name in _OWN],
        alike=[row for row in rows if row.a == row.b],
        names=_names_of_tools(pair.tools, *titles),
        same=pair.tools.same,
        as_json=link("compare.json", a=a.record.server_id, b=b.record.server_id),
        turned=link("compare", a=b.record.server_id, b=a.record.server_id),
        others=link("compare", a=a.record.server_id),
    )


async def _side(found: Services, name: str, texts: Mapping[str, str], other: str) -> Side:
    """
    The server that a text means: by its id, or as the only one whose names contain the text.

    If the text for the `other` side is the id of a server, that server is left out as long as the
    names of another one contain the text.
    """
    text = texts[name]
    if not text:
        return Side(name=name, text="")
    server = await found.fleet.get(text)
    if server is not None:
        return Side(name=name, text=text, server=server)
    matching = FilterText(words=(text,)).to_filter()
    page = await found.fleet.page(matching, after=None, limit=_CANDIDATES)
    servers = [each for each in page.servers if each.record.server_id != texts[other]]
    servers = servers or [*page.servers]
    if len(servers) == 1:
        return Side(name=name, text=text, server=servers[0])
    candidates = [
        (each, link("compare", **{**texts, name: each.record.server_id})) for each in servers
    ]
    return Side(name=name, text=text, candidates=candidates)


async def _related(found: Services, server: Sighting) -> list[tuple[Sighting, str]]:
    """Servers with which a server is often compared: those that are told to be related to it."""
    record = server.record
    ids = (record.twin_of, record.superseded_by, record.node_of)
    others = [await found.fleet.get(each) for each in ids if each is not None]
    return [
        (each, link("compare", a=record.server_id, b=each.record.server_id))
        for each in others
        if each is not None
    ]


def _rows(a: ServerRecord, b: ServerRecord) -> list[FieldRow]:
    """The fields that are known of at least one of two servers."""
    facts = [
        {fact.name: fact for group in wording.facts(record).values() for fact in group}
        for record in (a, b)
    ]
    rows = [
        FieldRow(name=name, label=fact.label, a=fact.values, b=facts[1][name].values)
        for name, fact in facts[0].items()
        if name != "capabilities"
    ]
    return [row for row in rows if row.a or row.b]


def _titles(a: ServerRecord, b: ServerRecord) -> tuple[str, str]:
    """What two servers are called in headings: by their databases, or hosts, if these differ."""
    hosts = (a.hostname or "", b.hostname or "")
    for names in ((wording.called(a), wording.called(b)), hosts, (a.server_id, b.server_id)):
        first, second = (wording.brief(name, _LONGEST_TITLE) for name in names)
        if first != second and all(map(wording.is_seen, names)):
            return first, second
    return "First server", "Second server"


def _names_of_tools(tools: ToolsCompared, first: str, second: str) -> list[Names]:
    """The tools in which two servers, which are called `first` and `second`, differ."""
    return [
        _names(dict.fromkeys(tools.only_a, ""), of=first, lacking=second),
        _names(dict.fromkeys(tools.only_b, ""), of=second, lacking=first),
        _names(
            {
                name: ", ".join(wording.OF_TOOLS[each] for each in fields).lower()
                for name, fields in tools.changed.items()
            }
        ),
    ]


def _names(told: Mapping[str, str], *, of: str | None = None, lacking: str | None = None) -> Names:
    shown = fitting([*told.items()], _name_bytes, _ROOM)
    return Names(of=of, lacking=lacking, shown=shown, count=len(told))


def _name_bytes(named: tuple[str, str]) -> int:
    """About how many bytes of HTML the name of a tool takes."""
    name, differs = named
    return 60 + html_bytes([name]) + len(link("", name=name)) + len(differs)


_CANDIDATES = 10
_LONGEST_TITLE = 60
_ROOM = 24_000
_OWN: Collection[str] = {
    *("server_id", "database", "hostname", "ip_addresses", "endpoint_url", "database_uuid"),
    *("started_at", "uptime_seconds", "last_seen", "state_since", "heartbeat_count", "sequence"),
    *("timestamp", "first_seen", "registered_at", "tools_digest"),
}
"""The fields in which any two servers differ, which therefore tell little."""

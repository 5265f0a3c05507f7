"""
Badges: small pictures in SVG that say in which state a server is, or how many servers are down.

They are shown by pages elsewhere, such as the README of a repository, which send no key. So the
text of a key of the scope `badge` stands in their paths; such a key opens nothing else, and can be
revoked. A badge says the state in words, because not everybody can tell the colours apart.
"""

from html import escape
from typing import Any, NamedTuple

from attrs import evolve
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from contract import State
from receiver.domain.errors import Refusal
from receiver.domain.keys import KeyScope, Power
from receiver.domain.queries import Filter
from receiver.web import openapi
from receiver.web.context import Services, services
from receiver.web.headers import is_known, tag_of
from receiver.web.openapi import Json, operation
from receiver.web.requests import badge_filter
from receiver.web.routing import Guarded

__all__ = ["routes"]


def routes() -> list[Guarded]:
    """The routes of badges."""
    return [
        BadgeRoute("/badges/{badge_key}/servers.svg", badge_of_servers, describes=_OF_SERVERS),
        # A server_id may contain slashes.
        BadgeRoute(
            "/badges/{badge_key}/servers/{server_id:path}.svg",
            badge_of_server,
            describes=_OF_SERVER,
        ),
    ]


class BadgeRoute(Guarded):
    """A route of badges, which authenticates a request by the key in its path."""

    def __init__(self, path: str, *args: Any, **options: Any) -> None:
        super().__init__(path, *args, methods=["GET"], needs=None, **options)

    async def _admit(self, scope: Scope) -> None:
        if scope["method"] not in self.methods_of_path:
            return  # `handle` answers with 405, which tells nothing of any server
        found = services(scope)
        found.gate.admit(scope, None)
        key = found.gate.find(scope["path_params"]["badge_key"], Power.BADGE, scope)
        if key.scope is not KeyScope.BADGE:
            raise Refusal(403, "not_allowed", _NOT_IN_A_PATH.format(key.scope.value))


class Badge(NamedTuple):
    """
    What a badge says.

    Attributes:
        label: The text on the left side, which says what the badge is about.
        message: The text on the right side, which says the state, such as `up` or `3 down`.
        colour: The background of the right side, in the form `#1a7f37`.
    """

    label: str
    message: str
    colour: str


async def badge_of_server(request: Request) -> Response:
    """Answer with the badge of a server: its state in a word; `replaced` if it is superseded."""
    server_id = request.path_params["server_id"]
    _, label = badge_filter(request, allows_query=False)
    sighting = await services(request).fleet.get(server_id)
    if sighting is None:
        raise Refusal(404, "not_found", f"There is no server {server_id!r}.")
    record = sighting.record
    word = sighting.state.value if record.superseded_by is None else "replaced"
    colour = _COLOURS.get(word, _GREY)
    return _answer(request, Badge(label or record.database or server_id, word, colour))


async def badge_of_servers(request: Request) -> Response:
    """
    Answer with the badge of all servers that match a filter.

    It says how many of them are down, such as `3 down`. If no server is down, it says how many are
    late, and if none is late either, how many are up or new; `none` if there are none of these.
    Servers whose keys were revoked or have expired do not count as down or late. If the filter
    names states, the badge says how many servers match, and the states.
    """
    matching, label = badge_filter(request, allows_query=True)
    found = services(request)
    word, colour = await _in_all(found, matching)
    return _answer(request, Badge(label or _about(matching), word, colour))


def _about(matching: Filter) -> str:
    return ", ".join(filter(None, matching.database or matching.stage)) or "servers"


async def _in_all(found: Services, matching: Filter) -> tuple[str, str]:
    """The message of the badge of all servers that match a filter, and its colour."""
    if matching.state:
        n = await found.calls.read(found.store.servers.count, matching)
        colours = [_COLOURS[each] for each in reversed(_COLOURS) if each in matching.state]
        return f"{n:,} {' or '.join(matching.state)}", colours[0] if n and colours else _GREY
    for state in (State.DOWN, State.LATE):
        page = await found.fleet.page(
            evolve(matching, state=state.value), after=None, limit=_MOST_COUNTED
        )
        # A server whose key was revoked or has expired cannot send, so its silence is no fault.
        n = sum(not each.is_lapsed for each in page.servers)
        if n:
            more = "" if page.next_after is None else "+"
            return f"{n:,}{more} {state.value}", _COLOURS[state.value]
    alive = [evolve(matching, state=state.value) for state in (State.UP, State.NEW)]
    n = sum([await found.calls.read(found.store.servers.count, each) for each in alive])
    return (f"{n:,} up", _COLOURS[State.UP.value]) if n else ("none", _GREY)


def _answer(request: Request, badge: Badge) -> Response:
    """The SVG of a badge, or 304 if the client has it already."""
    body = drawn(badge).encode()
    tag = tag_of(body)
    headers = {
        "ETag": tag,
        "Cache-Control": "no-cache",
        # A page elsewhere shows it.
        "Cross-Origin-Resource-Policy": "cross-origin",
    }
    if is_known(request, tag):
        return Response(status_code=304, headers=headers)
    return Response(body, media_type="image/svg+xml", headers=headers)


def drawn(badge: Badge) -> str:
    """The badge as SVG. Its texts may hold any characters, and are cut if they are too long."""
    label, message = _fitting(badge.label), _fitting(badge.message)
    left, right = _width(label), _width(message)
    label, message = escape(label), escape(message)
    width = left + right
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="20" role="img" '
        f'aria-label="{label}: {message}"><title>{label}: {message}</title>'
        f'<rect width="{width}" height="20" rx="3" fill="{_DARK}"/>'
        f'<rect x="{left}" width="{right}" height="20" rx="3" fill="{badge.colour}"/>'
        f'<rect x="{left}" width="4" height="20" fill="{badge.colour}"/>'
        '<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" '
        'text-anchor="middle">'
        f'<text x="{left / 2:g}" y="14">{label}</text>'
        f'<text x="{left + right / 2:g}" y="14">{message}</text></g></svg>'
    )


def _fitting(text: str) -> str:
    """The text in at most 60 characters; each that cannot be printed is replaced by U+FFFD."""
    shown = "".join(char if char.isprintable() else "\ufffd" for char in text)
    return shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 1]}…"


def _width(text: str) -> int:
    """About how many pixels a text takes, with 7 pixels of room on both sides."""
    return 14 + round(sum(_WIDTHS.get(char, 11 if char > "\u2e7f" else 7) for char in text))


_LONGEST = 60
_MOST_COUNTED = 1000
_WIDTHS = {**dict.fromkeys("fijlt.,:;|!'()[] ", 4.2), **dict.fromkeys("mwMW@%", 10.5)}
# White letters are legible on each of these.
_DARK = "#3b4048"
_GREY = "#5c636d"
_COLOURS = {
    State.NEW.value: "#1f6feb",
    State.UP.value: "#1a7f37",
    State.LATE.value: "#8a5a00",
    State.DOWN.value: "#b3261e",
}
_NOT_IN_A_PATH = "Only a key of the scope badge may stand in this path, not one of the scope {}."

_LABEL = openapi.parameter(
    "label", "The text on the left side.", {**openapi.TEXT, "maxLength": 200}
)
_SVG = {200: openapi.text_answer("The badge", "image/svg+xml")}


def _badge(
    operation_id: str, summary: str, parameters: list[Json], problems: tuple[int, ...]
) -> Json:
    described = operation(
        operation_id, summary, parameters=parameters, answers=_SVG, problems=problems
    )
    return {**openapi.tagged(described), "security": []}


_OF_SERVERS = _badge(
    "badgeOfServers",
    "A picture that says how many of the servers that match are down, late or up",
    [openapi.QUERY, _LABEL],
    (400, 401, 403, 429, 503),
)
_OF_SERVER = _badge(
    "badgeOfServer",
    "A picture that says in which state a server is",
    [_LABEL],
    (400, 401, 403, 404, 429, 503),
)

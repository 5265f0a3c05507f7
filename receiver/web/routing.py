"""Routes that ask the gate whether to let a request in, and hold their OpenAPI description."""

from collections.abc import Iterable, Sequence
from copy import copy
from typing import Any, TypeVar
from urllib.parse import parse_qsl, unquote_to_bytes

from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match, Route, compile_path
from starlette.types import Receive, Scope, Send

from contract import Problem
from receiver.domain.errors import Refusal
from receiver.domain.keys import Power
from receiver.web.context import Visitor, services
from receiver.web.cookies import session_cookie

__all__ = ["BY_ID", "Guarded", "share_paths", "with_ids_in_query"]

BY_ID = "/by-id"
"""Below this path, the server that a call is about stands in the query: `?id=..`."""

_ID = "id"


class Guarded(Route):
    """
    A route that asks the gate whether to let a request in, before its endpoint runs.

    A slash that is escaped in a path belongs to a name: `/servers/a%2Fevents` is the server
    `a/events`, and not the events of `a`. A path that is not valid UTF-8 matches no route.

    A request belongs to the first route whose pattern its path matches, and to those with the same
    pattern: when none of them takes the method, it is refused (405), even if a later pattern
    matches too.

    Args:
        needs: What a visitor must be allowed to do; None for nothing.
        describes: The operation of the OpenAPI document; None leaves the route out.
    """

    is_page = False
    """Whether the route is for people, who may have signed in for all that it needs."""

    id_in_query = False
    """Whether the server_id stands in the query and not in the path."""

    def __init__(
        self,
        *args: Any,
        needs: Power | None,
        describes: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(*args, **options)
        self.needs = needs
        self.describes = describes
        self.methods_of_path = frozenset(self.methods or ())
        """The methods of all routes with the same pattern, once `share_paths` has told them."""
        _, name, ending = self.path.rpartition("}")
        self._ending = ending.encode() if name else b""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] == "http":
            is_call = scope["raw_path"].endswith(self._ending)
            if not (is_call and _is_text(scope)):
                return Match.NONE, {}
        match, found = super().matches(scope)
        if match is Match.PARTIAL and scope["method"] not in self.methods_of_path:
            return Match.FULL, found  # `handle` refuses the method; no other pattern may take it
        return match, found

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._admit(scope)
        if scope["method"] not in self.methods_of_path:
            raise HTTPException(405, headers={"Allow": ", ".join(sorted(self.methods_of_path))})
        if self.id_in_query:
            scope["path_params"] = {"server_id": _id_in_query(scope)}
            scope["parameter_of_route"] = _ID
        await super().handle(scope, receive, send)

    async def _admit(self, scope: Scope) -> None:
        """
        Put the visitor into the scope. Raises Refusal for a request that is not let in.

        A browser session is enough to read, and on a page for everything that its key may do:
        forms prove by a CSRF token that they come from a page.
        """
        found = services(scope)
        needs = self.needs
        if (
            needs is not None
            and (needs is Power.READ or self.is_page)
            and found.gate.needs_keys
            and not _has_authorization(scope)
        ):
            signed_in = await found.sessions.find(session_cookie(scope))
            if signed_in is not None:
                # Before the check: the page of a refusal shows who is signed in.
                scope["visitor"] = Visitor(signed_in.key, signed_in.session)
                found.gate.check(signed_in.key, needs)
                return
        scope["visitor"] = Visitor(found.gate.admit(scope, needs))


Routes = TypeVar("Routes", bound=Guarded)


def with_ids_in_query(routes: Sequence[Routes]) -> list[Routes]:
    """
    These routes, and those about a server once more with its server_id in the query.

    Clients and proxies resolve the segments `.` and `..` of a path, also when they are escaped.
    So servers with these names can only be reached by a path that does not contain them.
    """
    return [*routes, *(_by_id(each) for each in routes if "server_id" in each.param_convertors)]


def _by_id(route: Routes) -> Routes:
    twin = copy(route)
    twin.path = BY_ID + route.path.replace("/{server_id:path}", "")
    twin.path_regex, twin.path_format, twin.param_convertors = compile_path(twin.path)
    twin.id_in_query, twin._ending = True, b""  # noqa: SLF001 - it has the same class
    return twin


def _id_in_query(scope: Scope) -> str:
    """The server_id in the query. Raises Refusal when there is not exactly one."""
    try:
        text: str = scope["query_string"].decode("ascii")
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict")
    except ValueError:
        pairs = []  # other bytes would be read as the name of another server
    ids = [value for name, value in pairs if name == _ID]
    if len(ids) != 1:
        problem = Problem(_ID, "expected the server_id, once, in UTF-8")
        raise Refusal(400, "invalid_parameter", str(problem), errors=[problem])
    return ids[0]


def share_paths(routes: Iterable[BaseRoute]) -> None:
    """Tell each route which methods those with the same pattern take."""
    guarded = [each for each in routes if isinstance(each, Guarded)]
    for route in guarded:
        same = [each.methods or () for each in guarded if each.path == route.path]
        route.methods_of_path = frozenset().union(*same)


def _has_authorization(scope: Scope) -> bool:
    return any(name == b"authorization" for name, _ in scope["headers"])


def _is_text(scope: Scope) -> bool:
    """Whether a path is UTF-8; other bytes would be read as the name of another server."""
    if "\ufffd" not in scope["path"]:
        return True
    try:
        unquote_to_bytes(scope["raw_path"]).decode()
    except UnicodeDecodeError:
        return False
    return True

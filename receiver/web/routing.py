"""Routes that authenticate and authorise requests, and contain their OpenAPI description."""

from collections import defaultdict
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
"""The prefix of paths that name no server: the parameter `id` of the query does."""

_ID = "id"


class Guarded(Route):
    """
    A route that lets the `Gate` authenticate and authorise a request before its endpoint runs.

    An escaped slash in a path is part of an id: `/servers/a%2Fevents` is the server `a/events`, and
    not the events of `a`. A path that is not valid UTF-8 matches no route.

    A request goes to a route with the first path pattern that matches. When no route with this
    pattern has the method of the request, the answer is 405, even if a later pattern matches too.

    Args:
        needs: The permission that the key of the request must have; None if no key is needed.
        is_for_all: Whether everybody is served even before the first key is made. Other routes then
            serve only clients on the receiver's own machine, unless FLEET_OPEN=1 is set.
        describes: The operation for the OpenAPI document; None leaves the route out.
    """

    is_page = False
    """Whether a browser session may do all that its key may do here, and not only read."""

    id_in_query = False
    """Whether the query, and not the path, contains the server_id."""

    def __init__(
        self,
        *args: Any,
        needs: Power | None,
        is_for_all: bool = False,
        describes: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(*args, **options)
        self.needs = needs
        self.is_for_all = is_for_all
        self.describes = describes
        self.methods_of_path = frozenset(self.methods or ())
        """The methods of all routes with the same path pattern, as `share_paths` sets them."""
        self._beginning = _beginning(self.path)
        _, name, ending = self.path.rpartition("}")
        self._ending = ending.encode() if name else b""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] == "http":
            # A request tries one route after the other: this is a tenth of the time of a pattern.
            may_match = self._beginning in scope["path"]
            is_call = may_match and scope["raw_path"].endswith(self._ending)
            if not (is_call and _is_utf8(scope)):
                return Match.NONE, {}
        match, found = super().matches(scope)
        if match is Match.PARTIAL and scope["method"] not in self.methods_of_path:
            return Match.FULL, found  # `handle` answers with 405; later patterns are not tried
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
        Authenticate and authorise a request; put its `Visitor`, the client, into the scope.

        Raises Refusal for a request that may not do what the route needs. A browser session
        instead of a key is enough for reading, and on pages, whose forms have CSRF tokens, for
        everything that its key may do.
        """
        if self.is_for_all:
            return
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
                # Set before the check, because the error page shows who is signed in.
                scope["visitor"] = Visitor(signed_in.key, signed_in.session)
                found.gate.check(signed_in.key, needs)
                return
        scope["visitor"] = Visitor(found.gate.admit(scope, needs))


Routes = TypeVar("Routes", bound=Guarded)


def with_ids_in_query(routes: Sequence[Routes]) -> list[Routes]:
    """
    Return the routes, and for each route about a server a second one with its id in the query.

    Clients and proxies resolve the segments `.` and `..` of a path, even when they are escaped. So
    a server with such an id cannot be named in a path.
    """
    return [*routes, *(_by_id(each) for each in routes if "server_id" in each.param_convertors)]


def _by_id(route: Routes) -> Routes:
    second = copy(route)
    second.path = BY_ID + route.path.replace("/{server_id:path}", "")
    second.path_regex, second.path_format, second.param_convertors = compile_path(second.path)
    second.id_in_query = True
    second._beginning, second._ending = _beginning(second.path), b""  # noqa: SLF001 - a copy of an object of this module
    return second


def _beginning(pattern: str) -> str:
    """The text before the first parameter of a path pattern, which a path must contain to match."""
    return pattern.partition("{")[0]


def _id_in_query(scope: Scope) -> str:
    """The server_id in the query. Raises Refusal when there is not exactly one."""
    try:
        text: str = scope["query_string"].decode("ascii")
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict")
    except ValueError:
        pairs = []  # replacing invalid bytes would make another id
    ids = [value for name, value in pairs if name == _ID]
    if len(ids) != 1:
        problem = Problem(_ID, "expected the server_id, once, in UTF-8")
        raise Refusal(400, "invalid_parameter", str(problem), errors=[problem])
    return ids[0]


def share_paths(routes: Iterable[BaseRoute]) -> None:
    """Set `methods_of_path` of each `Guarded` to the methods of all routes with its pattern."""
    guarded = [each for each in routes if isinstance(each, Guarded)]
    methods: dict[str, set[str]] = defaultdict(set)
    for route in guarded:
        methods[route.path].update(route.methods or ())
    for route in guarded:
        route.methods_of_path = frozenset(methods[route.path])


def _has_authorization(scope: Scope) -> bool:
    return any(name == b"authorization" for name, _ in scope["headers"])


def _is_utf8(scope: Scope) -> bool:
    """Whether a path is valid UTF-8: servers replace invalid bytes, which makes another id."""
    if "\ufffd" not in scope["path"]:
        return True
    try:
        unquote_to_bytes(scope["raw_path"]).decode()
    except UnicodeDecodeError:
        return False
    return True

"""Routes that ask the gate whether to let a request in, and hold their OpenAPI description."""

from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote_to_bytes

from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Receive, Scope, Send

from receiver.domain.keys import Power
from receiver.web.context import Visitor, services
from receiver.web.cookies import session_cookie

__all__ = ["Guarded", "share_paths"]


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

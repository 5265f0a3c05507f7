"""
The heads of requests that were taken a moment ago.

Nearly all requests of a fleet begin with the same bytes: only Content-Length differs, and has few
values. Parsing the head of a message, and looking at it, takes as long as all else that the event
loop does for the message. So that is done once a second for each head.
"""

from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from receiver.web.messages import Posted

__all__ = ["KnownHead", "KnownHeads", "heads_of", "names_client"]


class KnownHead(NamedTuple):
    """
    What there is to know about a head.

    Attributes:
        posted: The endpoint, which has approved the head.
        scope: The ASGI scope of the first request that had the head.
        body_size: How many bytes the body has.
        names_client: Whether a proxy names the client in the head.
    """

    posted: Posted
    scope: dict[str, Any]
    body_size: int
    names_client: bool

    def scope_on(self, connection: HttpToolsProtocol) -> Any:
        """The ASGI scope of another request with this head, as uvicorn would make it."""
        scope = self.scope.copy()
        scope["server"] = connection.server
        scope["client"] = connection.client
        scope["scheme"] = connection.scheme
        scope["headers"] = scope["headers"].copy()
        scope["state"] = connection.app_state.copy()
        return scope


class KnownHeads:
    """
    The heads of requests that the connections of a server have taken, at most 1,000.

    They hold the secrets of clients, so somebody has to call `forget` every few seconds.
    """

    def __init__(self) -> None:
        self._heads: dict[bytes, KnownHead] = {}

    def find(self, data: bytes) -> tuple[KnownHead, bytes] | None:
        """The head and the body of a request; None if its head is not known or more is to come."""
        head, end, body = data.partition(_END)
        known = self._heads.get(head)
        if known is None or len(body) != known.body_size or not end:
            return None
        return known, body

    def remember(self, data: bytes, read: bytes, *, posted: Posted, scope: Any) -> None:
        """
        Remember the head of a request that was taken.

        Does nothing if the head is unusually long, or if the data is not simply a head and a body,
        such as a body in chunks.

        Args:
            data: All bytes of the request.
            read: What the parser has found to be the body.
            posted: The endpoint that takes the request.
            scope: Its ASGI scope.
        """
        if len(self._heads) >= _MOST_HEADS:
            return
        head, _, body = data.partition(_END)
        if body == read and len(head) <= _MOST_BYTES and scope.keys() == _KEYS:
            kept = {**scope, "headers": scope["headers"].copy()}
            self._heads[head] = KnownHead(posted, kept, len(body), names_client(scope["headers"]))

    def forget(self) -> None:
        """Forget all heads."""
        self._heads.clear()


def heads_of(server: ServerState) -> KnownHeads:
    """The known heads of a uvicorn server, which its connections share."""
    found = _heads.get(server)
    if found is None:
        found = _heads[server] = KnownHeads()
    return found


def names_client(headers: list[tuple[bytes, bytes]]) -> bool:
    """Whether there are headers by which uvicorn's middleware changes the client's address."""
    return any(name in _FORWARDED for name, _ in headers)


_heads: WeakKeyDictionary[ServerState, KnownHeads] = WeakKeyDictionary()

_FORWARDED = {b"x-forwarded-for", b"x-forwarded-proto"}
_END = b"\r\n\r\n"
_MOST_HEADS = 1000
_MOST_BYTES = 2048
_KEYS = {
    *("type", "asgi", "http_version", "root_path", "method", "path", "raw_path", "query_string"),
    *("server", "client", "scheme", "headers", "state"),  # of the connection, or copied
}
"""
What a scope contains, and `KnownHead.scope_on` knows about.

A newer uvicorn may add something that is different for each connection.
"""

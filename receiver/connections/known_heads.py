"""
The heads of requests that were taken a moment ago.

Parsing the head of a message, and looking at it, takes as long as all else that the event loop does
for the message. But a client that sends many messages begins them with the same bytes: only
Content-Length differs, and has few values. So that is done once a second for each head. It does
not help where a proxy gives each request a header of its own.
"""

from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from receiver.web.messages import Posted

__all__ = ["KnownHead", "KnownHeads", "heads_of"]


class KnownHead(NamedTuple):
    """
    What there is to know about a head.

    Attributes:
        posted: The endpoint, which has approved the head.
        common: Those items of an ASGI scope that all requests with this head have in common.
        headers: The headers.
        body_size: How many bytes the body has.
    """

    posted: Posted
    common: dict[str, Any]
    headers: list[tuple[bytes, bytes]]
    body_size: int

    def scope_on(self, connection: HttpToolsProtocol) -> Any:
        """The ASGI scope of another request with this head, as uvicorn would make it."""
        return {
            **self.common,
            "server": connection.server,
            "client": connection.client,
            "scheme": connection.scheme,
            "headers": self.headers.copy(),
            "state": connection.app_state.copy(),
        }


class KnownHeads:
    """
    The heads of requests that the connections of a server have taken.

    At most 1,000, and none of more than 2 KiB; with their headers they may take 20 MB. They hold
    the secrets of clients, so somebody has to call `forget` every few seconds.
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
        if body == read and len(head) <= _MOST_BYTES and scope.keys() == _COMMON | _OWN:
            common = {name: scope[name] for name in _COMMON}
            self._heads[head] = KnownHead(posted, common, scope["headers"].copy(), len(body))

    def forget(self) -> None:
        """Forget all heads."""
        self._heads.clear()


def heads_of(server: ServerState) -> KnownHeads:
    """The known heads of a uvicorn server, which its connections share."""
    found = _heads.get(server)
    if found is None:
        found = _heads[server] = KnownHeads()
    return found


_heads: WeakKeyDictionary[ServerState, KnownHeads] = WeakKeyDictionary()

_END = b"\r\n\r\n"
_MOST_HEADS = 1000
_MOST_BYTES = 2048
_COMMON = {
    "type",
    "asgi",
    "http_version",
    "root_path",
    "method",
    "path",
    "raw_path",
    "query_string",
}
_OWN = {"server", "client", "scheme", "headers", "state"}
"""
With `_COMMON`, all that a scope contains: these are of the connection, or copied.

A newer uvicorn may add something, which may be different for each connection.
"""

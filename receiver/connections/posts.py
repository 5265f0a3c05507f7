"""
An HTTP protocol for uvicorn that handles most requests without a task and without an ASGI call.

For each request, uvicorn makes a task, which calls the app, which awaits messages with the body and
sends two messages with the answer. That takes as long as storing a heartbeat. But the app needs
none of it for a heartbeat: it looks at the head, it gets the whole body, and it answers once.
"""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from uvicorn._types import ASGI3Application
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)
from uvicorn.protocols.utils import get_client_addr, get_path_with_query_string

from receiver.connections.joined_writes import JoinedWrites
from receiver.connections.known_heads import heads_of
from receiver.web.headers import begin, end
from receiver.web.messages import Posted

__all__ = ["TakesPosts"]


class TakesPosts(HttpToolsProtocol):
    """
    An HTTP connection that reads the bodies of requests for the endpoints `Posted` by itself.

    The app yields these endpoints in the state of its lifespan, as a mapping `posts` of paths to
    endpoints. Any other request is for the ASGI app, as usual: one to another path, one that the
    endpoint does not expect, one whose body takes too long to arrive, and one that has to wait for
    the answer to the request before it.

    Attributes:
        body_seconds: How long a body may take to arrive before the app is called for the request,
            which has a timeout of its own. It may be called some seconds later.
    """

    body_seconds = 1.0

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        found: Mapping[str, Posted] = self.app_state.get("posts", {})
        is_plain = self.limit_concurrency is None and not self.root_path
        self._posts = {path.encode(): found[path] for path in found} if is_plain else {}
        self._exchange: _Exchange | None = None
        """The current request while its body arrives, unless the app was called for it."""
        self.known_heads = heads_of(self.server_state)
        self._default_headers: list[tuple[bytes, bytes]] = []
        self._default_head = b""

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        # Without a reference to each other, connection and request are freed at once.
        self._exchange = self.cycle = None  # type: ignore[assignment]  # as before a request

    def on_headers_complete(self) -> None:
        posted = self._posts.get(self.url)
        if posted is None or not self._may_take():
            self.call_app()
            return
        scope: Any = self.scope
        scope["method"] = "POST"
        scope["path"] = self.url.decode("ascii")
        scope["raw_path"] = self.url
        scope["query_string"] = b""
        exchange = _Exchange(self, posted, scope)
        exchange.keep_alive = self.parser.should_keep_alive()
        if posted.expects(scope):
            # It has those attributes for which a connection asks its current cycle.
            self._exchange = self.cycle = exchange  # type: ignore[assignment]  # it stands for one
        else:
            self.call_app()

    def _may_take(self) -> bool:
        """Whether the current request needs nothing of what only uvicorn can do."""
        return (
            self.parser.get_method() == b"POST"
            and self.parser.get_http_version() == "1.1"
            and not self.expect_100_continue
            and not self.flow.write_paused  # a client that reads no answers has to wait
            and (self.cycle is None or self.cycle.response_complete)
        )

    def call_app(self) -> None:
        """Call the ASGI app for the request whose head has just arrived."""
        _on_headers_complete(self)
        self.cycle.transport = JoinedWrites(self.cycle)

    def call_app_if_slow(self, now: float) -> None:
        """
        Call the ASGI app for a request whose body has not arrived in time.

        A subclass must call this now and then, with the current time of the loop.
        """
        exchange = self._exchange
        if exchange is not None and now - exchange.begun_at > self.body_seconds:
            self._exchange = None
            exchange.call_app()

    def on_body(self, body: bytes) -> None:
        if self._exchange is None:
            _on_body(self, body)
        else:
            self._exchange.body += body

    def on_message_complete(self) -> None:
        if self._exchange is None:
            _on_message_complete(self)
        else:
            exchange, self._exchange = self._exchange, None
            self.take(exchange)

    @property
    def is_between_requests(self) -> bool:
        """Whether all that has arrived is answered, so that the next byte begins a request."""
        cycle = self.cycle
        if cycle is None:
            return self.scope is None
        return cycle.response_complete and not cycle.more_body and cycle.scope is self.scope

    def take_known(self, data: bytes) -> bool:
        """
        Take a request without the parser, if all of it has arrived and its head is known.

        Nothing is lost by that: between requests the parser is at its start, where it makes the
        same of the same bytes. Returns False if the parser has to read the data.

        Args:
            data: What has arrived while the connection `is_between_requests`.
        """
        found = self.known_heads.find(data)
        if found is None:
            return False
        head, body = found
        if self.flow.write_paused:
            return False
        self.scope = head.scope_on(self)
        exchange = _Exchange(self, head.posted, self.scope)
        exchange.body = body
        self.cycle = exchange  # type: ignore[assignment]  # it stands for one
        self.take(exchange)
        return True

    def remember(self, data: bytes) -> None:
        """
        Let `take_known` know the head of the current request, if the request was taken.

        Args:
            data: What the parser has read since the connection was last between requests.
        """
        exchange: Any = self.cycle
        if isinstance(exchange, _Exchange) and exchange.keep_alive:
            self.known_heads.remember(
                data, exchange.body, posted=exchange.posted, scope=exchange.scope
            )

    def take(self, exchange: "_Exchange") -> None:
        """Hand a request to its endpoint, when its body has arrived."""
        exchange.more_body = False
        exchange.posted.take(exchange.scope, exchange.body, exchange)

    def start(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        """Call an app for a request, as uvicorn does."""
        self._start_asgi_task(cycle, app)

    @property
    def is_logged(self) -> bool:
        """Whether the access log gets a line for each answer."""
        return self.access_log and self.access_logger.isEnabledFor(logging.INFO)

    @property
    def default_head(self) -> bytes:
        """The header lines that uvicorn adds to each answer, such as Date."""
        headers = self.server_state.default_headers
        if headers is not self._default_headers:  # uvicorn makes a new list each second
            self._default_headers = headers
            self._default_head = b"".join(b"%b: %b\r\n" % header for header in headers)
        return self._default_head


class _NoEvent:
    """What uvicorn sets to wake up the app; nothing waits for it here."""

    def set(self) -> None:
        pass


class _Exchange:
    """
    A request for which the app was not called, and its answer.

    Args:
        protocol: The connection.
        posted: The endpoint.
        scope: The ASGI scope of the request.

    Attributes:
        posted: The endpoint.
        scope: The ASGI scope of the request.
        begun_at: The time of the event loop at which the head had arrived.
        body: What has arrived of the body.
        more_body: Whether more of it is to come.
        keep_alive: Whether another request may follow on the connection.
        disconnected: Whether the client has gone.
        response_complete: Whether the answer is sent.
        message_event: What uvicorn sets when something happens.
    """

    message_event = _NoEvent()

    def __init__(self, protocol: TakesPosts, posted: Posted, scope: Any) -> None:
        self.posted = posted
        self.scope = scope
        self.begun_at = protocol.loop.time()
        self.body = b""
        self.more_body = True
        self.keep_alive = True
        self.disconnected = False
        self.response_complete = False
        self._protocol = protocol

    def answer(self, status: int, body: bytes) -> None:
        """Send the answer, a body in JSON; does nothing if the client has gone."""
        protocol = self._protocol
        self.response_complete = True
        if self.disconnected or protocol.transport.is_closing():
            return
        if protocol.is_logged:
            self._log(status)
        protocol.transport.write(
            b"%b%bcontent-type: application/json\r\ncontent-length: %d\r\n%b\r\n%b"
            % (
                STATUS_LINE[status],
                protocol.default_head,
                len(body),
                b"" if self.keep_alive else b"connection: close\r\n",
                body,
            )
        )
        if not self.keep_alive:
            protocol.transport.close()
        protocol.on_response_complete()

    def call_app(self) -> None:
        """Make the ASGI call for the request, which sends the answer."""
        protocol = self._protocol
        cycle = RequestResponseCycle(
            scope=self.scope,
            transport=protocol.transport,
            flow=protocol.flow,
            logger=protocol.logger,
            access_logger=protocol.access_logger,
            access_log=protocol.access_log,
            default_headers=protocol.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=self.keep_alive,
            on_response=protocol.on_response_complete,
        )
        cycle.transport = JoinedWrites(cycle)
        cycle.body += self.body
        cycle.more_body = self.more_body
        cycle.message_event.set()
        cycle.disconnected = self.disconnected or protocol.transport.is_closing()
        if protocol.cycle is self:  # type: ignore[comparison-overlap]  # it stands for a cycle
            protocol.cycle = cycle
        protocol.start(cycle, protocol.app)

    def _log(self, status: int) -> None:
        """Log the answer in the access log, as uvicorn does, with the id of the request."""
        begun = begin(self.scope)
        app = self._protocol.app
        if isinstance(app, ProxyHeadersMiddleware):
            _Named(app).name_client(self.scope)
        self._protocol.access_logger.info(
            '%s - "%s %s HTTP/%s" %d',
            get_client_addr(self.scope),
            self.scope["method"],
            get_path_with_query_string(self.scope),
            self.scope["http_version"],
            status,
        )
        end(begun)


class _Named(ProxyHeadersMiddleware):
    """The middleware by which uvicorn names the clients of proxies, without the app behind it."""

    def __init__(self, middleware: ProxyHeadersMiddleware) -> None:
        self.app = _no_app
        self.trusted_hosts = middleware.trusted_hosts

    def name_client(self, scope: Any) -> None:
        """Put the address that a proxy has named into a scope, if the proxy is trusted."""
        nothing: Any = None
        call: Any = self(scope, nothing, nothing)
        with suppress(StopIteration):  # it awaits nothing
            call.send(None)


async def _no_app(*_: object) -> None:
    pass


# These are called for each request, and `super()` would be slower.
_on_headers_complete = HttpToolsProtocol.on_headers_complete
_on_body = HttpToolsProtocol.on_body
_on_message_complete = HttpToolsProtocol.on_message_complete

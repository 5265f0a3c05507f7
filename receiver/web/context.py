"""What handlers find in the ASGI scope of a request: the app's services, and the client's key."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any

from attrs import frozen
from starlette.requests import Request
from starlette.types import Send

from receiver.access.browser_sessions import BrowserSessions
from receiver.access.gate import Gate
from receiver.access.key_mirror import KeyMirror
from receiver.domain.endpoints import Endpoints
from receiver.domain.keys import Key, Power
from receiver.domain.sessions import Session
from receiver.metrics.counters import Metrics
from receiver.metrics.exposition import Exposition
from receiver.service.alerts.alert_service import AlertService
from receiver.service.feed import Feed
from receiver.service.fleet import Fleet
from receiver.service.inventory.tool_index import ToolIndex
from receiver.service.problems.troubles import Troubles
from receiver.service.store_calls import StoreCalls
from receiver.store import SqlStore
from receiver.web.body_timeout import BodyTimeout

__all__ = ["Services", "Visitor", "services", "visitor"]


@frozen(kw_only=True)
class Services:
    """
    The parts of a running receiver that handlers use, created when the app starts.

    Attributes:
        store: The database; its methods block.
        calls: Calls the store's blocking methods in threads.
        fleet: Writes messages; reads servers and events.
        troubles: Finds the servers with which something is wrong.
        alerts: Makes and tests channels, through which people are told of alarms.
        tool_index: Counts the servers that offer each tool.
        endpoints: Which addresses of servers may be given to Prometheus and agents.
        feed: Hands new events to the open event streams.
        gate: Authenticates and authorises requests.
        mirror: The API keys, in memory.
        sessions: The sessions of people who have signed in with a browser.
        metrics: Counts requests, for `GET /metrics`.
        exposition: Makes the answer to `GET /metrics`, in the format that the client accepts.
        answer_agent: Answers a request of an AI agent that the gate has let in, as the MCP server
            of the receiver (`McpServer.handle`).
        registry_is_open: Whether everybody may read the MCP registry, without a key.
        registry_namespace: The first part of the names in the MCP registry.
        body_timeout: A context that limits how long the body of a request may take to arrive.
        clock: Returns the current time, in UTC.
        is_stopping: Returns whether the receiver was asked to stop. It still answers for a while
            then.
    """

    store: SqlStore
    calls: StoreCalls
    fleet: Fleet
    troubles: Troubles
    alerts: AlertService
    tool_index: ToolIndex
    endpoints: Endpoints
    feed: Feed
    gate: Gate
    mirror: KeyMirror
    sessions: BrowserSessions
    metrics: Metrics
    exposition: Exposition
    answer_agent: Callable[[Request, Send], Awaitable[None]]
    registry_is_open: bool
    registry_namespace: str
    body_timeout: BodyTimeout
    clock: Callable[[], datetime]
    is_stopping: Callable[[], bool]


@frozen
class Visitor:
    """
    The client of a request that the gate has let in.

    Attributes:
        key: The API key of the client; None when the request needs no key, because its route needs
            none or no key was ever made.
        session: The browser session that the key belongs to; None for a key in the header
            Authorization.
    """

    key: Key | None = None
    session: Session | None = None

    @property
    def signed_in(self) -> Key | None:
        """The key of a person who has signed in with a browser; None for other clients."""
        return self.key if self.session is not None else None

    @property
    def may_manage(self) -> bool:
        """
        Whether the client may do what administrators may.

        True without a key: as long as no key was made, everybody who is let in may. Routes that
        need no key afterwards must not ask.
        """
        return self.key is None or self.key.may(Power.MANAGE)


_NOBODY = Visitor()


def services(scope: Mapping[str, Any]) -> Services:
    """The services of the app, found in a request or its scope."""
    found: Services = scope["state"]["services"]
    return found


def visitor(scope: Mapping[str, Any]) -> Visitor:
    """
    The client of a request, found in the request or its scope.

    A client that the gate has not let in has neither a key nor a session.
    """
    found: Visitor = scope.get("visitor", _NOBODY)
    return found

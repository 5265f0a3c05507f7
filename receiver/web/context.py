"""What handlers find in the scope of a request: the services of the app, and who is asking."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from attrs import frozen

from receiver.access.browser_sessions import BrowserSessions
from receiver.access.gate import Gate
from receiver.access.key_mirror import KeyMirror
from receiver.domain.endpoints import Endpoints
from receiver.domain.keys import Key, Power
from receiver.domain.sessions import Session
from receiver.metrics.counters import Metrics
from receiver.metrics.exposition import Exposition
from receiver.service.feed import Feed
from receiver.service.fleet import Fleet
from receiver.service.store_calls import StoreCalls
from receiver.store import SqlStore
from receiver.web.body_timeout import BodyTimeout

__all__ = ["Services", "Visitor", "services", "visitor"]


@frozen(kw_only=True)
class Services:
    """
    What a running receiver consists of. It is wired once, when the app starts.

    Attributes:
        store: The database; its methods block.
        calls: How handlers call the methods of the store.
        fleet: The servers, as the API and the pages show them.
        endpoints: Which addresses of servers are handed on.
        feed: New events, for streams.
        gate: Which requests are let in.
        mirror: The keys.
        sessions: Who has signed in with a browser.
        metrics: Counts requests.
        exposition: The page for Prometheus.
        body_timeout: How long the body of a request may take to arrive.
        clock: The time.
    """

    store: SqlStore
    calls: StoreCalls
    fleet: Fleet
    endpoints: Endpoints
    feed: Feed
    gate: Gate
    mirror: KeyMirror
    sessions: BrowserSessions
    metrics: Metrics
    exposition: Exposition
    body_timeout: BodyTimeout
    clock: Callable[[], datetime]


@frozen
class Visitor:
    """
    Who sends a request that was let in.

    Attributes:
        key: The key of the request; None when it needs no key.
        session: The browser session that the key was found by.
    """

    key: Key | None = None
    session: Session | None = None

    @property
    def signed_in(self) -> Key | None:
        """The key of a person who has signed in with a browser."""
        return self.key if self.session is not None else None

    @property
    def may_manage(self) -> bool:
        """Whether the visitor may do what administrators may."""
        return self.key is None or self.key.may(Power.MANAGE)


_NOBODY = Visitor()


def services(scope: Mapping[str, Any]) -> Services:
    """The services of the app, found in a request or its scope."""
    found: Services = scope["state"]["services"]
    return found


def visitor(scope: Mapping[str, Any]) -> Visitor:
    """Who sends a request, found in the request or its scope."""
    found: Visitor = scope.get("visitor", _NOBODY)
    return found

"""Builds the ASGI app of the receiver from its parts. `uvicorn receiver.app:app` starts it."""

import gc
import logging
import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from datetime import datetime, timezone
from functools import partial
from multiprocessing import parent_process
from typing import Any

from attrs import frozen
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from contract import Event, FleetError
from receiver.access.browser_sessions import BrowserSessions
from receiver.access.gate import Gate
from receiver.access.key_mirror import KeyMirror
from receiver.domain.databases.silence import Rules
from receiver.domain.rate_limits import RateLimits
from receiver.draining import draining
from receiver.logs import Logs
from receiver.metrics.counters import Metrics
from receiver.metrics.exposition import Exposition
from receiver.service.alerts.alert_service import AlertService
from receiver.service.alerts.outbox import Pace
from receiver.service.alerts.watch import WatchTiming
from receiver.service.background import running
from receiver.service.clock import GivenClock, SharedClock
from receiver.service.decoding import Known
from receiver.service.feed import Feed, NewsSignal
from receiver.service.fleet import Fleet
from receiver.service.group_commit import Allowance, GroupCommit
from receiver.service.inventory.tool_index import ToolIndex
from receiver.service.problems.troubles import Troubles
from receiver.service.store_calls import StoreCalls
from receiver.service.watchdog import Timing, Watchdog
from receiver.settings import Settings, misspelt, read_settings
from receiver.store import SqlStore, listen
from receiver.web import api
from receiver.web.agents.mcp_server import McpServer
from receiver.web.body_timeout import BodyTimeout
from receiver.web.context import Services, services
from receiver.web.cookies import shows_secret
from receiver.web.headers import begin, with_headers
from receiver.web.messages import Posted
from receiver.web.pages import alerting, browse, forms, inventory, managing, pictures
from receiver.web.pages.rendering import error_page
from receiver.web.problems import exception_handlers
from receiver.web.routing import share_paths
from receiver.web.transfer.compression import Compressed

__all__ = ["Tuning", "app", "create_app"]

_log = logging.getLogger(__name__)


@frozen(kw_only=True)
class Tuning:
    """
    Constants of a receiver that no environment variable sets; tests use other values.

    Attributes:
        body_seconds: How many seconds the body of a request may take to arrive.
        absence_seconds: If no receiver has run for more than these seconds, the silence of each
            server is counted from zero, because servers could not send messages.
        limit_seconds: How long, in seconds, the window is of the rate limits that the settings call
            "per minute".
        look_seconds: How many seconds pass between two reads of the API keys that have changed.
        alert_seconds: How many seconds pass between two looks whether alarms begin or end. Messages
            about them that are due are looked for twice as often.
        sending_seconds: How many seconds one attempt to send a message about alarms may take.
        feed_seconds: How many seconds pass at most between two reads of new events for event
            streams. They are also read at once whenever a receiver tells that it has written some.
        most_streams: How many event streams (server-sent events) may be open at the same time.
        max_waiting_bytes: How many bytes of bodies may wait to be written to the database. When a
            body exceeds this, the newest bodies of the longest queue, of which each key has two,
            are answered with 503.
        transaction_seconds: About how many seconds a transaction that merges messages may take.
            The last message that it merges may make it twice as long.
        shared_seconds: What takes the place of `transaction_seconds` if the transaction merges
            messages of several keys, or if messages of another key wait for its end.
    """

    body_seconds: float = 10.0
    absence_seconds: float = 5.0
    limit_seconds: int = 60
    look_seconds: float = 2.0
    alert_seconds: float = 2.0
    sending_seconds: float = 30.0
    feed_seconds: float = 2.0
    most_streams: int = 1000
    max_waiting_bytes: int = 16 * 1024 * 1024
    transaction_seconds: float = 0.05
    shared_seconds: float = 0.02


def create_app(
    *,
    environ: Mapping[str, str] = os.environ,
    clock: Callable[[], datetime] | None = None,
    tuning: Tuning = Tuning(),
) -> Starlette:
    """
    Create the ASGI app of the receiver.

    The settings are read, and the database is opened, only when the app starts (its lifespan).

    Args:
        environ: The environment variables with the settings.
        clock: Returns the current time. None for the clock of the database server; SQLite has no
            server, so None stands for the clock of this machine there.
        tuning: Constants that no environment variable sets; only tests need other values.
    """
    logs = Logs()

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[Mapping[str, Any]]:
        _relieve_garbage_collector()
        settings = read_settings(environ)
        logs.begin(settings.log_format)
        for sentence in misspelt(environ):
            _log.warning("%s", sentence)
        shared = SharedClock(partial(datetime.now, timezone.utc))
        used = shared if clock is None else GivenClock(clock)
        async with _services(settings, used, tuning) as found:
            yield {"services": found, "posts": receiver.posts}

    receiver = Receiver(
        routes=[
            # First, because a path may be that of a page for browsers and of a call for programs.
            *inventory.routes(),
            *api.routes(),
            *forms.routes(),
            *alerting.routes(),
            *managing.routes(),
            *browse.routes(),
            *pictures.routes(),
        ],
        exception_handlers=exception_handlers(error_page),
        middleware=[
            Middleware(SayWhyNotStarted, logs=logs),
            Middleware(Compressed, shows_secret=shows_secret),
        ],
        lifespan=lifespan,
    )
    return receiver


@asynccontextmanager
async def _services(
    settings: Settings, clock: SharedClock | GivenClock, tuning: Tuning
) -> AsyncIterator[Services]:
    """
    Create the parts of a receiver, run its background tasks, and yield the parts.

    At the exit of this context manager, the tasks are stopped and the parts are closed.

    The function is long because it is the only place where the parts are put together.
    """
    with ExitStack() as opened:
        metrics = Metrics()
        metrics.join(parent_process(), str(settings.database_url))
        opened.callback(metrics.leave)
        limits = RateLimits(
            messages_per_window=settings.messages_per_minute,
            changes_per_hour=settings.changes_per_hour,
            failures_per_window=settings.failures_per_minute,
            window_seconds=tuning.limit_seconds,
        )
        news = NewsSignal()

        def on_events(events: Sequence[Event]) -> None:
            metrics.happened(events)
            news.set()

        store = SqlStore(
            settings.database_url,
            servers_per_key=settings.servers_per_key,
            budget=limits,
            on_events=on_events,
        )
        opened.callback(store.close)
        store.mend_tallies()
        mirror = KeyMirror(store, limits, clock=clock, read_seconds=tuning.look_seconds)
        opened.callback(mirror.close)
        allowance = Allowance(tuning.transaction_seconds, tuning.shared_seconds)
        group_commit = GroupCommit(
            metrics.timed(partial(store.servers.apply, allowed=allowance)),
            limits,
            known=Known(store.servers.known),
            allowance=allowance,
            max_waiting_bytes=tuning.max_waiting_bytes,
        )
        opened.callback(group_commit.close)
        calls = StoreCalls(lull=group_commit.lull)
        opened.callback(calls.close)
        timing = Timing(
            rules=Rules(share=settings.silent_share),
            retention=settings.event_retention,
            forget_after=settings.forget_after,
            absence_seconds=tuning.absence_seconds,
        )
        watchdog = Watchdog(
            store,
            timing,
            clock=clock,
            compare=clock.compare,
            elapsed=clock.elapsed,
            taken=metrics.taken,
        )
        opened.callback(watchdog.close)
        fleet = Fleet(
            store,
            calls,
            group_commit,
            clock=clock,
            watchdog=watchdog,
            lapsed_keys=mirror.lapsed,
        )
        alerts = AlertService(
            store,
            calls,
            box=settings.secret_box,
            allowed=settings.alert_addresses,
            clock=clock,
            trouble=fleet.trouble,
            public_url=settings.public_url,
            ping_url=settings.ping_url,
            pace=Pace(look_seconds=tuning.alert_seconds / 2, seconds=tuning.sending_seconds),
            timing=WatchTiming(
                look_seconds=tuning.alert_seconds, retention=settings.event_retention
            ),
        )
        troubles = Troubles(
            store, clock=clock, lapsed_keys=mirror.lapsed, expired_keys=mirror.expired
        )
        feed = Feed(
            store,
            calls,
            news,
            seconds=tuning.feed_seconds,
            most_followers=tuning.most_streams,
        )
        agents = McpServer(feed)
        found = Services(
            store=store,
            calls=calls,
            fleet=fleet,
            troubles=troubles,
            alerts=alerts,
            tool_index=ToolIndex(store.inventory, calls),
            endpoints=settings.endpoints,
            feed=feed,
            gate=Gate(mirror, limits, clock=clock, is_open=settings.open),
            mirror=mirror,
            sessions=BrowserSessions(
                store,
                secret=store.sessions.secret("signing"),
                calls=calls,
                mirror=mirror,
                clock=clock,
                lifetime=settings.session,
            ),
            metrics=metrics,
            is_stopping=opened.enter_context(draining(settings.drain)),
            exposition=Exposition(
                metrics,
                lambda: calls.read(store.servers.vitals, clock()),
                clock=clock,
                waiting=group_commit.waiting,
                trouble=fleet.trouble,
                alerts=lambda: (alerts.open_alarms, alerts.counts),
            ),
            answer_agent=agents.handle,
            registry_is_open=settings.registry_is_open,
            registry_namespace=settings.registry_namespace,
            body_timeout=BodyTimeout(tuning.body_seconds),
            clock=clock,
        )
        # uvicorn leaves the context when all clients that wait have their answers. A message whose
        # sender has gone may be lost: nobody was told that it counts.
        async with running(
            group_commit=group_commit.run(),
            key_mirror=mirror.run(),
            watchdog=watchdog.run(),
            feed=feed.run(),
            exposition=found.exposition.run(),
            listen=listen(settings.database_url, news.set),
            agents=agents.run(),
            alert_watch=alerts.run_watch(),
            alert_outbox=alerts.run_outbox(),
            alert_ping=alerts.run_ping(),
        ):
            yield found


def _relieve_garbage_collector() -> None:
    """
    Make garbage collections rare, because all requests wait while one scans the cached rows.

    Objects that exist before the start are never scanned (`gc.freeze`), and the short-lived objects
    of a batch of messages are too few to start a collection.
    """
    gc.freeze()
    gc.set_threshold(50_000, 10, 10)


class Receiver(Starlette):
    """
    A Starlette app that calls the endpoints of registrations and heartbeats directly.

    Requests to them skip the middleware and the router, which would take as long as decoding a
    message.

    Attributes:
        posts: These endpoints by their paths. A server that finds them in the state of the lifespan
            can hand requests to them without calling the app.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        share_paths(self.routes)
        self.posts: Mapping[str, Posted] = {
            route.path: route.endpoint
            for route in self.routes
            if isinstance(route, Route) and isinstance(route.endpoint, Posted)
        }
        self.router.redirect_slashes = False
        self.router.default = self._not_found

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            begin(scope)
            if scope["method"] == "POST" and scope["path"] in self.posts:
                await self.posts[scope["path"]](scope, receive, send)
                return
            send = with_headers(scope, send)
        await super().__call__(scope, receive, send)

    async def _not_found(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            services(scope).gate.admit(scope, None)
        await self.router.not_found(scope, receive, send)


class SayWhyNotStarted:
    """
    Middleware that tells the ASGI server the text of the FleetError which made a start fail.

    The ASGI server would otherwise log a traceback. When the lifespan of the app ends, the
    middleware also undoes the changes to the configuration of logging, by `logs.end`.
    """

    def __init__(self, app: ASGIApp, *, logs: Logs) -> None:
        self._app = app
        self._logs = logs

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def say(message: Message) -> None:
            error = sys.exc_info()[1]
            if message["type"] == "lifespan.startup.failed" and isinstance(error, FleetError):
                message = {**message, "message": str(error)}
            await send(message)

        if scope["type"] != "lifespan":
            await self._app(scope, receive, send)
            return
        try:
            await self._app(scope, receive, say)
        finally:
            self._logs.end()


app = create_app()

"""The receiver. `uvicorn receiver.app:app` starts it; this is where it is wired together."""

import asyncio
import gc
import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timezone
from multiprocessing import parent_process
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from contract import FleetError
from receiver.access.browser_sessions import Signing
from receiver.access.gate import Door
from receiver.domain.rate_limits import Limits
from receiver.logs import Logs
from receiver.metrics.exposition import Exposition, Metrics
from receiver.service.feed import Feed, listen
from receiver.service.fleet import Fleet
from receiver.service.group_commit import Writer
from receiver.service.watchdog import Habits, Watch
from receiver.settings import read_settings
from receiver.store.silence import Rules
from receiver.store.sql_store import SqlStore
from receiver.web import admin_api as administration
from receiver.web import api
from receiver.web.api import Posted
from receiver.web.body_timeout import Patience
from receiver.web.headers import begin, dressed
from receiver.web.pages import forms as people
from receiver.web.pages import views as pages
from receiver.web.problems import exception_handlers

__all__ = ["app", "create_app"]


def create_app(  # noqa: PLR0913 - all by name, all optional
    *,
    environ: Mapping[str, str] = os.environ,
    clock: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
    body_seconds: float = 10.0,
    absence_seconds: float = 30.0,
    limit_seconds: int = 60,
    look_seconds: float = 2.0,
) -> Starlette:
    """
    The receiver as an ASGI app; a body must arrive within so many seconds.

    After a pause of `absence_seconds` the silence of servers begins anew. What may come in
    a minute may come in `limit_seconds`. Every `look_seconds` it looks for other keys.
    Settings are read and the database is opened when it starts, not here.
    """
    patience = Patience(body_seconds)
    metrics = Metrics()
    logs = Logs()

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        _let_the_collector_rest()
        patience.begin()
        settings = read_settings(environ)
        logs.begin(settings.log_format)
        metrics.join(parent_process(), str(settings.database_url))
        limits = Limits(
            messages=settings.messages_per_minute,
            changes=settings.changes_per_hour,
            failures=settings.failures_per_minute,
            seconds=limit_seconds,
        )
        store = SqlStore(
            settings.database_url,
            servers_per_key=settings.servers_per_key,
            budget=limits,
        )
        app.state.door = door = Door(
            store, limits, clock=clock, is_open=settings.open, look_seconds=look_seconds
        )
        writer = Writer(metrics.timed(store.apply), limits)
        rules = Rules(share=settings.silent_share)
        habits = Habits(
            rules=rules, retention=settings.event_retention, absence_seconds=absence_seconds
        )
        watch = Watch(store, habits, clock=clock)
        feed = Feed(store)
        store.on_events = metrics.happened
        store.on_news = feed.wake
        app.state.fleet = fleet = Fleet(
            store, writer, clock=clock, heard_since=lambda: watch.heard_since
        )
        app.state.signing = signing = Signing(
            store.secret("signing"), fleet, door, lifetime=settings.session
        )
        door.session = signing.find
        app.state.feed = feed
        app.state.exposition = exposition = Exposition(metrics, fleet, waiting=writer.waiting)
        running = (
            writer.run(),
            door.run(),
            watch.run(),
            feed.run(),
            exposition.run(),
            listen(settings.database_url, feed.wake),
        )
        tasks = [asyncio.create_task(each) for each in running]
        try:
            yield
        finally:
            # Whoever sent a message has had the answer by now: nothing waits any more.
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            watch.close()
            writer.close()
            door.close()
            store.close()
            metrics.leave()

    return Receiver(
        routes=[
            # Before the calls for a server, whose id may hold slashes.
            *administration.routes(patience),
            *api.routes(patience, metrics),
            *people.routes(patience),
            *pages.routes(),
        ],
        exception_handlers=exception_handlers(),
        middleware=[Middleware(SayWhyNotStarted, logs=logs)],
        lifespan=lifespan,
    )


def _let_the_collector_rest() -> None:
    """
    Spare the garbage collector what stays, and what comes and goes with each crowd.

    A full collection looks at every row that is remembered, and everybody waits for it.
    """
    gc.freeze()
    gc.set_threshold(50_000, 10, 10)


class Receiver(Starlette):
    """
    An app that hands what is posted to who takes it, past the middleware and the router.

    A posted message needs neither, and they cost it as much as the decoding.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._posts = {
            route.path: route.app
            for route in self.routes
            if isinstance(route, Route) and isinstance(route.endpoint, Posted)
        }
        self.router.redirect_slashes = False
        self.router.default = self._nothing_here

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            begin(scope)
            if scope["method"] == "POST" and scope["path"] in self._posts:
                scope["app"] = self
                await self._posts[scope["path"]](scope, receive, send)
                return
            send = dressed(scope, send)
        await super().__call__(scope, receive, send)

    async def _nothing_here(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            self.state.door.admit(scope, None)
        await self.router.not_found(scope, receive, send)


class SayWhyNotStarted:
    """
    Middleware that ends a failed start with a sentence where there is one, not a traceback.

    It goes to the log as that is while the receiver runs; afterwards that is as it was.
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

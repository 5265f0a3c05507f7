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
from receiver import api, pages
from receiver.api import Posted
from receiver.feed import Feed, listen
from receiver.fleet import Fleet
from receiver.metrics import Exposition, Metrics
from receiver.patience import Patience
from receiver.problems import exception_handlers
from receiver.settings import read_settings
from receiver.store import SqlStore
from receiver.sweep import Rules
from receiver.watch import Habits, Watch
from receiver.writer import Writer

__all__ = ["app", "create_app"]


def create_app(
    *,
    environ: Mapping[str, str] = os.environ,
    clock: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
    body_seconds: float = 10.0,
    absence_seconds: float = 30.0,
) -> Starlette:
    """
    The receiver as an ASGI app; a body must arrive within so many seconds.

    After a pause of `absence_seconds` the silence of servers begins anew.
    Settings are read and the database is opened when it starts, not here.
    """
    patience = Patience(body_seconds)
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        _let_the_collector_rest()
        patience.begin()
        settings = read_settings(environ)
        metrics.join(parent_process(), str(settings.database_url))
        store = SqlStore(settings.database_url)
        writer = Writer(metrics.timed(store.apply))
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
        app.state.feed = feed
        app.state.exposition = exposition = Exposition(metrics, fleet, waiting=writer.waiting)
        running = (
            writer.run(),
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
            store.close()
            metrics.leave()

    return Receiver(
        routes=[*api.routes(patience, metrics), *pages.routes()],
        exception_handlers=exception_handlers(),
        middleware=[Middleware(SayWhyNotStarted)],
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

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST" and scope["path"] in self._posts:
            scope["app"] = self
            await self._posts[scope["path"]](scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


class SayWhyNotStarted:
    """Middleware that ends a failed start with a sentence where there is one, not a traceback."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def say(message: Message) -> None:
            error = sys.exc_info()[1]
            if message["type"] == "lifespan.startup.failed" and isinstance(error, FleetError):
                message = {**message, "message": str(error)}
            await send(message)

        await self._app(scope, receive, say if scope["type"] == "lifespan" else send)


app = create_app()

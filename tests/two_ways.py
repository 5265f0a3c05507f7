"""Test helper: a fleet that commands reach by its database and over HTTP."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import httpx
from starlette.requests import Request
from starlette.responses import Response

from commanding import Command
from keyring import keep, made
from receiver.app import Tuning, create_app
from servers import ANY_PAUSE_SECONDS, serve
from watched import Watched

__all__ = ["HOSTILE", "Ways", "answering", "serving"]

HOSTILE = "evil\u202e_web-1"
"""The id of a server that would reverse what a terminal shows."""


class Ways(NamedTuple):
    """
    The two ways to reach a fleet.

    Attributes:
        database: Runs commands by the database.
        http: Runs them over HTTP, with an administrator's key.
        client: A client of the receiver, with the same key.
    """

    database: Command
    http: Command
    client: httpx.Client

    def agree(self, *arguments: str) -> list[str]:
        """Run a command in both ways; asserts that they say the same, and returns it."""
        by_database, over_http = self.database(*arguments), self.http(*arguments)
        assert by_database == over_http
        assert 0 == over_http.status, over_http.explained
        return over_http.said


@contextmanager
def serving(database_url: str, fleet: Watched, **settings: str) -> Iterator[Ways]:
    """Run a receiver with one key, an administrator's."""
    key, token = made("admin", now=fleet.now)
    keep(database_url, key)
    environ = {"FLEET_DATABASE_URL": database_url, **settings}
    tuning = Tuning(absence_seconds=ANY_PAUSE_SECONDS, look_seconds=0.05)
    with serve(create_app(environ=environ, clock=fleet.clock, tuning=tuning)) as client:
        client.headers["Authorization"] = f"Bearer {token}"
        there = {"FLEET_URL": str(client.base_url), "FLEET_KEY": token}
        yield Ways(Command(environ, fleet.clock), Command(there, fleet.clock), client)


@contextmanager
def answering(answer: Callable[[Request], Response]) -> Iterator[str]:
    """Run a server that answers each request by a function; yields its URL."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        await answer(Request(scope, receive))(scope, receive, send)

    with serve(app) as client:
        yield str(client.base_url)

"""Static files: how much work a request without a key may cause."""

import time
from collections.abc import Iterator

import httpx
import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from receiver.app import Tuning, create_app
from servers import ANY_PAUSE_SECONDS, Clock, serve

FILE = "/static/fleet.css"
RANGES = "bytes=" + ",".join(f"{n}-{n}" for n in range(0, 7000, 2))
"""3,500 ranges that do not touch each other: as many as fit into the headers of a request."""


class Measured:
    """
    An app, and what it does for the last request.

    Attributes:
        messages: How many parts of the answer it has sent. Each part of a file is read in a thread.
        seconds: How much processor time its thread took until it sent the last part.
    """

    messages = 0
    seconds = 0.0

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begin = time.thread_time()
        self.messages = 0

        async def measure(message: Message) -> None:
            self.messages += 1
            self.seconds = time.thread_time() - begin
            await send(message)

        await self._app(scope, receive, measure)


@pytest.fixture
def app(sqlite_url: str, clock: Clock) -> Measured:
    environ = {"FLEET_DATABASE_URL": sqlite_url}
    tuning = Tuning(absence_seconds=ANY_PAUSE_SECONDS)
    return Measured(create_app(environ=environ, clock=clock, tuning=tuning))


@pytest.fixture
def receiver(app: Measured) -> Iterator[httpx.Client]:
    with serve(app) as client:
        yield client


def test_many_ranges_of_a_file_cost_little_more_than_none(
    receiver: httpx.Client, app: Measured
) -> None:
    """With older versions of Starlette, such a request keeps a core busy for seconds."""
    plain = {"Accept-Encoding": "identity"}
    contents: set[bytes] = set()
    messages: set[int] = set()
    seconds: dict[bool, list[float]] = {False: [], True: []}
    for has_ranges in 3 * [False, True]:
        ranges = {"Range": RANGES} if has_ranges else {}
        answer = receiver.get(FILE, headers={**plain, **ranges})
        assert 200 == answer.status_code
        contents.add(answer.content)
        messages.add(app.messages)
        seconds[has_ranges].append(app.seconds)

    assert (1, 1) == (len(contents), len(messages))
    assert min(seconds[True]) < 50 * min(seconds[False])

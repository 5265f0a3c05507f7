"""Test helper: real receivers on real sockets."""

import asyncio
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ports import free_port
from receiver.connections import Careful
from receiver.web.context import Services

NO_AUTHORITIES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For clients of http:// URLs: httpx would load all certificate authorities, for 40 ms each."""

PATIENCE_SECONDS = 60.0
"""How long a test waits for what takes a moment, unless other programs slow the machine down."""

SLOW_SECONDS = 20
"""
How long a worker process of uvicorn may take to begin and to answer the process that starts it.

After that it is killed. By default it has five seconds, which a busy machine takes to import all.
"""

DIRECT: dict[str, Any] = {
    "trust_env": False,
    "verify": NO_AUTHORITIES,
    "timeout": PATIENCE_SECONDS,
}
"""httpx's options for http:// URLs on this machine: no proxy, and no haste on a busy machine."""

ANY_PAUSE_SECONDS = 1e9
"""
A value for `absence_seconds` that switches off the receiver's detection of its own downtime.

A receiver takes a longer jump of the clock for downtime, and no test moves its clock by as much.
"""


class Clock:
    """A clock that stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@contextmanager
def serve(app: ASGIApp, **options: Any) -> Iterator[httpx.Client]:
    """
    Run an app under uvicorn, with its options, in a thread; yields a client for it.

    By itself, uvicorn uses the protocol that `odoo-mcp-fleet serve` tells it to use.

    A receiver has looked for silent servers then. It counts their silence from its first look on,
    so a look after a test had moved the clock would count nothing of the time before.
    """
    # A connection that is idle for long, as while a test waits, is not closed under a request.
    options = {"timeout_keep_alive": int(PATIENCE_SECONDS), "http": Careful, **options}
    server = Prompt(uvicorn.Config(app, port=0, log_level="warning", **options))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        server.wait_until_started()
        server.wait_until_watching()
        port = server.servers[0].sockets[0].getsockname()[1]
        with httpx.Client(
            base_url=f"http://127.0.0.1:{port}",
            **DIRECT,
        ) as client:
            yield client
    finally:
        server.end()
        thread.join(PATIENCE_SECONDS)


class Observed:
    """
    An app whose services a test can reach while it is served.

    Attributes:
        services: What the running receiver consists of.
    """

    services: Services

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def observe(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete":
                self.services = scope["state"]["services"]
            await send(message)

        await self._app(scope, receive, observe)


class Prompt(uvicorn.Server):
    """
    uvicorn's server without its sleeps, which would slow down hundreds of tests.

    uvicorn checks `should_exit` ten times a second, and sleeps again during its shutdown.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._has_begun = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            super().run(sockets)
        finally:
            self._has_begun.set()  # or a failed start would block wait_until_started

    def wait_until_started(self) -> None:
        assert self._has_begun.wait(PATIENCE_SECONDS), "the receiver takes too long to start"
        assert self.started, "the receiver has not started; its log says why"

    def wait_until_watching(self) -> None:
        """Wait until the receiver has begun to look for silent servers, or cannot do so."""
        found = self.lifespan.state.get("services")
        if isinstance(found, Services):
            fleet = found.fleet
            wait_until(
                lambda: fleet.heard_since() is not None or fleet.trouble() is not None, every=0.001
            )

    def end(self) -> None:
        """Ask the server to shut down, from another thread; harmless if it has ended already."""
        self.should_exit = True
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop is closed already
                self._loop.call_soon_threadsafe(self._ended.set)

    async def main_loop(self) -> None:
        self._ended = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        ticks = asyncio.ensure_future(super().main_loop())
        await asyncio.sleep(0)  # the first tick sets the Date header that answers need
        self._has_begun.set()
        ended = asyncio.ensure_future(self._ended.wait())
        await asyncio.wait({ticks, ended}, return_when=asyncio.FIRST_COMPLETED)
        for each in (ticks, ended):
            each.cancel()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        assert sockets is None, "the server has opened its own sockets"
        for server in self.servers:
            server.close()
        for connection in [*self.server_state.connections]:
            connection.shutdown()
        while self.server_state.connections or self.server_state.tasks:  # noqa: ASYNC110 - as uvicorn
            await asyncio.sleep(0.002)
        for server in self.servers:
            await server.wait_closed()
        await self.lifespan.shutdown()


class Process:
    """
    A receiver in a process of its own, started by the uvicorn command with options.

    Attributes:
        app: Where uvicorn finds the app.
    """

    app = "receiver.app:app"

    def __init__(self, folder: Path, *options: str, **environ: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "receiver.log"
        with self.log.open("a") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "uvicorn", self.app),
                    *(f"--port={self.port}", f"--timeout-worker-healthcheck={SLOW_SECONDS}"),
                    *options,
                ],
                cwd=folder,
                env={**os.environ, **environ},
                stdout=log,
                stderr=log,
            )

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def wait_until_healthy(self) -> None:
        try:
            with httpx.Client(**DIRECT) as client:
                wait_until(lambda: self._is_healthy(client))
        except BaseException:
            self.kill()  # or the process would outlive the tests
            raise

    def kill(self) -> None:
        """Kill the process by SIGKILL."""
        self._process.kill()
        self._process.wait()

    def terminate(self) -> None:
        """Ask the process to exit by SIGTERM, as a service manager does."""
        self._process.terminate()

    def wait(self) -> int:
        """Wait until the process has exited; returns its exit status."""
        return self._process.wait(PATIENCE_SECONDS)

    def _is_healthy(self, client: httpx.Client) -> bool:
        if self._process.poll() is not None:
            raise AssertionError(f"the receiver ended: {self.log.read_text()}")
        try:
            return client.get(f"{self.url}/health").status_code == 200
        except httpx.TransportError:
            return False


@contextmanager
def receiver_process(folder: Path, *options: str, **environ: str) -> Iterator[Process]:
    """Run a receiver in a process of its own, with options; yields it when it is healthy."""
    process = Process(folder, *options, **environ)
    try:
        process.wait_until_healthy()
        yield process
    finally:
        process.kill()


def wait_until(holds: Callable[[], bool], *, every: float = 0.02) -> None:
    """
    Poll `holds` until it is true. Raises AssertionError after PATIENCE_SECONDS.

    Args:
        holds: What is waited for.
        every: How many seconds pass between two calls.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        if time.monotonic() > deadline:
            raise AssertionError(f"not so within {PATIENCE_SECONDS} seconds")
        time.sleep(every)

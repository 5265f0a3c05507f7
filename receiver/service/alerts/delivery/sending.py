"""Starts a process for each message that is sent, and ends it when it takes too long."""

import asyncio
import logging
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE

import orjson
from attrs import asdict

from receiver.domain.endpoints import Endpoints
from receiver.service.alerts.delivery.child import Task
from receiver.service.alerts.delivery.message import Message, Result

__all__ = ["Sender"]

_log = logging.getLogger(__name__)


class Sender:
    """
    Sends messages, each in a process of its own; see `receiver.service.alerts.delivery.child`.

    Each coroutine returns None if it succeeded; otherwise the reason why not, as a text for people
    in which the secrets of the URL are masked. When a coroutine is cancelled, its process is
    killed.

    Args:
        allowed: The hosts to which messages may be sent.
        seconds: After how many seconds the process of a message is killed.
    """

    def __init__(self, allowed: Endpoints, *, seconds: float = 30.0) -> None:
        self._allowed = _text(allowed)
        self._seconds = seconds

    async def post(self, url: str, secret: str, message: Message) -> str | None:
        """Send a message to the webhook at `url`, signed with its `secret`."""
        return await self._run("webhook", url, secret=secret, message=message)

    async def notify(self, url: str, message: Message) -> str | None:
        """Send a message through a service that Apprise knows, by Apprise's URL for it."""
        return await self._run("apprise", url, message=message)

    async def check(self, url: str) -> str | None:
        """Find out, without sending anything, whether Apprise can use a URL."""
        return await self._run("apprise", url)

    async def ping(self, url: str) -> str | None:
        """Send a GET request to a URL; its host need not be among those that are allowed."""
        return await self._run("webhook", url, allowed=_ANY_HOST)

    async def _run(
        self,
        do: str,
        url: str,
        *,
        secret: str = "",
        message: Message | None = None,
        allowed: str | None = None,
    ) -> str | None:
        task = Task(
            do=do,
            url=url,
            secret=secret,
            allowed=self._allowed if allowed is None else allowed,
            seconds=self._seconds + _GRACE_SECONDS,
            message=message,
        )
        try:
            answer = await self._answer(orjson.dumps(asdict(task)))
        except TimeoutError:
            return f"it took longer than {self._seconds:g} seconds"
        except OSError as error:  # there is no memory, or no file descriptor, for a process
            return f"the process that sends messages could not be started: {error}"
        if not answer:
            return "the process that sends messages has crashed"
        result = Result(**orjson.loads(answer))
        if result.warning is not None and message is not None:
            _log.warning("Not everybody has got the message %s: %s", message.id, result.warning)
        return result.error

    async def _answer(self, task: bytes) -> bytes:
        """Let a process carry out a task; raises TimeoutError and OSError."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "receiver.service.alerts.delivery.child"),
            env=_environ(),
            stdin=PIPE,
            stdout=PIPE,
            stderr=DEVNULL,
        )
        try:
            async with asyncio.timeout(self._seconds):
                answer, _ = await process.communicate(task)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return answer


def _environ() -> dict[str, str]:
    """
    The environment of the process: without the receiver's secrets, and without proxies.

    A proxy would connect to hosts that are not allowed.
    """
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("FLEET_", "APPRISE_")) and not name.lower().endswith("_proxy")
    }


def _text(allowed: Endpoints) -> str:
    """The text of an allow list, as `Endpoints.of` reads it."""
    return ",".join([*allowed.names, *map(str, allowed.networks)])


_GRACE_SECONDS = 5.0
"""How much later a process ends by itself, when no receiver is left that could kill it."""

_ANY_HOST = (
    "*,localhost,*.localhost,metadata.google.internal,"
    "0.0.0.0/0,::/0,127.0.0.0/8,::1/128,169.254.0.0/16,fe80::/10"
)

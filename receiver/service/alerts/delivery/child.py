"""
Sends one message, or tries out one URL, in a process of its own.

The receiver starts it as `python -m receiver.service.alerts.delivery.child`, writes a `Task` to its
standard input as JSON, and reads a `Result` from its standard output. So a service that hangs, and
code that crashes or takes much memory, does not touch the receiver.
"""

import gc
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress

import orjson
from attrs import asdict, field, frozen

from receiver.domain.endpoints import Endpoints
from receiver.service.alerts.delivery import webhook
from receiver.service.alerts.delivery.addresses import redacted
from receiver.service.alerts.delivery.guard import Guard
from receiver.service.alerts.delivery.message import Message, Result

__all__ = ["Task", "carry_out", "main"]


@frozen(kw_only=True)
class Task:
    """
    What the process does.

    Attributes:
        do: How the message is sent: `apprise` or `webhook`.
        url: Where the message is sent.
        secret: What the message to a webhook is signed with; empty for `apprise`.
        allowed: The allow list of hosts, as `Endpoints.of` reads it.
        seconds: After this time the process ends, whatever it does.
        message: The message. If it is None, nothing is sent: `apprise` finds out only whether
            Apprise can use `url`, and `webhook` makes a GET request to `url`.
    """

    do: str
    url: str = field(repr=False)
    secret: str = field(default="", repr=False)
    allowed: str
    seconds: float
    message: Message | None = None


def main(asked: bytes, *, add_hook: Callable[[Guard], None], end: Callable[[int], None]) -> bytes:
    """
    Carry out a task, and return the result.

    Args:
        asked: A `Task` as JSON.
        add_hook: Makes a `Guard` the audit hook of this process.
        end: Ends this process with an exit status. It is called when the task takes too long: the
            receiver, which kills such a process, may have been killed itself.

    Returns:
        A `Result` as JSON.
    """
    decoded = orjson.loads(asked)
    message = decoded.pop("message")
    task = Task(**decoded, message=None if message is None else Message(**message))
    timer = threading.Timer(task.seconds, end, [1])
    timer.daemon = True
    timer.start()
    try:
        return orjson.dumps(asdict(carry_out(task, add_hook)))
    finally:
        timer.cancel()


def carry_out(task: Task, add_hook: Callable[[Guard], None]) -> Result:
    """
    Carry out a task. An error does not escape: it becomes the `error` of the result.

    Args:
        task: The task.
        add_hook: Makes a `Guard` the audit hook of this process.
    """
    allowed = Endpoints.of(task.allowed)
    guard = Guard(allowed)
    try:
        result = _carry_out(task, allowed, lambda: add_hook(guard))
    except Exception as failure:  # noqa: BLE001 - the receiver notes it, and tries again
        result = Result(error=f"{type(failure).__name__}: {failure}")
    guard.allow_files()
    if result.error is not None and guard.refusal is not None:
        return Result(error=guard.refusal)
    return Result(error=_shown(result.error, task.url), warning=_shown(result.warning, task.url))


def _shown(said: str | None, url: str) -> str | None:
    return None if said is None else redacted(said, url)[:_LONGEST]


def _carry_out(task: Task, allowed: Endpoints, arm: Callable[[], None]) -> Result:
    if task.do == "apprise":
        # It takes a second, and a webhook does not need it.
        from receiver.service.alerts.delivery import chat  # noqa: PLC0415 - see above

        arm()
        return chat.send(task.url, task.message, allowed=allowed, seconds=task.seconds)
    arm()
    if task.message is None:
        return Result(error=webhook.ping(task.url))
    return Result(error=webhook.post(task.url, task.secret, task.message))


_LONGEST = 1000
"""How many characters of an error or a warning are kept."""

if __name__ == "__main__":
    # What a package prints must not mix with the result.
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as output:
        sys.stdout = sys.stderr
        gc.disable()  # in a process that ends so soon, most of what it would scan are new modules
        # Windows has no niceness, and the shipped unit of systemd forbids to change it.
        with suppress(AttributeError, OSError):
            os.nice(10)  # messages of alerts may wait for the messages of servers
        output.write(main(sys.stdin.buffer.read(), add_hook=sys.addaudithook, end=os._exit))

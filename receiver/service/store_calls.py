"""Questions to a store, which is not waited for without an end."""

from collections.abc import Callable
from typing import TypeVar

from anyio import fail_after, to_thread

from receiver.domain.errors import StoreUnavailable

__all__ = ["NoAnswer", "ask"]

T = TypeVar("T")


class NoAnswer(StoreUnavailable):
    """The store neither answers nor refuses; what it was asked for may still happen."""


async def ask(question: Callable[[], T], *, patience: float) -> T:
    """What a store answers, asked in a thread. Raises NoAnswer after so many seconds."""
    try:
        with fail_after(patience):
            return await to_thread.run_sync(question, abandon_on_cancel=True)
    except TimeoutError as error:
        raise NoAnswer("the database has not answered for some time") from error

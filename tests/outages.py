"""Test helper: a store whose database goes away at a moment that a test chooses."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

from receiver.domain.errors import StoreUnavailable

__all__ = ["away"]


@contextmanager
def away(
    part: Any, method: str, *, after: int = 0, error: type[StoreUnavailable] = StoreUnavailable
) -> Iterator[None]:
    """
    Let a method of a store fail within the context, as if the database did not answer.

    Args:
        part: What has the method, such as the `servers` of a store.
        method: Its name.
        after: How many calls of it succeed before.
        error: What the others raise.
    """
    works = getattr(part, method)
    calls = count()

    def fails(*args: Any, **options: Any) -> Any:
        if next(calls) >= after:
            raise error("the database is away")
        return works(*args, **options)

    setattr(part, method, fails)
    try:
        yield
    finally:
        setattr(part, method, works)

"""A server of the small app, and its requests that wait."""

from collections.abc import Callable, Iterator

import pytest

from raw_http import held, released, served


@pytest.fixture
def release() -> Iterator[Callable[[], None]]:
    """A function that lets requests of /held be answered."""
    released.clear()
    held.clear()
    yield released.set
    released.set()  # or a server would wait for the end of what a failed test has asked for


@pytest.fixture
def port() -> Iterator[int]:
    with served() as port:
        yield port

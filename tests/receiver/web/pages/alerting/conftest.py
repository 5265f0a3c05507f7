"""A receiver that may send messages."""

from collections.abc import Iterator

import httpx
import pytest

from alerting import alerting_app
from servers import Clock, serve


@pytest.fixture
def receiver(database_url: str, clock: Clock) -> Iterator[httpx.Client]:
    """A receiver without keys, which may send messages to this machine."""
    with serve(alerting_app(database_url, clock)) as client:
        yield client

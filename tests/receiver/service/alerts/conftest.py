"""A mail server to which messages are sent."""

from collections.abc import Iterator

import pytest

from sinks import SmtpSink, smtp_sink


@pytest.fixture
def mailbox() -> Iterator[SmtpSink]:
    with smtp_sink() as sink:
        yield sink

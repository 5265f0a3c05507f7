"""Servers to which messages are sent."""

from collections.abc import Iterator

import pytest

from sinks import HttpSink, SmtpSink, http_sink, smtp_sink


@pytest.fixture
def sink() -> Iterator[HttpSink]:
    with http_sink() as sink:
        yield sink


@pytest.fixture
def mailbox() -> Iterator[SmtpSink]:
    with smtp_sink() as sink:
        yield sink

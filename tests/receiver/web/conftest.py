"""
Tests of HTTP and HTML run on SQLite; tests marked `both_databases` run on PostgreSQL too.

The store has tests of its own, which run on both databases. The mark is on tests of queries
that only the web makes, on one test of each route, and on the lists and streams.
"""

import logging
from collections.abc import Iterator

import pytest

from mostly_sqlite import database_url, pytest_generate_tests

__all__ = ["audit", "database_url", "pytest_generate_tests"]


@pytest.fixture
def audit(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """The lines of the audit log."""
    lines: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    collect = Collect()
    log = logging.getLogger("receiver.audit")
    level = log.level
    log.addHandler(collect)
    log.setLevel(logging.INFO)
    yield lines
    log.removeHandler(collect)
    log.setLevel(level)

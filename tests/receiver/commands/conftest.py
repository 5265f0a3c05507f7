"""
A fleet of three servers that commands reach by its database and over HTTP.

Tests run on SQLite; tests marked `both_databases` run on PostgreSQL too.
"""

from collections.abc import Iterator

import pytest

from mostly_sqlite import database_url, pytest_generate_tests
from receiver.store import SqlStore
from two_ways import HOSTILE, Ways, serving
from watched import Watched

__all__ = ["database_url", "pytest_generate_tests", "three_servers", "ways"]


@pytest.fixture
def three_servers(store: SqlStore) -> Watched:
    """Three servers: two are up, of which one has a hostile name, and one is down."""
    fleet = Watched(store)
    fleet.beat("beta_web-1", database="beta", odoo_stage="staging", odoo_version="18.0")
    fleet.go_on(300)
    fleet.beat(
        "acme_web-1",
        database="acme",
        odoo_stage="production",
        odoo_version="19.0",
        capabilities=("confirm_order", "list_orders"),
        endpoint_url="https://acme.example/mcp/v1",
    )
    fleet.beat(HOSTILE)
    return fleet


@pytest.fixture
def ways(database_url: str, three_servers: Watched) -> Iterator[Ways]:
    with serving(database_url, three_servers) as ways:
        yield ways

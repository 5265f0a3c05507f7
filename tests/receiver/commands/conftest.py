"""A fleet of three servers that commands reach by its database and over HTTP."""

from collections.abc import Iterator

import pytest

from receiver.store import SqlStore
from two_ways import HOSTILE, Ways, serving
from watched import Watched


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """SQLite only, since tests of the store cover both databases."""
    return sqlite_url


@pytest.fixture
def fleet(store: SqlStore) -> Watched:
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
def ways(database_url: str, fleet: Watched) -> Iterator[Ways]:
    with serving(database_url, fleet) as ways:
        yield ways

"""
Tests of HTTP and HTML run on SQLite; tests marked `both_databases` run on PostgreSQL too.

The store has tests of its own, which run on both databases. The mark is on tests of queries
that only the web makes, on one test of each route, and on the lists and streams.
"""

import pytest


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "database_url" in metafunc.fixturenames:
        is_on_both = metafunc.definition.get_closest_marker("both_databases") is not None
        kinds = ["sqlite", "postgresql"] if is_on_both else ["sqlite"]
        metafunc.parametrize("database_url", kinds, indirect=True)


@pytest.fixture
def database_url(request: pytest.FixtureRequest) -> str:
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url

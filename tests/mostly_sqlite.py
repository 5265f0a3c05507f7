"""
Test helper: fixtures of folders whose tests run on SQLite, and on PostgreSQL if they say so.

The store has tests of its own, which run on both databases. A `conftest.py` imports both names.
"""

import pytest

__all__ = ["database_url", "pytest_generate_tests"]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Let tests that are marked `both_databases` run on PostgreSQL, too."""
    if "database_url" in metafunc.fixturenames:
        is_on_both = metafunc.definition.get_closest_marker("both_databases") is not None
        kinds = ["sqlite", "postgresql"] if is_on_both else ["sqlite"]
        metafunc.parametrize("database_url", kinds, indirect=True)


@pytest.fixture
def database_url(request: pytest.FixtureRequest) -> str:
    """The URL of a database of the kind of this run, with all tables and without rows."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url

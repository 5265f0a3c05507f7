"""Fixtures for the tests that need a real Odoo; a `conftest.py` imports them by name."""

import itertools
import os
from contextlib import ExitStack

import pytest

from odoo_program import OdooProgram
from postgres import running_postgres
from provision import NoOdoo, provide

__all__ = ["database", "installed", "odoo"]

# pytest sets a session fixture up once for each conftest.py that imports it. Starting
# PostgreSQL and installing Odoo's template database twice would be too slow.
_SHARED = pytest.StashKey[OdooProgram]()

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def odoo(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> OdooProgram:
    """An Odoo with a template database. Without an Odoo the whole run exits with the reason."""
    if _SHARED not in pytestconfig.stash:
        pytestconfig.stash[_SHARED] = _start(pytestconfig, tmp_path_factory)
    return pytestconfig.stash[_SHARED]


@pytest.fixture
def database(odoo: OdooProgram) -> str:
    """A new database with nothing but `base` installed."""
    name = f"odoo_{next(_numbers)}"
    odoo.create_database(name)
    return name


@pytest.fixture
def installed(odoo: OdooProgram) -> str:
    """A new database with the addon installed, in which no receiver is set."""
    name = f"odoo_{next(_numbers)}"
    odoo.create_database_with(name, "mcp_phone_home")
    return name


def _start(config: pytest.Config, folders: pytest.TempPathFactory) -> OdooProgram:
    try:
        found = provide(environ=os.environ)
    except NoOdoo as error:
        pytest.exit(str(error), returncode=1)
    running = ExitStack()
    config.add_cleanup(running.close)
    postgres = running.enter_context(running_postgres())
    odoo = OdooProgram(found, postgres, folders.mktemp("odoo"))
    odoo.create_database(odoo.template, empty=True)
    odoo.install(odoo.template, "base")
    return odoo

"""Fixtures for the tests that need a real Odoo; a `conftest.py` imports them by name."""

import fcntl
import itertools
import os
from contextlib import ExitStack
from pathlib import Path

import pytest

from odoo_program import OdooProgram
from postgres import running_postgres
from provision import NoOdoo, provide

__all__ = ["database", "installed", "odoo"]

# pytest sets a session fixture up once for each conftest.py that imports it.
_SHARED = pytest.StashKey[OdooProgram]()

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def odoo(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> OdooProgram:
    """
    An Odoo with template databases. Without an Odoo the whole run exits with the reason.

    The processes of pytest-xdist share one PostgreSQL and its templates, which take half a minute.
    """
    if _SHARED not in pytestconfig.stash:
        pytestconfig.stash[_SHARED] = _start(pytestconfig, tmp_path_factory)
    return pytestconfig.stash[_SHARED]


@pytest.fixture
def database(odoo: OdooProgram) -> str:
    """A new database with nothing but `base` installed."""
    name = _new_name()
    odoo.create_database(name)
    return name


@pytest.fixture
def installed(odoo: OdooProgram) -> str:
    """A new database with the addon installed, in which no receiver is set."""
    name = _new_name()
    odoo.create_database_with_addon(name)
    return name


def _start(config: pytest.Config, folders: pytest.TempPathFactory) -> OdooProgram:
    try:
        found = provide(environ=os.environ)
    except NoOdoo as error:
        pytest.exit(str(error), returncode=1)
    running = ExitStack()
    config.add_cleanup(running.close)
    with _common_folder(folders).joinpath("postgres").open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # until the file is closed
        file.seek(0)
        folder = Path(file.read() or "nowhere")
        has_templates = folder.is_dir()
        postgres = running.enter_context(running_postgres(folder=folder if has_templates else None))
        odoo = OdooProgram(found, postgres, folders.mktemp("odoo"))
        if not has_templates:
            odoo.create_templates()
            file.truncate(0)
            file.write(str(postgres.data_folder))
    return odoo


def _common_folder(folders: pytest.TempPathFactory) -> Path:
    """A temporary folder that the processes of pytest-xdist have in common."""
    own = folders.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


def _new_name() -> str:
    """A name for a database that no process has given yet."""
    return f"odoo_{os.getpid()}_{next(_numbers)}"

"""Arguments of a session are that session's."""

from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def noxfile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """What `nox` reads; it may be read only once."""
    folder = tmp_path_factory.mktemp("checkout")
    spec = spec_from_file_location("noxfile", ROOT / "noxfile.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setenv("PATH", str(folder))  # where no pyenv is, which it would ask
        spec.loader.exec_module(module)
        patch.setattr(module, "install", lambda *_, **__: None)
        patch.setattr(module, "HERE", folder)  # whose coverage may be deleted
        yield module


def ran(session: MagicMock) -> list[tuple[str, ...]]:
    return [tuple(map(str, call.args)) for call in session.run.call_args_list]


def test_tests_named_on_the_command_line_run_once_and_on_this_python_only(noxfile: Any) -> None:
    session = MagicMock(posargs=["tests/receiver", "-k", "slim"], bin="bin")

    noxfile.tests.func(session)

    assert [("pytest", "tests/receiver", "-k", "slim")] == ran(session)
    session.notify.assert_not_called()


def test_every_test_is_run_once(noxfile: Any) -> None:
    """By their marks: those that measure time alone, and the others in parallel."""
    session = MagicMock(posargs=[], bin="bin")

    noxfile.tests.func(session)

    runs = [run[run.index("pytest") :] for run in ran(session) if "pytest" in run]
    marks = [run[run.index("-m") + 1] for run in runs]
    assert ["serial", "not serial"] == marks

"""docs/architecture.md names files that exist, and every module and folder of the receiver."""

import re
from pathlib import Path

import pytest
import tomllib

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/architecture.md").read_text()
PICTURE = PAGE.split("```text\n")[1].partition("```")[0]
FOLDERS = ("client", "contract", "deploy", "docs", "odoo_addon", "receiver", "tests")
PATHS = [f"/{path.relative_to(ROOT)}" for each in FOLDERS for path in (ROOT / each).rglob("*")]
IGNORED = {"__init__", "__pycache__"}
NAMED = [
    name
    for name in sorted({*re.findall(r"`(\w[\w./-]*)`", PAGE)})
    if name.partition("/")[0] in FOLDERS or re.search(r"/$|\.(css|html|js|md|py|toml)$", name)
]


def folders_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_dir()} - IGNORED


@pytest.mark.parametrize("name", NAMED)
def test_path_exists(name: str) -> None:
    """The whole path, or the end of one as in `web/api.py`, which begins with none of `FOLDERS`."""
    is_end = name.partition("/")[0] not in FOLDERS and any(
        path.endswith(f"/{name.removesuffix('/')}") for path in PATHS
    )

    assert is_end or (ROOT / name).exists()


def test_picture_has_every_module_and_folder_of_the_receiver_on_its_floor() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    [floors] = [each for each in contracts["contracts"] if each.get("containers") == ["receiver"]]
    modules = {path.stem for path in (ROOT / "receiver").glob("*.py")} - IGNORED
    drawn = re.findall(r"([a-z_]+)(?:\.py|/)", PICTURE)

    assert sorted(modules | folders_in(ROOT / "receiver")) == sorted(drawn)
    for floor in floors["layers"]:
        assert {drawn.pop(0) for _ in floor.split(" | ")} == {*floor.split(" | ")}


def test_every_folder_of_the_tests_is_named() -> None:
    [row] = [line for line in PAGE.splitlines() if line.startswith("| `tests/`")]

    assert folders_in(ROOT / "tests") == {*re.findall(r"`(\w+)/`", row)} - {"tests"}


def test_glossary_is_short() -> None:
    words = re.findall(r"^\| (\w.*?) \|", PAGE.partition("## Glossary")[2], re.MULTILINE)

    assert 1 < len(words) <= 1 + 20  # with the line above them

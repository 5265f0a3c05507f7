"""Each folder has floors of its own, and few modules."""

from pathlib import Path

import pytest
import tomllib

ROOT = Path(__file__).parents[2]
LINTER = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
MOST_MODULES = 12
DATED_STEPS = ROOT / "receiver/store/migrations/versions"


def modules_in(folder: Path) -> list[str]:
    return sorted(file.stem for file in folder.glob("*.py") if file.name != "__init__.py")


def packages_in(folder: Path) -> list[str]:
    return sorted(file.parent.name for file in folder.glob("*/__init__.py"))


def with_floors() -> set[str]:
    """The packages of which import-linter refuses each module that is on none of their floors."""
    return {
        container
        for contract in LINTER["contracts"]
        if contract["type"] == "layers"
        and contract.get("exhaustive")
        and not contract.get("exhaustive_ignores")
        for container in contract["containers"]
    }


@pytest.mark.parametrize("root", ["contract", "client", "receiver"])
def test_every_package_of_several_modules_has_floors(root: str) -> None:
    folders = [file.parent for file in (ROOT / root).rglob("__init__.py")]
    need = {
        ".".join(folder.relative_to(ROOT).parts)
        for folder in folders
        if len(modules_in(folder) + packages_in(folder)) > 1
    }

    assert root in need
    assert set() == need - with_floors(), "put their modules on floors in pyproject.toml"


def test_no_folder_of_the_receiver_has_too_many_modules() -> None:
    folders = {file.parent for file in (ROOT / "receiver").rglob("*.py")} - {DATED_STEPS}
    counts = {str(folder.relative_to(ROOT)): len(modules_in(folder)) for folder in folders}

    assert "receiver/store" in counts
    assert {} == {folder: count for folder, count in counts.items() if count > MOST_MODULES}

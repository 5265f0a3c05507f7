"""What the package asks for is what it was tried with."""

import re
from importlib.metadata import version
from pathlib import Path

import tomllib

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
RECEIVER = PROJECT["optional-dependencies"]["receiver"]

TRIED = ["0.53", "0.54"]
"""
The oldest uvicorn and the newest that `receiver.connections` was tried with, by the sessions
`lowest` and `tests`: it builds upon what is private in uvicorn, which any version may change.
"""


def minor(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(".")[:2]))


def test_uvicorn_requirement_is_limited_to_versions_that_connections_were_tested_with() -> None:
    (asked,) = [each for each in RECEIVER if each.startswith("uvicorn")]
    oldest, first_untried = re.findall(r"[>=<]+([\d.]+)", asked)
    newest = minor(TRIED[1])

    assert TRIED[0] == oldest
    assert (newest[0], newest[1] + 1) == minor(first_untried)
    assert minor(oldest) <= minor(version("uvicorn")) <= newest

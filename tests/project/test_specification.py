"""The manifest and the tests agree on which test proves which scenario."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import tomllib

ROOT = Path(__file__).parents[2]
SPECIFICATION = tomllib.loads((Path(__file__).parent / "specification.toml").read_text())
TESTS = [*ROOT.glob("tests/**/test_*.py"), *ROOT.glob("odoo_addon/*/tests/test_*.py")]
PROVES = re.compile(r"^Proves: (.+)$", re.MULTILINE)

Proof = tuple[str, str]


def promised() -> set[Proof]:
    """The pairs of scenario and test in the manifest."""
    return {
        (scenario["title"], test)
        for scenario in SPECIFICATION["scenario"]
        for test in scenario["tests"]
    }


def claimed() -> Iterator[Proof]:
    """The pairs in docstrings of tests, by lines such as `Proves: Failed heartbeat`."""
    for file in TESTS:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef):
                name = f"{file.relative_to(ROOT)}::{node.name}"
                for title in PROVES.findall(ast.get_docstring(node) or ""):
                    yield title, name


def test_specification_manifest_and_tests_name_each_other() -> None:
    assert sorted(promised()) == sorted(claimed())


def test_every_scenario_of_the_specification_has_a_test() -> None:
    unproven = [s["title"] for s in SPECIFICATION["scenario"] if not s["tests"]]

    assert [] == unproven


def test_every_scenario_of_the_specification_is_listed_once() -> None:
    titles = [scenario["title"] for scenario in SPECIFICATION["scenario"]]

    assert sorted(set(titles)) == sorted(titles)
    assert 15 == len(titles)

"""The manual is complete: settings, codes of errors, kinds of events, and links."""

import ast
import re
from collections import defaultdict
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import tomllib

from contract import EventKind, State

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.glob("*.md"))]
SOURCES = [f for room in ("contract", "client", "receiver") for f in ROOT.glob(f"{room}/**/*.py")]
NAMED_ELSEWHERE = {"key_wrong", "key_revoked", "key_expired", "key_missing"}
"""Codes that a function is given which makes the Refusal."""

OF_PROXIES = {"receiver_unavailable"}


def test_settings_page_of_the_manual_is_generated_from_the_settings() -> None:
    path = DOCS / "generate_settings.py"
    spec = spec_from_file_location("generate_settings", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)

    assert module.page() == (DOCS / "settings.md").read_text(), "run: nox -s settings"


def explained() -> dict[str, set[str]]:
    """The codes of docs/messages.md, each with what stands in the second column."""
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \|", (DOCS / "messages.md").read_text(), re.MULTILINE)
    return {code: {each.strip() for each in second.split(",")} for code, second in rows}


@cache
def trees() -> list[ast.Module]:
    return [ast.parse(file.read_text()) for file in SOURCES]


def codes_of_classes() -> set[str]:
    """The `code` of each class of errors."""
    return {
        node.value.value
        for tree in trees()
        for cls in ast.walk(tree)
        if isinstance(cls, ast.ClassDef)
        for node in cls.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id == "code"
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    }


@cache
def refusals() -> dict[str, set[str]]:
    """The codes that are written where requests are refused, with their statuses."""
    found: dict[str, set[str]] = defaultdict(set)
    for tree in trees():
        for node in ast.walk(tree):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
                continue
            given = [each.value for each in node.args if isinstance(each, ast.Constant)]
            if node.func.id == "Refusal" and [int, str] == [*map(type, given[:2])]:
                found[str(given[1])].add(str(given[0]))
            elif node.func.id == "_unauthenticated" and given:
                found[str(given[0])].add("401")
    return found


def test_every_error_code_is_explained_in_the_manual() -> None:
    known = explained()

    assert {"store_unavailable", "fleet_error"} <= codes_of_classes()
    assert {"not_found", "no_endpoint"} <= {*refusals()}
    assert set() == {*codes_of_classes(), *refusals(), *NAMED_ELSEWHERE} - {*known}


def test_every_error_code_explained_in_the_manual_exists() -> None:
    said = "".join(file.read_text() for file in SOURCES)
    shipped = "".join(file.read_text() for file in (ROOT / "deploy").glob("*") if file.is_file())

    assert OF_PROXIES == {code for code in explained() if f'"{code}"' not in said}
    assert all(f'"{code}"' in shipped for code in OF_PROXIES)


def test_manual_lists_every_status_that_an_error_code_is_answered_with() -> None:
    known = explained()

    for code, statuses in refusals().items():
        assert statuses <= known[code], code


@pytest.mark.parametrize("kind", [*EventKind, *State])
def test_every_kind_of_event_and_state_is_explained_in_the_manual(kind: EventKind | State) -> None:
    cells = re.findall(r"^\| (.+?) \|", (DOCS / "states.md").read_text(), re.MULTILINE)

    assert f"`{kind.value}`" in ", ".join(cells)


def without_blocks(text: str) -> str:
    return re.sub(r"^```.+?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(text: str) -> set[str]:
    """The anchors of the headings of a page, as forges make them."""
    headings = re.findall(
        r"^#+ (.+)$", re.sub(r"^```.+?^```", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE
    )
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_the_manual_has_a_target(page: Path) -> None:
    text = without_blocks(page.read_text())
    for target in re.findall(r"\]\((?!https?:|mailto:)(.+?)\)", text):
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file.read_text()), target


def test_every_page_of_the_manual_is_in_the_navigation() -> None:
    index = (DOCS / "index.md").read_text()
    listed = {
        line
        for tree in re.findall(r"^```\{toctree\}\n(.+?)^```$", index, re.MULTILINE | re.DOTALL)
        for line in tree.splitlines()
        if line and not line.startswith(":")
    }

    assert {page.stem for page in DOCS.glob("*.md")} - {"index"} == listed


def test_manual_installs_all_that_the_addon_needs() -> None:
    """What `pip install` says on the page about Odoo, and on the first page of an empty fleet."""
    manifest = ast.literal_eval((ROOT / "odoo_addon/mcp_phone_home/__manifest__.py").read_text())
    needed = {re.split(r"[\[>]", each)[0] for each in manifest["external_dependencies"]["python"]}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    brought = [*project["dependencies"], *project["optional-dependencies"]["client"]]
    names = {project["name"], *(re.split(r"[\[>]", each)[0] for each in brought)}
    texts = [
        (DOCS / "connect-odoo.md").read_text().partition("\n## A machine without Odoo\n")[0],
        (ROOT / "receiver/web/pages/templates/fleet.html").read_text().partition("</ol>")[0],
    ]

    for text in texts:
        commands = re.findall(r"pip install '(?:odoo-mcp-fleet|\.)\[client\]'([\w ]*)", text)
        assert 2 == len(commands)
        for further in commands:
            assert needed <= {*names, *further.split()}, further


def test_manual_shows_the_checkout_beside_each_installation_from_an_index() -> None:
    for page in PAGES:
        found = re.findall(
            r"^.*pip install (?:--upgrade )?'?odoo-mcp-fleet.*$", page.read_text(), re.MULTILINE
        )
        assert [] == [line for line in found if "checkout" not in line], page.name

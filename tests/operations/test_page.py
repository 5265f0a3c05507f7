"""docs/operations.md names only commands, settings, metrics and messages that exist."""

import ast
import re
import shlex
import subprocess
from functools import cache
from pathlib import Path

import pytest

import messages
from operations.confined import settings, values
from operations.machine import PAGE, TEXT, UNIT, Machine, blocks, commands, section
from operations.proxies import DEPLOY

ROOT = DEPLOY.parent
SHIPPED = (DEPLOY / UNIT).read_text()


@cache
def said() -> list[str]:
    """Every string constant of the programs, and the texts of the shipped files."""
    sources = [*ROOT.glob("receiver/**/*.py"), *ROOT.glob("contract/*.py")]
    texts = [
        node.value
        for file in sources
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    return [*texts, *(file.read_text() for file in DEPLOY.iterdir() if file.is_file())]


def rows(heading: str) -> list[list[str]]:
    """The rows of the table below a heading, without the header."""
    lines = [line for line in section(heading).splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines[2:]]


SQLITE_SAYS = {
    "database or disk is full",
    "attempt to write a readonly database",
    "unable to open database file",
    "database disk image is malformed",
    "file is not a database",
}


@pytest.mark.parametrize(
    "quoted",
    sorted(
        {each for row in rows("At three in the morning") for each in re.findall("`(.+?)`", row[0])}
        - SQLITE_SAYS
    ),
)
def test_every_symptom_is_a_text_of_the_programs(quoted: str) -> None:
    setting, _, sentence = quoted.partition(": ")
    parts = [setting, sentence] if setting.startswith("FLEET_") else [quoted]

    for part in parts:
        assert any(part.removeprefix("FLEET_") in text for text in said()), part


@pytest.mark.parametrize(
    "metric", sorted({*re.findall(r"\bfleet_\w+(?=[\[{ `])", section("What to watch"))})
)
def test_every_metric_exists(metric: str) -> None:
    told = {*said()}
    family = re.sub("_(total|bucket|sum|count)$", "", metric)

    assert family in told


def test_every_setting_is_in_the_manual() -> None:
    page = (ROOT / "docs/settings.md").read_text()
    table = {*re.findall(r"^\| `(FLEET_\w+)` \|", page, re.MULTILINE)}

    assert set() == {*re.findall(r"FLEET_[A-Z_]+", TEXT)} - table


def test_every_link_has_a_target() -> None:
    for target in re.findall(r"\]\((?!http)(.+?)\)", TEXT):
        path, _, heading = target.partition("#")
        there = PAGE.parent / path if path else PAGE
        assert there.exists(), target
        lines = there.read_text().splitlines() if heading else []
        titles = [line.lstrip("# ") for line in lines if line.startswith("#")]
        assert not heading or heading in {t.lower().replace(" ", "-") for t in titles}, target


def test_commands_about_keys_work(installed: Machine) -> None:
    _, agent, *_ = installed.do(commands("Make the first key")).split()
    listed = installed.do("fleet keys list").splitlines()[1:]
    ids = {line.split()[1]: line.split()[0] for line in listed}
    assert {"Ada", "acme", "prometheus"} == {*ids}
    installed.start()
    with installed.client(agent) as client:
        client.post("/heartbeat", json=messages.heartbeat()).raise_for_status()

    values = {"--to ID": f"--to {ids['Ada']}", "ID": ids["acme"]}
    values["SERVER_ID"] = messages.PAYLOAD["server_id"]
    for _, written in rows("Make the first key"):
        # In one pass: a key's ID may contain the letters "ID".
        command = re.sub("--to ID|SERVER_ID|ID", lambda it: values[it[0]], written.strip("`"))
        installed.do(command)

    assert "revoked" in installed.do("fleet keys list | grep acme")


def test_service_starts_by_the_commands_of_the_page(installed: Machine) -> None:
    """Everything but what needs systemd itself."""
    lines = commands("Start").splitlines(keepends=True)
    assert ["daemon-reload", "enable"] == [line.split()[1] for line in lines[:2]]

    assert '"healthy"' in installed.do("".join(lines[2:]))


@pytest.mark.parametrize("block", blocks(TEXT, "ini"))
def test_drop_in_of_the_unit_is_valid(installed: Machine, block: str) -> None:
    changes = Path(f"{installed.unit}.d")
    changes.mkdir()
    (changes / "override.conf").write_text(installed.here(block))
    found = subprocess.run(
        ["systemd-analyze", "verify", installed.unit], check=False, capture_output=True, text=True
    )

    assert (0, "") == (found.returncode, found.stderr)
    # A drop-in that replaces the command must keep all options of the shipped one.
    shipped, own = ("".join(values(settings(unit), "ExecStart")) for unit in (SHIPPED, block))
    assert not own or {*shlex.split(shipped)} - {*shlex.split(own)} <= {"127.0.0.1"}

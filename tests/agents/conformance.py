"""The conformance suite of MCP, scenario by scenario."""

import json
from pathlib import Path
from typing import Any

from agents.programs import Programs

__all__ = ["checks", "failures", "scenarios"]


def scenarios(programs: Programs, folder: Path) -> set[str]:
    """The names of all scenarios of the suite for servers."""
    listed = programs.run("conformance", "list", "--server", home=folder, cwd=folder)
    assert 0 == listed.returncode, listed.stderr
    return {line.split()[1] for line in listed.stdout.splitlines() if line.startswith("  - ")}


def checks(programs: Programs, url: str, scenario: str, folder: Path) -> dict[str, dict[str, Any]]:
    """Run a scenario against an MCP endpoint; returns its checks by their ids."""
    out = folder / "conformance"
    asked = ("--url", url, "--scenario", scenario, "--output-dir", str(out))
    done = programs.run("conformance", "server", *asked, home=folder, cwd=folder)
    (file,) = out.glob(f"server-{scenario}-*/checks.json")
    found = {each["id"]: each for each in json.loads(file.read_text())}
    assert found, done.stderr
    return found


def failures(programs: Programs, url: str, scenario: str, folder: Path) -> dict[str, str]:
    """Run a scenario; returns what its failed checks say, by their ids."""
    found = checks(programs, url, scenario, folder)
    return {
        name: each.get("errorMessage") or str(each)
        for name, each in found.items()
        if each["status"] != "SUCCESS"
    }

"""
Check the locked versions for known vulnerabilities.

    python audit.py <requirements file>

It prints one sentence. The exit status is 0 without vulnerabilities, 1 with vulnerabilities or
when pip-audit fails, and 75 when the vulnerability index cannot be reached.

A package mirror without vulnerability data answers pip-audit with "none known". Therefore the
script first asks about a version that has known vulnerabilities.
"""

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KNOWN = "django==3.0"
"""A version with vulnerabilities that have been known for years."""

CLEAN, FOUND, UNREACHABLE = 0, 1, 75


@dataclass(frozen=True)
class Said:
    """
    The result of a run of pip-audit.

    Attributes:
        status: Exit status.
        report: The checked packages, each with `vulns` or a `skip_reason`; None without a
            report.
        last_line: Last line of standard error.
    """

    status: int
    report: list[dict[str, Any]] | None
    last_line: str


@dataclass(frozen=True)
class Verdict:
    status: int
    sentence: str


def ask(requirements: Path, *options: str) -> Said:
    """Run pip-audit on pinned requirements, which it neither installs nor resolves."""
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "report.json"
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pip_audit", "--requirement", requirements),
                *("--disable-pip", "--progress-spinner", "off", *options),
                *("--format", "json", "--output", answer),
            ],
            check=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        report = json.loads(answer.read_text())["dependencies"] if answer.exists() else None
    return Said(done.returncode, report, (done.stderr.strip().splitlines() or [""])[-1])


def vulnerabilities(report: list[dict[str, Any]]) -> list[str]:
    """A text for each vulnerability in a report."""
    return [
        f"{each['name']} {each['version']} has {vulnerability['id']}"
        for each in report
        for vulnerability in each.get("vulns", ())
    ]


def unreachable(known: Said) -> Verdict | None:
    """The verdict when the index does not report the known vulnerabilities; None if it does."""
    if known.report and vulnerabilities(known.report):
        return None
    why = known.last_line
    if known.report:
        why = known.report[0].get("skip_reason", f"nothing is known against {KNOWN}")
    return Verdict(
        UNREACHABLE, f"Nothing was checked: the index of vulnerabilities cannot be reached ({why})."
    )


def judge(locked: Said) -> Verdict:
    """The verdict on the locked versions, from an index that can be reached."""
    if locked.report is None:
        return Verdict(FOUND, f"pip-audit failed: {locked.last_line}")
    if found := vulnerabilities(locked.report):
        return Verdict(FOUND, f"Known vulnerabilities: {'; '.join(found)}.")
    if unknown := [each["name"] for each in locked.report if "vulns" not in each]:
        return Verdict(FOUND, f"The index does not know: {', '.join(unknown)}.")
    if locked.status or not locked.report:
        return Verdict(FOUND, f"pip-audit failed: {locked.last_line}")
    return Verdict(
        CLEAN, f"None of {len(locked.report)} locked versions has a known vulnerability."
    )


def main(requirements: Path) -> int:
    with tempfile.TemporaryDirectory() as folder:
        known = Path(folder) / "known.txt"
        known.write_text(f"{KNOWN}\n")
        verdict = unreachable(ask(known, "--no-deps")) or judge(ask(requirements))
    sys.stdout.write(f"{verdict.sentence}\n")
    return verdict.status


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))

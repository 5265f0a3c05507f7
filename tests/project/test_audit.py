"""The audit tells an unreachable index from an index that reports no vulnerabilities."""

import json
from pathlib import Path
from typing import Any

import pytest

from project.audit import CLEAN, FOUND, UNREACHABLE, Said, judge, main, unreachable

SAFE = {"name": "attrs", "version": "25.1", "vulns": []}
VULNERABLE = {"name": "django", "version": "3.0", "vulns": [{"id": "PYSEC-1"}, {"id": "PYSEC-2"}]}
SKIPPED = {"name": "django", "skip_reason": "Dependency not found and could not be audited"}


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (Said(1, None, "ConnectionError: Failed to resolve"), "Failed to resolve"),
        (Said(0, [SKIPPED], "No known vulnerabilities found"), "not found"),
        (Said(0, [{**VULNERABLE, "vulns": []}], ""), "nothing is known against django"),
        (Said(0, [], "No dependencies"), "No dependencies"),
    ],
)
def test_index_without_a_known_vulnerability_counts_as_unreachable(said: Said, why: str) -> None:
    verdict = unreachable(said)

    assert verdict is not None
    assert UNREACHABLE == verdict.status
    assert why in verdict.sentence
    assert "Nothing was checked" in verdict.sentence


def test_index_with_a_known_vulnerability_is_reachable() -> None:
    assert unreachable(Said(1, [VULNERABLE], "Found 2 known vulnerabilities")) is None


@pytest.mark.parametrize(
    ("said", "status", "sentence"),
    [
        (Said(0, [SAFE], ""), CLEAN, "None of 1 locked versions has a known vulnerability."),
        (
            Said(1, [SAFE, VULNERABLE], "Found 2"),
            FOUND,
            "Known vulnerabilities: django 3.0 has PYSEC-1; django 3.0 has PYSEC-2.",
        ),
        (Said(0, [SAFE, SKIPPED], ""), FOUND, "The index does not know: django."),
        (Said(1, None, "not a requirement"), FOUND, "pip-audit failed: not a requirement"),
        (Said(2, [SAFE], "usage"), FOUND, "pip-audit failed: usage"),
        (Said(0, [], "no requirements"), FOUND, "pip-audit failed: no requirements"),
    ],
)
def test_locked_versions_are_safe_only_when_each_was_checked(
    said: Said, status: int, sentence: str
) -> None:
    verdict = judge(said)

    assert (status, sentence) == (verdict.status, verdict.sentence)


FAKE_PIP_AUDIT = """
import json, os, sys
requirements = open(sys.argv[sys.argv.index("--requirement") + 1]).read()
report = json.loads(os.environ["KNOWN" if "django" in requirements else "LOCKED"])
if report is None:
    sys.exit("ConnectionError: no network")
with open(sys.argv[sys.argv.index("--output") + 1], "w") as file:
    json.dump({"dependencies": report, "fixes": []}, file)
sys.exit(any(each.get("vulns") for each in report))
"""


@pytest.mark.parametrize(
    ("answers", "status"),
    [
        (([VULNERABLE], [SAFE]), CLEAN),
        (([VULNERABLE], [VULNERABLE]), FOUND),
        (([VULNERABLE], None), FOUND),
        (([SKIPPED], [SAFE]), UNREACHABLE),
        ((None, [SAFE]), UNREACHABLE),
    ],
)
def test_audit_ends_with_the_status_of_its_verdict(
    answers: tuple[Any, Any],
    status: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "pip_audit.py").write_text(FAKE_PIP_AUDIT)
    (tmp_path / "constraints.txt").write_text("attrs==25.1\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    for name, answer in zip(("KNOWN", "LOCKED"), answers, strict=True):
        monkeypatch.setenv(name, json.dumps(answer))

    assert status == main(tmp_path / "constraints.txt")
    assert 1 == len(capsys.readouterr().out.splitlines())

"""Pins the public names of the client, and what importing them does."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

import client
from client import errors


def test_client_exports_exactly_the_listed_public_names() -> None:
    assert [
        "BadAnswer",
        "CallFailed",
        "ClientError",
        "HeartbeatReceipt",
        "HostFacts",
        "InvalidCertificates",
        "InvalidSetting",
        "InvalidToken",
        "InvalidUrl",
        "PhoneHomeClient",
        "Refused",
        "RegistrationReceipt",
        "SilenceReceipt",
        "TimedOut",
        "Unreachable",
        "Untrusted",
        "host_facts",
        "trust_only",
    ] == client.__all__
    assert [] == [name for name in client.__all__ if not hasattr(client, name)]


@pytest.mark.parametrize("name", errors.__all__)
def test_error_is_in_the_tree_with_its_code(name: str) -> None:
    error = getattr(errors, name)

    assert issubclass(error, client.ClientError)
    drawn = [line.split() for line in (errors.__doc__ or "").splitlines() if name in line.split()]
    assert 1 == len(drawn)
    assert drawn[0][-1] in {error.code, "code,"}


@pytest.mark.parametrize(
    ("missing", "says"),
    [
        ("httpx", r"^client needs httpx, .*: pip install 'odoo-mcp-fleet\[client\]'"),
        ("client.answers", "client.answers"),
    ],
)
def test_missing_extra_is_told_by_the_import(
    monkeypatch: pytest.MonkeyPatch, missing: str, says: str
) -> None:
    for name in [each for each in sys.modules if each.partition(".")[0] == "client"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)

    with pytest.raises(ImportError, match=says):
        importlib.import_module("client")


def test_missing_extra_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "httpx.py").write_text("raise ModuleNotFoundError('httpx', name='httpx')")
    path = os.pathsep.join([str(tmp_path), *sys.path])

    run = subprocess.run(
        [sys.executable, "-m", "client", "--help"],
        env={**os.environ, "PYTHONPATH": path},
        check=False,
        capture_output=True,
        text=True,
    )

    assert 1 == run.returncode
    (line,) = run.stderr.splitlines()
    assert "client needs httpx, which comes with: pip install 'odoo-mcp-fleet[client]'" in line


def test_import_opens_no_socket_and_logs_nothing() -> None:
    run = subprocess.run(
        [sys.executable, "-c", WATCHED_IMPORT], check=True, capture_output=True, text=True
    )

    assert ("[]\n", "") == (run.stdout, run.stderr)


WATCHED_IMPORT = """
import sys

events = []
sys.addaudithook(lambda event, _: events.append(event))
import client, client.__main__

print([event for event in events if event.startswith("socket.")])
"""

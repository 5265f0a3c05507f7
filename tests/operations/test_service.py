"""The systemd unit: its command, its restrictions and its exposure level."""

import subprocess
import sys
from pathlib import Path

import pytest
from starlette.responses import Response

import messages
from alerting import SECRET_KEY
from operations.confined import settings, values
from operations.machine import HERE, Machine
from operations.proxies import DEPLOY, program
from two_ways import answering

SHIPPED = DEPLOY / "odoo-mcp-fleet.service"
EXPOSURE = 10
"""The highest exposure level of `systemd-analyze security`, in tenths: 1.0 of 10."""


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [program("systemd-analyze"), *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def test_exposure_level_of_the_service_is_low() -> None:
    found = analyze("security", "--offline=true", f"--threshold={EXPOSURE}", SHIPPED)

    assert 0 == found.returncode, found.stdout


def test_unit_is_valid(installed: Machine) -> None:
    found = analyze("verify", installed.unit)

    assert (0, "", "") == (found.returncode, found.stdout, found.stderr)


def test_invalid_unit_is_detected(installed: Machine) -> None:
    installed.unit.write_text(installed.unit.read_text().replace("ProtectHome=", "ProtectHme="))

    assert "ProtectHme" in analyze("verify", installed.unit).stderr


@pytest.mark.parametrize("workers", [(), ("--workers", "2")])
def test_command_of_the_unit_works_under_its_syscall_filters(
    installed: Machine, workers: tuple[str, ...]
) -> None:
    installed.start(*workers)
    with installed.client() as client:
        beat = client.post("/heartbeat", json=messages.heartbeat())
        metrics = client.get("/metrics").text
    installed.stop()

    assert 1 == beat.json()["heartbeat_count"]
    assert "server" not in beat.headers
    assert ("process_resident_memory_bytes" in metrics) == (not workers)
    assert 'fleet_messages_total{kind="heartbeat",outcome="accepted"} 1.0' in metrics
    assert (installed.state / "fleet.db").exists()
    assert "Permission" not in installed.log.read_text()
    assert "one worker only" not in installed.log.read_text()


@pytest.mark.parametrize("kind", ["webhook", "apprise"])
def test_alerts_are_sent_under_the_syscall_filters_of_the_unit(
    installed: Machine, kind: str
) -> None:
    """Whether systemd lets them go out is what the page says of IPAddressAllow."""
    installed.configure(FLEET_SECRET_KEY=SECRET_KEY, FLEET_ALERT_ADDRESSES="127.0.0.0/8")
    admin = installed.do("fleet keys create --name 'Ada Lovelace' --scope admin").strip()
    installed.start()
    with answering(lambda _: Response(status_code=200)) as hook, installed.client(admin) as client:
        address = hook if kind == "webhook" else hook.replace("http:", "json:")
        asked = {"name": "Operators", "kind": kind, "address": address}
        made = client.post("/channels", json=asked).json()
        assert "channel" in made, made
        tried = client.post(f"/channels/{made['channel']['id']}/test").json()
    installed.stop()

    assert {"status": "delivered", "error": None} == tried


@pytest.mark.parametrize(
    "forbidden",
    [
        "import socket; socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
        "import mmap; mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC)",
        "import os; os.chown('.', 0, 0)",
        "import os; os.sched_setaffinity(0, os.sched_getaffinity(0))",
    ],
)
def test_forbidden_system_call_is_refused(forbidden: str) -> None:
    command = [sys.executable, f"{HERE}/confined.py", f"{SHIPPED}", sys.executable, "-c", forbidden]
    done = subprocess.run(command, check=False, capture_output=True, text=True)

    assert "PermissionError" in done.stderr
    assert 0 == subprocess.run([sys.executable, "-c", forbidden], check=False).returncode


def test_unit_and_command_line_use_the_same_environment() -> None:
    (command,) = values(settings(SHIPPED.read_text()), "ExecStart")
    (folder,) = values(settings(SHIPPED.read_text()), "WorkingDirectory")
    (file,) = values(settings(SHIPPED.read_text()), "EnvironmentFile")
    fleet = (DEPLOY / "fleet").read_text()

    assert command.startswith("/opt/odoo-mcp-fleet/bin/")
    assert "/opt/odoo-mcp-fleet/bin/odoo-mcp-fleet" in fleet
    assert f"cd {folder}\n" in fleet
    assert f". {file.removeprefix('-')}\n" in fleet

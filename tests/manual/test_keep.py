"""From nothing to PostgreSQL and back from a backup, by the commands of docs/keep.md."""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

import messages
from manual.terminal import DOCS, INTERRUPT, Terminal, blocks, examples, terminal
from ports import free_port
from postgres import Postgres, running_postgres
from servers import NO_AUTHORITIES, PATIENCE_SECONDS, wait_until

ROOT = DOCS.parent
NAMES = [f"acme_web-{number}" for number in range(5)]
NOT_WELL = 5
"""The exit status of `doctor` for what has some days, such as a disk that is nearly full."""


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with running_postgres() as postgres:
        postgres.create_database("fleet")
        yield postgres


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the built package: that of the session of nox, or one that is built now."""
    given = os.environ.get("FLEET_WHEELS")
    if given is not None:
        return Path(given)
    folder = tmp_path_factory.mktemp("wheels")
    build = ["-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run([sys.executable, *build], check=True)
    return folder


class Sender:
    """
    Servers that send heartbeats, one after the other, whatever the answer is.

    Attributes:
        counted: How many heartbeats of each server were answered with 200.
        unknown: How many had no answer, so that it is not known whether they count.
    """

    def __init__(self, url: str, key: str) -> None:
        self.counted = dict.fromkeys(NAMES, 0)
        self.unknown = dict.fromkeys(NAMES, 0)
        self._client = httpx.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {key}"},
            timeout=PATIENCE_SECONDS,
            trust_env=False,
            verify=NO_AUTHORITIES,
        )
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._send)
        self._thread.start()

    def _send(self) -> None:
        while not self._enough.wait(0.1):
            for name in NAMES:
                try:
                    answer = self._client.post("/heartbeat", json=messages.slim(server_id=name))
                except httpx.TransportError:
                    self.unknown[name] += 1
                    continue
                self.counted[name] += answer.status_code == 200

    def all_counted(self) -> bool:
        return all(self.counted.values())

    def close(self) -> None:
        self._enough.set()
        self._thread.join()
        self._client.close()


class Walk:
    """Somebody who does what the page says, in a terminal."""

    def __init__(self, shell: Terminal, url: str, places: dict[str, str]) -> None:
        self.shell = shell
        self.url = url
        self._places = places

    def do(self, heading: str) -> str:
        """Do what stands below a heading; returns all that was printed."""
        text = (DOCS / "keep.md").read_text()
        section = text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
        found = re.findall(r"^```console\n(.+?)^```$", section, re.MULTILINE | re.DOTALL)
        assert found, f"no commands below {heading}"
        return "".join(self._run(each.command) for block in found for each in examples(block))

    def _run(self, command: str) -> str:
        if command == INTERRUPT:
            return self._stop()
        for there, here in self._places.items():
            command = command.replace(there, here)
        if command.startswith("odoo-mcp-fleet serve"):
            self.shell.run(f"{command} >> ~/serve.log 2>&1 & serving=$!")
            wait_until(self._is_healthy)
            return ""
        status, said = self.shell.run(command)
        accepted = {0, NOT_WELL} if "doctor" in command else {0}
        assert status in accepted, f"{command}\n{said}"
        assert "FAIL" not in said, said
        return f"{said}\n"

    def _stop(self) -> str:
        """Press Ctrl-C, and wait until the receiver has ended."""
        self.shell.run("kill -INT -- -$serving")
        status, said = self.shell.run("wait $serving")
        assert status in {0, 130}, said
        return ""

    def _is_healthy(self) -> bool:
        try:
            health = httpx.get(f"{self.url}/health", trust_env=False, verify=NO_AUTHORITIES)
        except httpx.TransportError:
            return False
        return health.status_code == 200


def locked(folder: Path) -> Path:
    """The versions of constraints.txt without hashes, which the built package has none of."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    file = folder / "versions.txt"
    file.write_text("\n".join(line.removesuffix(" \\") for line in lines if "==" in line))
    return file


@contextmanager
def walking(folder: Path, wheels: Path, postgres: Postgres) -> Iterator[Walk]:
    port = free_port()
    environ = {
        "PATH": os.pathsep.join([str(postgres.psql.parent), os.environ["PATH"]]),
        "PIP_FIND_LINKS": f"{wheels} {os.environ.get('PIP_FIND_LINKS', '')}",
        "PIP_CONSTRAINT": str(locked(folder)),
        "PYTHONSAFEPATH": "",
    }
    places = {
        "python3 -m venv": f"{sys.executable} -m venv",
        "odoo-mcp-fleet serve": f"odoo-mcp-fleet serve --port {port}",
        "postgresql+psycopg://fleet@db.example.com/fleet": f"'{postgres.url('fleet')}'",
    }
    with terminal(folder, environ) as shell:
        walk = Walk(shell, f"http://127.0.0.1:{port}", places)
        try:
            yield walk
        finally:
            shell.run("kill -KILL -- -$serving; wait $serving")


def heard(walk: Walk, key: str) -> dict[str, int]:
    """How many heartbeats of each server the receiver has counted."""
    answer = httpx.get(
        f"{walk.url}/servers",
        headers={"Authorization": f"Bearer {key}"},
        timeout=PATIENCE_SECONDS,
        trust_env=False,
        verify=NO_AUTHORITIES,
    )
    return {each["server_id"]: each["heartbeat_count"] for each in answer.json()["servers"]}


def test_receiver_is_kept_as_the_manual_says(
    tmp_path: Path, wheels: Path, postgres: Postgres
) -> None:
    with walking(tmp_path, wheels, postgres) as walk:
        assert re.search(r"^odoo-mcp-fleet \d", walk.do("Install"), re.MULTILINE)
        said = walk.do("Make the first key, and start")
        agent = re.findall(r"fleetkey_\w+", said)[-1]
        _, admin = walk.shell.run("echo $FLEET_KEY")
        admin = admin.strip()

        sender = Sender(walk.url, agent)
        try:
            wait_until(sender.all_counted)
            assert "acme_web-0" in walk.do("Look whether all is well")
            before = dict(sender.counted)
            walk.do("Back up")
        finally:
            sender.close()
        walk.do("Restore")
        restored = heard(walk, admin)
        assert all(before[name] <= restored[name] <= sender.counted[name] for name in NAMES)

        sender = Sender(walk.url, agent)
        try:
            wait_until(sender.all_counted)
            moved = walk.do("Move to PostgreSQL")
            assert re.search(r"^servers\s+5\s+5$", moved, re.MULTILINE), moved
            walk.do("Take a new version")
            later = dict(sender.counted)
            wait_until(lambda: all(sender.counted[name] > later[name] for name in NAMES))
        finally:
            sender.close()
        counted = heard(walk, admin)
        for name in NAMES:
            least = restored[name] + sender.counted[name]
            assert least <= counted[name] <= least + sender.unknown[name]
        assert {".db", ".dump"} == {file.suffix for file in (tmp_path / "backups").iterdir()}


def test_page_has_no_other_commands() -> None:
    """What the test above does is all that the page says."""
    text = (DOCS / "keep.md").read_text()
    with_commands = [
        section.splitlines()[0] for section in text.split("\n## ")[1:] if "```console" in section
    ]

    assert with_commands == [
        "Install",
        "Make the first key, and start",
        "Look whether all is well",
        "Back up",
        "Restore",
        "Move to PostgreSQL",
        "Take a new version",
    ]
    assert text.count("```") == 2 * len(blocks("keep.md", "console"))

"""A simulated machine, in a folder, with a receiver installed as docs/operations.md says."""

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

import httpx

from operations.confined import settings, values
from operations.proxies import DEPLOY
from ports import free_port
from servers import NO_AUTHORITIES, PATIENCE_SECONDS, wait_until

PAGE = DEPLOY.parent / "docs/operations.md"
TEXT = PAGE.read_text()
UNIT = "odoo-mcp-fleet.service"
HERE = Path(__file__).parent

RUNUSER = """#!/bin/sh
# The tests' own user runs the service, because it may not become another user.
[ "$1 $2 $3" = "-u odoo-mcp-fleet --" ] || exit 99
shift 3
exec "$@"
"""


def section(heading: str) -> str:
    """The text of docs/operations.md below a heading."""
    found = TEXT.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    assert found, f"no such heading: {heading}"
    return found


def blocks(text: str, language: str) -> list[str]:
    """The code blocks of one language in a Markdown text."""
    return re.findall(rf"^```{language}\n(.+?)^```$", text, re.MULTILINE | re.DOTALL)


def commands(heading: str) -> str:
    """The shell commands of docs/operations.md below a heading."""
    found = "".join(blocks(section(heading), "sh"))
    assert found, f"no commands below {heading}"
    return found


class Machine:
    """
    A folder that simulates the file system of a machine with the service.

    Args:
        root: The folder.
        places: More paths or names of the page, each with its replacement on this machine.
    """

    def __init__(self, root: Path, places: Mapping[str, str] = {}) -> None:
        self.root = root
        self.port = free_port()
        self.log = root / "journal"
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        # The longer paths first, because some are prefixes of others.
        self._places = {
            "install -d -m 700 -o odoo-mcp-fleet -g odoo-mcp-fleet": "install -d -m 700",
            "install -m 600 -o odoo-mcp-fleet -g odoo-mcp-fleet": "install -m 600",
            "127.0.0.1:8000": f"127.0.0.1:{self.port}",
            "--port 8000": f"--port {self.port}",
            "/opt/odoo-mcp-fleet/bin/": f"{Path(sys.executable).parent}/",
            "/var/lib/odoo-mcp-fleet": f"{root}/var/lib/odoo-mcp-fleet",
            "/var/backups/odoo-mcp-fleet": f"{root}/var/backups/odoo-mcp-fleet",
            "/etc/odoo-mcp-fleet.env": f"{root}/etc/odoo-mcp-fleet.env",
            **places,
        }
        for folder in ("var/lib/odoo-mcp-fleet", "var/backups", "etc", "bin"):
            (root / folder).mkdir(parents=True)
        self._program("runuser", RUNUSER)
        self._program("fleet", self.here((DEPLOY / "fleet").read_text()))
        self.unit = root / UNIT
        self.unit.write_text(self.here((DEPLOY / UNIT).read_text()))

    @property
    def backups(self) -> Path:
        return self.root / "var/backups/odoo-mcp-fleet"

    @property
    def state(self) -> Path:
        return self.root / "var/lib/odoo-mcp-fleet"

    def here(self, text: str) -> str:
        """The text with the page's paths replaced by those of this machine."""
        for there, here in self._places.items():
            text = text.replace(there, here)
        return text

    def configure(self, **variables: str) -> None:
        lines = [f"{name}='{value}'\n" for name, value in variables.items()]
        (self.root / "etc/odoo-mcp-fleet.env").write_text("".join(lines))

    def do(self, script: str) -> str:
        """
        Run commands of the page; returns their output.

        Lines with `systemctl` start and stop the service by this class.
        """
        said = ""
        for is_about_service, lines in _parts(script):
            if not is_about_service:
                said += self._shell("".join(lines))
            for command in lines if is_about_service else ():
                {"stop": self.stop, "start": self.start}[command.split()[1]]()
        return said

    def start(self, *more: str) -> None:
        """Start the service under its unit's system-call filters, and wait until it answers."""
        (command,) = values(settings(self.unit.read_text()), "ExecStart")
        with self.log.open("a") as log:
            self._process = subprocess.Popen(
                [sys.executable, HERE / "confined.py", self.unit, *shlex.split(command), *more],
                cwd=self.state,
                env={**os.environ, **self._variables()},
                stdout=log,
                stderr=log,
            )
        wait_until(self._is_healthy)

    def stop(self) -> None:
        """Stop the service as systemd does, and assert that it exits cleanly."""
        if self._process is not None:
            self._process.terminate()
            # systemd takes a death by the signal that it has sent for a clean exit.
            status = self._process.wait(PATIENCE_SECONDS)
            assert status in {0, -signal.SIGTERM}, self.log.read_text()
            self._process = None

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def client(self, key: str | None = None) -> httpx.Client:
        """An HTTP client of the receiver, without a proxy between."""
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        return httpx.Client(
            base_url=self.url,
            headers=headers,
            timeout=PATIENCE_SECONDS,
            trust_env=False,
            verify=NO_AUTHORITIES,
        )

    def _shell(self, script: str) -> str:
        """Run a script in a new shell, without variables of earlier ones."""
        path = os.pathsep.join([str(self.root / "bin"), os.environ["PATH"]])
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", self.here(script)],
            cwd=self.root,
            env={**os.environ, "PATH": path},
            check=False,
            capture_output=True,
            text=True,
        )
        assert 0 == done.returncode, f"{script}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def _program(self, name: str, text: str) -> None:
        program = self.root / "bin" / name
        program.write_text(text)
        program.chmod(0o755)

    def _variables(self) -> dict[str, str]:
        """The environment variables of the service's environment file."""
        file = self.root / "etc/odoo-mcp-fleet.env"
        lines = shlex.split(file.read_text(), comments=True) if file.exists() else []
        return dict(line.split("=", 1) for line in lines)

    def _is_healthy(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log.read_text()
        try:
            health = httpx.get(f"{self.url}/health", trust_env=False, verify=NO_AUTHORITIES)
        except httpx.TransportError:
            return False
        return health.status_code == 200


@contextmanager
def machine(root: Path, places: Mapping[str, str] = {}) -> Iterator[Machine]:
    machine = Machine(root, places)
    try:
        yield machine
    finally:
        machine.close()


def _parts(script: str) -> Iterator[tuple[bool, list[str]]]:
    """Split a script into runs of lines with `systemctl` (True) and of others (False)."""
    lines = script.splitlines(keepends=True)
    for is_about_service, group in groupby(lines, lambda line: line.startswith("systemctl ")):
        yield is_about_service, [*group]

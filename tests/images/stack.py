"""The services of compose.yaml, started by podman-compose."""

import ssl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import copytree

import httpx

from images.engine import ROOT, Engine
from ports import free_port
from servers import wait_until

RECEIVERS = ("receiver-1", "receiver-2")
PASSWORD = "it's a/pass:word@of%20tests"


class Stack:
    """
    A fleet on this machine, as compose.yaml describes it.

    Args:
        engine: Runs the containers.
        folder: Gets a copy of what compose.yaml refers to, and the file `.env`.
    """

    def __init__(self, engine: Engine, folder: Path) -> None:
        self.http_port, self.https_port = free_port(), free_port()
        self._engine = engine
        self._folder = folder
        (folder / "compose.yaml").write_text((ROOT / "compose.yaml").read_text())
        copytree(ROOT / "deploy", folder / "deploy")
        (folder / "fleet.env").write_text("FLEET_SILENT_SHARE=0.75\n")
        (folder / ".env").write_text(
            f"PROXY_HOST=localhost\nPOSTGRES_PASSWORD={PASSWORD!r}\n"
            f"PROXY_HTTP_PORT={self.http_port}\nPROXY_HTTPS_PORT={self.https_port}\n"
        )

    @contextmanager
    def running(self) -> Iterator["Stack"]:
        """Start the services, each when those are healthy that it depends on; end them after it."""
        try:
            for service in ("database", *RECEIVERS, "proxy"):
                self._compose("up", "--detach", "--no-build", "--no-deps", service)
                if service != "proxy":
                    self._engine.wait_until_healthy(self.container(service))
            wait_until(self._is_served)
            yield self
        finally:
            self._compose("down", "--volumes", "--timeout", "20")

    def container(self, service: str) -> str:
        return f"odoo-mcp-fleet_{service}_1"

    def do(self, service: str, *command: str) -> str:
        """Run a program in a container; returns its output."""
        return self._engine.run("podman", "exec", self.container(service), *command)

    def log(self, service: str) -> str:
        done = self._engine.attempt("podman", "logs", self.container(service))
        return done.stdout + done.stderr

    def replace(self, service: str) -> None:
        """Stop the container of a service, and start a new one, as an upgrade does."""
        self._compose("up", "--detach", "--no-build", "--no-deps", "--force-recreate", service)
        self._engine.wait_until_healthy(self.container(service))

    def client(self, *, key: str | None = None) -> httpx.Client:
        """An HTTPS client of the proxy that trusts its own authority, with a key."""
        authority = self.do("proxy", "cat", "/data/caddy/pki/authorities/local/root.crt")
        return httpx.Client(
            base_url=f"https://localhost:{self.https_port}",
            headers={} if key is None else {"Authorization": f"Bearer {key}"},
            verify=ssl.create_default_context(cadata=authority),
            trust_env=False,
        )

    def _compose(self, *arguments: str) -> None:
        command = (sys.executable, "-m", "podman_compose", "--in-pod=false", *arguments)
        done = self._engine.attempt(*command, folder=self._folder)
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"

    def _is_served(self) -> bool:
        try:
            with self.client() as client:
                return client.get("/health").status_code == 200
        except (AssertionError, httpx.TransportError):  # there is no authority yet
            return False

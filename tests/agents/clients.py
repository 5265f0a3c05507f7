"""MCP clients that connect to a server by a configuration file, until they know its tools."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agents.programs import Programs

__all__ = ["CLIENTS", "Connect"]

Connect = Callable[[Programs, str, str, Path], None]
"""
Lets a client connect, with these arguments: the programs, the text of the configuration file, the
API key, and an empty folder. Raises AssertionError when the client says that it failed.
"""


def claude_code(programs: Programs, file: str, key: str, folder: Path) -> None:
    """Claude Code checks the servers of a project whose file it finds there."""
    (folder / ".mcp.json").write_text(file)
    home = folder / "home"
    (home / ".claude").mkdir(parents=True)
    # Or it would ask for each server whether it is trusted.
    (home / ".claude/settings.json").write_text('{"enableAllProjectMcpServers": true}')
    done = programs.run("claude", "mcp", "list", home=home, cwd=folder, **{_variable(file): key})
    assert "✔ Connected" in done.stdout, done


def codex(programs: Programs, file: str, key: str, folder: Path) -> None:
    """Codex tells an editor, which it serves by JSON-RPC on its standard input, about servers."""
    (folder / ".codex").mkdir()
    (folder / ".codex/config.toml").write_text(file)
    process = subprocess.Popen(
        programs.command("codex", "app-server"),
        env=programs.environment(folder, **{_variable(file): key}),
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with process:
        _call(process, "initialize", clientInfo={"name": "test", "version": "1"})
        (server,) = _call(process, "mcpServerStatus/list")["data"]
    assert server["tools"], server
    assert "bearerToken" == server["authStatus"]


def _call(process: "subprocess.Popen[str]", method: str, **params: Any) -> Any:
    assert process.stdin is not None
    assert process.stdout is not None
    print(json.dumps({"id": method, "method": method, "params": params}), file=process.stdin)
    process.stdin.flush()
    for line in process.stdout:
        said = json.loads(line)
        if said.get("id") == method:
            return said["result"]
    raise AssertionError(f"Codex has not answered {method}")


def inspector(programs: Programs, file: str, key: str, folder: Path) -> None:
    """The Inspector reads the file of Claude Code, but knows no variables."""
    _inspect(programs, file.replace(f"${{{_variable(file)}}}", key), folder)


def inspector_with_a_command(programs: Programs, file: str, key: str, folder: Path) -> None:
    """The Inspector runs the command in a file, as Claude Desktop does."""
    _inspect(programs, file.replace("<Odoo API key>", key), folder)


def _inspect(programs: Programs, file: str, folder: Path) -> None:
    config = folder / "mcp.json"
    config.write_text(file)
    (name,) = json.loads(file)["mcpServers"]
    asked = ("--config", str(config), "--server", name, "--method", "tools/list")
    # What `npx` runs is installed in this folder.
    done = programs.run("inspector", "--cli", *asked, home=folder, cwd=programs.folder)
    assert 0 == done.returncode, done
    assert json.loads(done.stdout)["tools"]


def _variable(file: str) -> str:
    """The name of the environment variable for the API key that a file names."""
    (name,) = set(re.findall(r"ODOO_KEY_\w+", file))
    assert isinstance(name, str)
    return name


CLIENTS: dict[str, tuple[str, Connect]] = {
    "Claude Code": ("claude-code", claude_code),
    "Codex": ("codex", codex),
    "Inspector, as Claude Code": ("claude-code", inspector),
    "Inspector, as Claude Desktop": ("claude-desktop", inspector_with_a_command),
}
"""Each client with the name of the file that the receiver makes for it."""

"""A shell in which the commands of the manual are run, one after the other."""

import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

DOCS = Path(__file__).parents[2] / "docs"
INTERRUPT = "^C"
"""What a terminal shows for Ctrl-C, in place of a command."""


class Example(NamedTuple):
    """A command of a page, and the answer that the page shows; empty if it shows none."""

    command: str
    answer: str


def blocks(page: str, language: str) -> list[str]:
    """The code blocks of one language in a page of the manual."""
    text = (DOCS / page).read_text()
    return re.findall(rf"^```{language}\n(.+?)^```$", text, re.MULTILINE | re.DOTALL)


def examples(block: str) -> Iterator[Example]:
    """The commands of a block: what stands behind `$ `, up to a line that does not go on."""
    for part in re.split(r"^(?=\$ |\^C$)", block, flags=re.MULTILINE):
        if not part.strip():
            continue
        lines = part.splitlines()
        if lines[0] == INTERRUPT:
            yield Example(INTERRUPT, "")
            continue
        end = next(n for n in range(len(lines)) if _is_whole("\n".join(lines[: n + 1])))
        command = "\n".join(lines[: end + 1]).removeprefix("$ ")
        yield Example(command, "\n".join(lines[end + 1 :]))


def _is_whole(command: str) -> bool:
    return not command.endswith("\\") and command.count("'") % 2 == 0


class Terminal:
    """
    A running bash.

    Args:
        folder: Where it starts; also its HOME.
        environ: More environment variables.
    """

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self._shell = subprocess.Popen(
            ["bash", "--norc"],
            cwd=folder,
            env={**os.environ, "HOME": str(folder), **environ},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.run("set -m")

    def run(self, command: str) -> tuple[int, str]:
        """Run a command; returns its exit status and what it printed."""
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        self._shell.stdin.write(f"{command}\nprintf '\\n%s %s\\n' =end= $?\n")
        self._shell.stdin.flush()
        said = ""
        for line in self._shell.stdout:
            if line.startswith("=end= "):
                return int(line.split()[1]), said.removesuffix("\n")
            said += line
        raise AssertionError(f"the shell has ended at: {command}\n{said}")

    def close(self) -> None:
        assert self._shell.stdin is not None
        self._shell.stdin.close()
        assert self._shell.stdout is not None
        self._shell.stdout.close()
        self._shell.wait(60)


@contextmanager
def terminal(folder: Path, environ: Mapping[str, str]) -> Iterator[Terminal]:
    opened = Terminal(folder, environ)
    try:
        yield opened
    finally:
        opened.close()

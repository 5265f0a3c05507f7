"""The commands in the documentation exist, with their options and exit statuses."""

import re
import shlex
from pathlib import Path

import click
import pytest

from receiver.commands.context import Exit
from receiver.commands.program import PROGRAM

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/program.md").read_text()
CALL = "odoo-mcp-fleet (?:--)?[a-z]"
OF_SERVICE = "fleet [a-z]"
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]


def written() -> list[str]:
    """
    Every call of the program in a block or between backquotes, without what a shell does.

    Also those of `fleet`, which deploy/fleet makes of it for a service.
    """
    found = []
    for page in PAGES:
        text = page.read_text()
        found += re.findall(rf"(?<![/\w])(?<!-[gou] ){CALL}.*", blocks(text))
        found += re.findall(rf"`({CALL}[^`]*)`", text)
        found += re.findall(rf"^(?:\$ )?({OF_SERVICE}.*)", blocks(text), re.MULTILINE)
        found += re.findall(rf"`({OF_SERVICE}[^`]*)`", text)
    return sorted({re.split(r" *[|>#)]| +\\$", each)[0].strip(' "') for each in found})


def blocks(text: str) -> str:
    return "\n".join(re.findall(r"^```(?:console|sh)\n(.+?)^```$", text, re.MULTILINE | re.DOTALL))


@pytest.mark.parametrize("line", written())
def test_command_of_the_documentation_exists(line: str) -> None:
    _, *arguments = shlex.split(line)
    command: click.Command = PROGRAM
    ctx = click.Context(command)
    while isinstance(command, click.Group) and arguments and not arguments[0].startswith("-"):
        found = command.get_command(ctx, arguments.pop(0))
        assert found is not None, line
        command = found
    options = {name for each in command.params for name in (*each.opts, *each.secondary_opts)}

    for option in (each.partition("=")[0] for each in arguments if each.startswith("--")):
        assert option in {*options, "--help"}, line


def test_program_page_of_the_manual_lists_every_command() -> None:
    (table,) = re.findall(r"^## Commands\n(.+?)^## ", PAGE, re.MULTILINE | re.DOTALL)
    listed = {
        word for row in re.findall(r"^\| (`.+?) \|", table, re.MULTILINE) for word in names(row)
    }

    assert {*PROGRAM.list_commands(click.Context(PROGRAM))} == listed


def names(row: str) -> list[str]:
    return [each.split()[0] for each in re.findall(r"`(.+?)`", row)]


def test_program_page_of_the_manual_lists_every_exit_status() -> None:
    assert [each.value for each in Exit] == [
        int(number) for number in re.findall(r"^\| (\d+) \| ", PAGE, re.MULTILINE)
    ]

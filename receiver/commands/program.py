"""
The program `odoo-mcp-fleet`: one command for whoever keeps a fleet.

    odoo-mcp-fleet serve
    odoo-mcp-fleet keys create --name you --scope admin
    odoo-mcp-fleet list stage:production state:down
    odoo-mcp-fleet events --follow --url https://fleet.example.com

`python -m receiver` has the older commands of it. A module of commands is imported when one of its
commands is called, so that completing a word and `--version` take no time.
"""

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from types import MappingProxyType
from typing import Any

import click
from click.shell_completion import CompletionItem, get_completion_class

from contract import FleetError
from receiver.commands.context import Exit, Surroundings, exit_status_of
from receiver.domain.errors import InvalidSetting

__all__ = ["PROGRAM", "Program", "main", "run"]

_NAME = "odoo-mcp-fleet"
_COMPLETE = "_ODOO_MCP_FLEET_COMPLETE"
_SHELLS = ("bash", "zsh", "fish")

_EXITS = """\b
Exit status:
  0  it is done
  1  it was refused, or there is no such thing
  2  the arguments or the settings are wrong
  3  the receiver or its database does not answer
  4  the key is missing or wrong, or may not do it
  5  what was looked at needs somebody
  130  Ctrl-C, or the answer to a question was no

Times are in UTC, unless they say otherwise.
"""


class Program(click.Group):
    """
    A group of commands whose modules are imported when they are needed.

    Args:
        places: For each command its module in `receiver.commands`, and what it does in a few words,
            in the order in which they are listed. The module has a function `add_to`, which adds
            the command to a group.
        settings: The other arguments of `click.Group`.
    """

    def __init__(self, places: Mapping[str, tuple[str, str]], **settings: Any) -> None:
        super().__init__(**settings)
        self.places = MappingProxyType(dict(places))

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's argument
        return [*self.places, *(each for each in self.commands if each not in self.places)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in self.places and cmd_name not in self.commands:
            module, _ = self.places[cmd_name]
            import_module(f"receiver.commands.{module}").add_to(self)
        return super().get_command(ctx, cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(name, self._says(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        names = [each for each in self.list_commands(ctx) if each.startswith(incomplete)]
        options = click.Command.shell_complete(self, ctx, incomplete)
        return [*(CompletionItem(name, help=self._says(ctx, name)) for name in names), *options]

    def _says(self, ctx: click.Context, name: str) -> str:
        if name in self.places:
            return self.places[name][1]
        command = self.get_command(ctx, name)
        return "" if command is None else command.get_short_help_str()


@click.command(short_help="Let a shell complete words of this program.")
@click.argument("shell", type=click.Choice(_SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> int:
    """
    Print what lets a shell complete words of this program.

    For bash, write into ~/.bashrc: eval "$(odoo-mcp-fleet completion bash)"
    """
    surroundings: Surroundings = ctx.obj
    kind = get_completion_class(shell)
    assert kind is not None  # each of `_SHELLS` has one
    surroundings.say(kind(PROGRAM, {}, _NAME, _COMPLETE).source())
    return Exit.OK


_KEYS = {"keys": ("keys", "Make, list, revoke and rotate keys, hand servers over.")}
_ALERTS = {
    "channels": ("alerts", "Through what people are told of alarms."),
    "rules": ("alerts", "Of what people are told."),
    "silences": ("alerts", "When nobody is told."),
    "alarms": ("alerts", "What lasts now, and what was told."),
    "secret-key": ("alerts", "Make a key for FLEET_SECRET_KEY."),
}

PROGRAM = Program(
    {
        "serve": ("serve", "Run a receiver until Ctrl-C."),
        "status": ("fleet", "Say how the fleet and its receiver are."),
        "list": ("fleet", "List servers."),
        "events": ("events", "Say what happened, and what happens, the newest last."),
        "connect": ("fleet", "Print the file with which an MCP client connects to servers."),
        "silence": ("alerts", "Let nobody be told of a server for a while, from now on."),
        "label": ("fleet", "Label the database of a server, write a note on it, and print both."),
        "forget": ("fleet", "Forget servers that are gone for good, and print their ids."),
        "doctor": ("doctor", "Look whether all is well with the receiver, and say what to do."),
        "backup": ("data", "Write a backup of the database, into a folder or a new file."),
        "export": ("data", "Write everything of the database into a file in JSON Lines."),
        "import": ("data", "Read a file that `export` has written into the database."),
        "move": ("data", "Move the fleet to another database, and go on if interrupted."),
        **_KEYS,
        **_ALERTS,
    },
    name=_NAME,
    help="Keep a fleet of Odoo databases that offer MCP tools.",
    epilog=_EXITS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
PROGRAM.add_command(completion)
click.version_option(None, "-V", "--version", package_name=_NAME, message="%(prog)s %(version)s")(
    PROGRAM
)

OLDER = Program(
    {**_KEYS, "servers": ("fleet", "Connect agents to servers, forget servers."), **_ALERTS},
    name="python -m receiver",
    help="Administer a receiver by way of its database, without a key. Receivers may be running.",
    epilog=f"FLEET_DATABASE_URL names the database. The program {_NAME} does this and more.",
)
"""The commands of `python -m receiver`."""


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run the program `odoo-mcp-fleet`, and return its exit status, one of `Exit`.

    Args:
        arguments: The arguments of the program; those of the process by default.
    """
    return run(PROGRAM, sys.argv[1:] if arguments is None else arguments, Surroundings())


def run(program: Program, arguments: Sequence[str], surroundings: Surroundings) -> int:
    """
    Run a command, print a sentence about what goes wrong, and return the exit status.

    Args:
        program: The commands.
        arguments: The name of the command, and its arguments.
        surroundings: What the command gets from outside, such as the environment variables.
    """
    explain = surroundings.explain
    try:
        status = program.main(
            [*arguments],
            prog_name=surroundings.program,
            complete_var=_COMPLETE,
            standalone_mode=False,
            obj=surroundings,
        )
        return Exit.OK if status is None else int(status)
    except click.exceptions.NoArgsIsHelpError as error:
        explain(error.format_message())
        return Exit.USAGE
    except click.UsageError as error:
        called = surroundings.program if error.ctx is None else error.ctx.command_path
        explain(f"{error.format_message()}\nSee: {called} --help")
        return Exit.USAGE
    except click.Abort:
        return Exit.INTERRUPTED
    except InvalidSetting as error:
        for problem in error.problems:
            explain(problem)
        return Exit.USAGE
    except FleetError as error:
        explain(str(error))
        return exit_status_of(error)

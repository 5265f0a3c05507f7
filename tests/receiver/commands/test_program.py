"""The program `odoo-mcp-fleet` itself: help, version, completion, errors and surroundings."""

import os
import re
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from importlib.metadata import version
from io import StringIO

import click
import pytest

from commanding import Command
from receiver import commands
from receiver.commands.context import Surroundings
from receiver.commands.output import Output
from receiver.commands.program import OLDER, PROGRAM, Program, main, run
from servers import Clock


@pytest.mark.parametrize("program", [PROGRAM, OLDER], ids=["program", "older"])
def test_every_command_is_listed_with_what_it_does(program: Program) -> None:
    """The list is written by hand, so that it needs no modules of commands."""
    ctx = click.Context(program)
    for name, (_, says) in program.places.items():
        command = program.get_command(ctx, name)
        assert command is not None, name
        assert says == command.get_short_help_str(limit=100), name


def test_every_command_explains_itself() -> None:
    def walk(group: click.Group, *names: str) -> None:
        ctx = click.Context(group)
        for name in group.list_commands(ctx):
            each = group.get_command(ctx, name)
            assert each is not None
            assert each.help, (*names, name)
            for parameter in each.params:
                assert isinstance(parameter, click.Argument) or parameter.help, (*names, name)
            if isinstance(each, click.Group):
                walk(each, *names, name)

    walk(PROGRAM)


def test_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 == Command({}, Clock())("--version").status
    assert f"odoo-mcp-fleet {version('odoo-mcp-fleet')}\n" == capsys.readouterr().out


def test_help_names_the_commands_and_exit_statuses(capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 == main(["--help"])

    shown = capsys.readouterr().out
    assert "  serve       Run a receiver until Ctrl-C.\n" in shown
    assert "  completion  Let a shell complete words of this program.\n" in shown
    assert "    3  the receiver or its database does not answer\n" in shown


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "Usage: odoo-mcp-fleet"),
        (("keys",), "Usage: odoo-mcp-fleet keys"),
        (("lst",), "No such command 'lst'"),
        (("list", "--colour"), "No such option '--colour'"),
        (("completion", "tcsh"), "'tcsh' is not one of 'bash', 'zsh', 'fish'"),
    ],
)
def test_wrong_arguments_of_the_program_are_explained(
    arguments: tuple[str, ...], says: str
) -> None:
    status, said, explained = Command({}, Clock())(*arguments)

    assert (2, []) == (status, said)
    assert says in explained


def test_shell_completion_offers_commands_and_values(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def completed(words: str) -> list[str]:
        monkeypatch.setenv("_ODOO_MCP_FLEET_COMPLETE", "bash_complete")
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", str(len(words.split(" ")) - 1))
        with pytest.raises(SystemExit):
            run(PROGRAM, [], Surroundings())
        return capsys.readouterr().out.split()

    assert [
        "plain,serve",
        "plain,status",
        "plain,silence",
        "plain,silences",
        "plain,secret-key",
    ] == (completed("odoo-mcp-fleet s"))
    assert ["plain,create"] == completed("odoo-mcp-fleet keys c")
    assert ["plain,agent", "plain,admin"] == completed("odoo-mcp-fleet keys create --scope a")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_printed_for_a_shell(shell: str) -> None:
    status, (script,), _ = Command({}, Clock())("completion", shell)

    assert 0 == status
    assert f"_ODOO_MCP_FLEET_COMPLETE={shell}_complete" in script


def test_program_ends_with_status_zero_when_its_output_pipe_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As when `head` has read enough."""
    reads, writes = os.pipe()
    os.close(reads)
    with os.fdopen(writes, "w") as output:
        monkeypatch.setattr(sys, "stdout", output)
        with pytest.raises(SystemExit) as ended:
            run(PROGRAM, ["secret-key"], Surroundings())
        output.write("the rest")

    assert 0 == ended.value.code


@pytest.mark.parametrize(
    ("hidden", "says"), [("click", "needs click, which comes with"), ("sqlalchemy", None)]
)
def test_missing_extra_is_reported_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    hidden: str,
    says: str | None,
) -> None:
    monkeypatch.delitem(sys.modules, "receiver.commands.program")
    monkeypatch.setitem(sys.modules, hidden if says else "receiver.commands.program", None)

    if says is None:
        with pytest.raises(ModuleNotFoundError):
            commands.main()
    else:
        assert 1 == commands.main()
        assert says in capsys.readouterr().err


def test_entry_point_runs_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["odoo-mcp-fleet", "--version"])

    assert 0 == commands.main()


def test_program_is_quick_to_complete_words() -> None:
    """Only a command that is called imports what it needs."""
    code = (
        "import sys; from receiver.commands.program import PROGRAM, run;"
        "from receiver.commands.context import Surroundings;"
        "run(PROGRAM, ['--help'], Surroundings());"
        "print([m for m in ('sqlalchemy', 'starlette', 'uvicorn', 'httpx') if m in sys.modules])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=True,
        capture_output=True,
        text=True,
    )

    assert "[]" == ran.stdout.splitlines()[-1]


# Surroundings


def test_table_on_a_terminal_has_colours_fits_and_shows_no_control_characters() -> None:
    said: list[str] = []
    output = Output(surroundings=Surroundings(say=said.append, columns=lambda: 30))

    output.objects(
        [
            {"state": "down", "name": "evil\u202e\x1b[31m"},
            {"state": "up", "name": "[red]long[/red] " * 4},
        ],
        (("STATE", lambda each: each["state"]), ("NAME", lambda each: each["name"])),
        if_none="There are none.",
    )

    whole = "\n".join(said)
    plain = "".join(re.sub(r"\x1b\[[0-9;]*m", "", line).ljust(30)[7:] for line in said[1:])
    assert "\x1b[1mSTATE" in whole
    assert "\x1b[1;31mdown" in whole
    assert "evil\\u202e\\x1b[31m" in plain.replace(" ", "")
    assert "\u202e" not in whole
    assert "[red]long[/red]" in whole
    assert 4 < len(said)


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("typed", "answer"), [("y\n", True), ("Yes\n", True), ("\n", False), ("n\n", False)]
)
def test_confirmation_is_asked_for_at_a_terminal(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    typed: str,
    *,
    answer: bool,
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(typed))

    assert answer is Surroundings().ask("Forget it?")
    assert "Forget it? [y/N] " == capsys.readouterr().err


def test_confirmation_is_not_asked_for_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", StringIO("y\n"))

    assert Surroundings().ask("Forget it?") is None


def test_output_width_is_that_of_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", StringIO())
    nothing = Surroundings().columns()
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setenv("COLUMNS", "77")

    assert (None, 77) == (nothing, Surroundings().columns())


def test_lines_go_to_standard_output_and_explanations_to_standard_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    surroundings = Surroundings()
    surroundings.say("a line")
    surroundings.explain("a sentence")

    assert ("a line\n", "a sentence\n") == capsys.readouterr()
    assert abs(surroundings.clock() - datetime.now(timezone.utc)) < timedelta(minutes=1)

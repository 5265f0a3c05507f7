"""What commands get from outside, their exit statuses, and their errors."""

import os
import shutil
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from enum import IntEnum
from getpass import getpass

from attrs import frozen

from contract import FleetError, InvalidMessage
from receiver.domain.errors import StoreUnavailable

__all__ = [
    "BrokenOff",
    "CommandFailed",
    "Exit",
    "NotAllowed",
    "Print",
    "Surroundings",
    "Unreachable",
    "WrongUse",
    "exit_status_of",
    "in_steps",
    "read_secret",
]

Print = Callable[[str], None]


class Exit(IntEnum):
    """
    The exit statuses of the program.

    `OK`: the command has done its work. `FAILED`: it was refused, or what it is about does not
    exist; a sentence on standard error says why. `USAGE`: the arguments or settings are wrong.
    `UNREACHABLE`: the receiver or its database does not answer. `NOT_ALLOWED`: the key is missing
    or wrong, or lacks the permission. `NOT_WELL`: the command, such as `status` or `doctor`, has
    found something that is wrong with the fleet or its receiver. `INTERRUPTED`: the user has
    pressed Ctrl-C, or answered a question by no.
    """

    OK = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    NOT_ALLOWED = 4
    NOT_WELL = 5
    INTERRUPTED = 130


class CommandFailed(FleetError):
    """
    A command has failed: its request was refused, or it cannot be carried out.

    Attributes:
        exit_status: The exit status of the program.
    """

    code = "command_failed"
    exit_status = Exit.FAILED


class WrongUse(CommandFailed):
    """
    An argument or a setting is wrong, or fits neither the other ones nor the files there are.

    Attributes:
        paths: If a receiver has refused a request, which values of its body it has found wrong,
            such as `server_id`.
    """

    code = "wrong_use"
    exit_status = Exit.USAGE

    def __init__(self, text: str, paths: Iterable[str] = ()) -> None:
        super().__init__(text)
        self.paths = frozenset(paths)


class Unreachable(CommandFailed):
    """The receiver does not answer, or says that it cannot do anything now."""

    code = "unreachable"
    exit_status = Exit.UNREACHABLE


class NotAllowed(CommandFailed):
    """The receiver refuses a request, because its key is missing or wrong or may not do this."""

    code = "not_allowed"
    exit_status = Exit.NOT_ALLOWED


class BrokenOff(CommandFailed):
    """
    What is done with many servers in several steps has failed after the first of them.

    The text is that of the error that has ended it.

    Attributes:
        done: The ids of the servers with which it is certainly done.
    """

    code = "broken_off"

    def __init__(self, done: Collection[str], why: FleetError) -> None:
        super().__init__(str(why))
        self.done = [*done]
        self.exit_status = exit_status_of(why)


@contextmanager
def in_steps(done: Collection[str]) -> Iterator[None]:
    """
    A context for something that is done with many servers in several steps.

    A FleetError is raised again as BrokenOff; or as it is, if nothing is done yet.

    Args:
        done: The ids of the servers with which it is done, to which the steps add theirs.
    """
    try:
        yield
    except FleetError as error:
        if not done:
            raise
        raise BrokenOff(done, error) from error


def exit_status_of(error: FleetError) -> Exit:
    """The exit status of a command that an error has ended."""
    if isinstance(error, CommandFailed):
        return error.exit_status
    if isinstance(error, InvalidMessage):
        return Exit.USAGE
    return Exit.UNREACHABLE if isinstance(error, StoreUnavailable) else Exit.FAILED


def read_secret(question: str) -> str:
    """
    Read a secret, which no argument of a command may hold, because `ps` shows arguments.

    At a terminal, this asks the `question`, and does not show what is typed. Otherwise the secret
    is the first line of the standard input.
    """
    if sys.stdin.isatty():
        return getpass(f"{question}: ")
    return sys.stdin.readline().strip()


def _now() -> datetime:
    return datetime.now(timezone.utc)


def _say(line: str) -> None:
    try:
        print(line, flush=True)  # noqa: T201 - a command prints for its user
    except BrokenPipeError:
        # Who reads has had enough, as `head` has; Python must not write the rest at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(Exit.OK) from None


def _explain(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - a command prints for its user


def _ask(question: str) -> bool | None:
    """Ask a question at the terminal; return whether the answer is yes, None without a terminal."""
    if not sys.stdin.isatty():
        return None
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def _columns() -> int | None:
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


@frozen(kw_only=True)
class Surroundings:
    """
    What a command gets from outside, and what a test replaces.

    Attributes:
        program: How the program is called, for sentences that name a command.
        is_on_database: Whether commands open the database, also if FLEET_URL names a receiver.
        environ: The environment variables.
        clock: Returns the current time.
        sleep: Waits for a number of seconds.
        say: Prints a line of the result to standard output.
        explain: The function that prints a sentence for people to standard error.
        read: Asks the user the given question, and returns the secret that is typed.
        ask: Asks the user a question, and returns whether the answer is yes; None without a
            terminal.
        columns: Returns how many columns the terminal has on which the result is printed; None if
            it is no terminal.
        run_server: Runs the app that its first argument names, with the options of `uvicorn.run`;
            None for `uvicorn.run` itself, so that only the command `serve` imports uvicorn.
    """

    program: str = "odoo-mcp-fleet"
    is_on_database: bool = False
    environ: Mapping[str, str] = os.environ
    clock: Callable[[], datetime] = _now
    sleep: Callable[[float], None] = time.sleep
    say: Print = _say
    explain: Print = _explain
    read: Callable[[str], str] = read_secret
    ask: Callable[[str], bool | None] = _ask
    columns: Callable[[], int | None] = _columns
    run_server: Callable[..., None] | None = None

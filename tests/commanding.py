"""Test helper: running the commands of `odoo-mcp-fleet` and `python -m receiver`."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple

from receiver.__main__ import main
from receiver.commands.context import Surroundings
from receiver.commands.program import PROGRAM, run

__all__ = ["Command", "Said"]


class Said(NamedTuple):
    """Exit status, standard output and standard error of a command."""

    status: int
    said: list[str]
    explained: str


class Command:
    """
    Runs commands; called with their arguments, it returns what they say.

    Args:
        environ: The environment variables.
        clock: Returns the current time.
        is_older: Whether the commands are those of `python -m receiver`.
        more: Other attributes of `Surroundings`.

    Attributes:
        asked: The questions that were asked, for secrets and before something is forgotten.
        secret: What is typed when a secret is asked for.
        answer: The answer to a question; None if nobody can be asked.
    """

    def __init__(
        self,
        environ: dict[str, str],
        clock: Callable[[], datetime],
        *,
        is_older: bool = False,
        **more: Any,
    ) -> None:
        self.environ = environ
        self.asked: list[str] = []
        self.secret = ""
        self.answer: bool | None = None
        self._clock = clock
        self._is_older = is_older
        self._more = more

    def __call__(self, *arguments: str) -> Said:
        said: list[str] = []
        explained: list[str] = []
        surroundings = Surroundings(
            program="python -m receiver" if self._is_older else "odoo-mcp-fleet",
            is_on_database=self._is_older,
            environ=self.environ,
            clock=self._clock,
            say=said.append,
            explain=explained.append,
            read=self._read,
            ask=self._ask,
            **{"columns": lambda: None, **self._more},
        )
        if self._is_older:
            status = main(arguments, surroundings=surroundings)
        else:
            status = run(PROGRAM, arguments, surroundings)
        return Said(status, said, "\n".join(explained))

    def _read(self, question: str) -> str:
        self.asked.append(question)
        return self.secret

    def _ask(self, question: str) -> bool | None:
        self.asked.append(question)
        return self.answer

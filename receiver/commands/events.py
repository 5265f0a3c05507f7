"""The command `events`, which prints what happened and, with `--follow`, what happens."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime

import click

from contract import Event, EventKind, InvalidMessage, structure
from receiver.commands.arguments import number, since, text
from receiver.commands.backends import Context, Json, reaching
from receiver.commands.context import Exit
from receiver.commands.output import visible
from receiver.domain.queries import EventFilter
from receiver.web.pages.wording import tale

__all__ = ["add_to"]

_FEW = 20
_MANY = 1000


def add_to(program: click.Group) -> None:
    """Add the command to a program."""
    program.add_command(events)


@click.command()
@reaching()
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    type=click.Choice([kind.value for kind in EventKind]),
    metavar="KIND",
    help=f"Only this; may be repeated: {', '.join(kind.value for kind in EventKind)}.",
)
@click.option(
    "--server",
    type=text,
    metavar="SERVER_ID",
    help="Only of this server and those that it superseded.",
)
@click.option(
    "--since",
    "begin",
    type=since,
    metavar="2h",
    help="Only in the last so many d, h or m, or since.",
)
@click.option(
    "--limit",
    type=number,
    metavar="N",
    help="The newest ones; 20 by default, and 1000 with --since.",
)
@click.option("-f", "--follow", is_flag=True, help="Go on as it happens, until Ctrl-C.")
def events(  # noqa: PLR0913 - its options
    context: Context,
    *,
    kinds: tuple[str, ...],
    server: str | None,
    begin: Callable[[datetime], datetime] | None,
    limit: int | None,
    follow: bool,
) -> int:
    """
    Say what happened, and what happens, the newest last.

    It goes on with --follow, and loses nothing when the receiver or the database is away.
    """
    wanted = EventFilter(
        kinds=frozenset(map(EventKind, kinds)),
        server_id=server,
        since=None if begin is None else begin(context.backend.now()),
    )
    most = limit or (_FEW if begin is None else _MANY)
    found = context.backend.events(wanted, limit=most)
    _print(context, found)
    if begin is not None and len(found) == most:
        context.explain(f"These are the newest {most}; there may be more since then.")
    if follow:
        last = found[-1]["id"] if found else None
        _print(context, context.backend.follow(wanted, after=last))
    elif not found:
        context.explain("Nothing happened.")
    return Exit.OK


def _print(context: Context, found: Iterable[Json]) -> None:
    for each in found:
        context.output.one(each, _line(each))


def _line(event: Json) -> str:
    """An event in one line: when, which server, and what."""
    says, more = str(event["kind"]), ""
    # A receiver of a newer version may know other kinds.
    with suppress(InvalidMessage):
        told = tale(structure({k: v for k, v in event.items() if k != "id"}, Event))
        says = told.says
        more = "; ".join(f"{label}: {value}" for label, value in told.more)
    subject = event["server_id"] or "fleet:"
    about = f" ({more})" if more else ""
    return visible(f"{event['at'][:19].replace('T', ' ')}  {subject} {says}{about}")

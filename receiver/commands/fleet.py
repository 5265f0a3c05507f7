"""The commands about the servers of a fleet: list, connect to, label and forget (delete) them."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar

import click

from contract import State
from contract.fields import parse_moment
from receiver.commands.arguments import QueryCommand, query_argument, some_text, text
from receiver.commands.backends import Context, Forgotten, Json, reaching
from receiver.commands.context import BrokenOff, Exit, WrongUse, in_steps
from receiver.commands.output import Column, minute
from receiver.domain.agents.client_files import API_KEY_STEPS, Client, client_file
from receiver.domain.databases import labels_in
from receiver.domain.filter_text import FilterText
from receiver.domain.forgetting import FORGETTABLE
from receiver.domain.queries import NODE, SUPERSEDED, Filter, Order
from receiver.settings import MAX_DAYS
from receiver.web.pages.wording import ago

__all__ = ["add_to"]

F = TypeVar("F", bound=Callable[..., Any])

_CLIENT = click.option(
    "--client",
    required=True,
    type=click.Choice([client.value for client in Client]),
    help="Which client.",
)
_STATES = (State.UP, State.NEW, State.LATE, State.DOWN)
"""The states of which there is a column in a table of numbers."""


def add_to(program: click.Group) -> None:
    """
    Add the commands to a program.

    To a `Program` only those are added that it lists (in its `places`).
    """
    commands = {
        "status": status,
        "list": list_servers,
        "connect": connect,
        "label": label,
        "forget": forget,
    }
    places = getattr(program, "places", commands)
    for name, command in {**commands, "servers": servers}.items():
        if name in places:
            program.add_command(command, name)


# Status


@click.command()
@reaching()
def status(context: Context) -> int:
    """
    Say how the fleet and its receiver are.

    The exit status is 5 when the receiver does not work, or servers are late or down.
    """
    found = context.backend.status()
    counts = found["servers"]
    is_well = found["healthy"] and not any((counts or {}).get(each.value) for each in _UNWELL)
    if context.output.is_json:
        context.output.json(found)
        return Exit.OK if is_well else Exit.NOT_WELL
    version = f" (version {found['version']})" if found["version"] else ""
    health = "is healthy." if found["healthy"] else f"is not well: {found['trouble']}"
    say = context.surroundings.say
    say(f"{context.backend.where}{version} {health}")
    if counts is None:
        context.explain("A key tells more: put it into FLEET_KEY, or its file in --key-file.")
        return Exit.OK if is_well else Exit.NOT_WELL
    rows = [(stage or "(no stage)", stages) for stage, stages in sorted(found["stages"].items())]
    lines = [(name, *(str(by.get(each.value, 0)) for each in _STATES)) for name, by in rows]
    total = ("all", *(str(counts.get(each.value, 0)) for each in _STATES))
    context.output.table(("STAGE", *(each.value.upper() for each in _STATES)), [*lines, total])
    if found["flapping"]:
        say(f"{found['flapping']} of them are flapping.")
    if found["alarms"]:
        say(f"{found['alarms']} alarms: {context.command('alarms list')}")
    return Exit.OK if is_well else Exit.NOT_WELL


_UNWELL = (State.LATE, State.DOWN)


# The list


@click.command("list", cls=QueryCommand)
@reaching()
@query_argument
@click.option(
    "--sort",
    "order",
    type=click.Choice([order.value for order in Order]),
    default=Order.TROUBLE.value,
    show_default=True,
    help="In this order; trouble: those that need somebody first; - is descending.",
)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="No more than so many.")
@click.option("-q", "--quiet", is_flag=True, help="Print the ids alone.")
def list_servers(
    context: Context, *, query: FilterText, order: str, limit: int | None, quiet: bool
) -> int:
    """
    List servers.

    QUERY says which, as in the search box of the page: stage:production state:down
    -tool:sale_order_confirm odoo:18.0,19.0, or a part of a name.
    """
    found = context.backend.servers(query, order=order, limit=limit)
    if quiet and not context.output.is_json:
        for each in found:
            context.surroundings.say(each["server_id"])
        return Exit.OK
    nothing = "There are no servers yet." if query == FilterText() else "No server matches."
    context.output.objects(found, _columns(context.backend.now()), if_none=nothing)
    return Exit.OK


def _columns(now: datetime) -> tuple[Column, ...]:
    return (
        ("STATE", lambda server: SUPERSEDED if server["superseded_by"] else server["state"]),
        ("SERVER", lambda server: server["server_id"]),
        ("STAGE", lambda server: server["odoo_stage"] or ""),
        ("ODOO", lambda server: server["odoo_version"] or ""),
        ("TOOLS", _tools),
        ("LAST SEEN", lambda server: ago(parse_moment(server["last_seen"]), now)),
        ("NOTES", _notes),
    )


def _tools(server: Json) -> str:
    tools = server["capabilities"]
    return "" if tools is None else str(len(tools))


def _notes(server: Json) -> str:
    nodes = len(server["nodes"])
    notes = {
        "flapping": server["flapping_since"],
        "two machines": server["conflict_since"],
        f"twin of {server['twin_of']}": server["twin_of"],
        f"node of {server['node_of']}": server["node_of"],
        f"{nodes} more {'node' if nodes == 1 else 'nodes'}": nodes,
        f"now {server['superseded_by']}": server["superseded_by"],
        "its key has lapsed": server["lapsed"],
    }
    return ", ".join(note for note, holds in notes.items() if holds)


# Connecting


@click.command(cls=QueryCommand)
@reaching()
@_CLIENT
@query_argument
def connect(context: Context, *, client: str, query: FilterText) -> int:
    """
    Print the file with which an MCP client connects to servers.

    They are those that match. It has no key in it; what to do is said on standard error.
    """
    return _connect(context, Client(client), query)


def _connect(context: Context, client: Client, query: FilterText) -> int:
    content, is_more = context.backend.client_file(client, query)
    context.surroundings.say(content.removesuffix("\n"))
    file = client_file(client, [])
    context.explain(f"This belongs in {file.path}, {file.place}. To make an Odoo API key:")
    for number, step in enumerate((*API_KEY_STEPS, file.key_step), start=1):
        context.explain(f"{number}. {step}")
    if is_more:
        context.explain("More servers match; this has the first of them.")
    return Exit.OK


# Labels and notes


@click.command()
@reaching()
@click.argument("server", type=some_text, metavar="SERVER_ID")
@click.option(
    "--add",
    "added",
    multiple=True,
    type=some_text,
    metavar="LABEL",
    help="Give it this label; may be repeated.",
)
@click.option(
    "--remove",
    "removed",
    multiple=True,
    type=some_text,
    metavar="LABEL",
    help="Take this label away; may be repeated.",
)
@click.option("--note", type=text, metavar="TEXT", help="Write this note; '' for none.")
def label(
    context: Context,
    *,
    server: str,
    added: tuple[str, ...],
    removed: tuple[str, ...],
    note: str | None,
) -> int:
    """
    Label the database of a server, write a note on it, and print both.

    All servers of the database have the same. Without an option they are printed only.
    """
    asked: Json = {} if note is None else {"note": note}
    for name, given in (("add", added), ("remove", removed)):
        if given:
            asked[name] = labels_in(",".join(given))
    backend = context.backend
    found = backend.relabel(server, asked) if asked else backend.annotation(server)
    context.output.objects([found], _ANNOTATION, if_none="")
    return Exit.OK


_ANNOTATION: tuple[Column, ...] = (
    ("SERVER", lambda found: found["server_id"]),
    ("LABELS", lambda found: ", ".join(found["labels"])),
    ("NOTE", lambda found: found["note"]),
    ("CHANGED", lambda found: minute(found["changed_at"])),
    ("BY", lambda found: found["changed_by"] or ""),
)


# Forgetting


def _days(given: str) -> timedelta:
    whole = given.removesuffix("d")
    if not re.fullmatch(r"[1-9][0-9]{0,4}", whole) or int(whole) > MAX_DAYS:
        raise click.BadParameter(f"expected a whole number of days from 1 to {MAX_DAYS}")
    return timedelta(days=int(whole))


@click.command(cls=QueryCommand)
@reaching()
@query_argument
@click.option(
    "--server", "ids", multiple=True, type=some_text, metavar="SERVER_ID", help="Just this one."
)
@click.option(
    "--silent-for", type=_days, metavar="30d", help="Those that were not heard for so many days."
)
@click.option("--dry-run", is_flag=True, help="Only print which.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def forget(  # noqa: PLR0913 - its options
    context: Context,
    *,
    query: FilterText,
    ids: tuple[str, ...],
    silent_for: timedelta | None,
    dry_run: bool,
    yes: bool,
) -> int:
    """
    Forget servers that are gone for good, and print their ids.

    QUERY says which, such as: stage:staging state:down. Only servers that are down, have left or
    are superseded are forgotten by it; --server forgets any. One that is heard again is back.
    """
    if ids:
        if query != FilterText() or silent_for is not None:
            raise WrongUse("--server stands alone: leave out QUERY and --silent-for")
        return _forget_by_id(context, ids, is_dry_run=dry_run, is_sure=yes)
    _must_say_which(query, silent_for, "--silent-for 30d")
    look = partial(context.backend.forget, query, silent_for=silent_for, is_dry_run=True)
    if dry_run:
        return _print_forgotten(context, look(), is_dry_run=True)
    if not yes:
        _must_be_sure(context, look())
    with _telling_what_is_forgotten(context):
        forgotten = context.backend.forget(query, silent_for=silent_for, is_dry_run=False)
    return _print_forgotten(context, forgotten, is_dry_run=False)


@contextmanager
def _telling_what_is_forgotten(context: Context) -> Iterator[None]:
    """A context for a command that may break off: prints which servers it has forgotten by then."""
    try:
        yield
    except BrokenOff as error:
        _print_forgotten(context, Forgotten(error.done), is_dry_run=False)
        context.explain("It ended there, and others may be left:")
        raise


def _must_say_which(query: FilterText, silent_for: timedelta | None, option: str) -> None:
    """Raise unless it is said which servers, and they may be forgotten."""
    if query == FilterText() and silent_for is None:
        raise WrongUse(
            f"Say which servers to forget, such as: {option}. With --dry-run nothing is "
            "forgotten, and the list shows what would be."
        )
    unfit = [each for each in query.state if each not in FORGETTABLE]
    if unfit:
        raise WrongUse(
            f"Servers that are {unfit[0]} are not forgotten by a filter; these are: "
            f"{', '.join(FORGETTABLE)}"
        )


def _must_be_sure(context: Context, found: Forgotten) -> None:
    """Ask whether servers are to be forgotten; raises if they are not."""
    for server_id in found.ids[:_MOST_ASKED]:
        context.explain(server_id)
    if len(found.ids) > _MOST_ASKED:
        context.explain(f"and {len(found.ids) - _MOST_ASKED} others")
    answer = context.surroundings.ask(f"Forget {_number(found)}?")
    if answer is None:
        raise WrongUse("Nobody can be asked here: say --yes to forget them")
    if not answer:
        raise click.Abort


_MOST_ASKED = 20
"""How many servers are named before the question."""


def _forget_by_id(
    context: Context, ids: tuple[str, ...], *, is_dry_run: bool, is_sure: bool
) -> int:
    found = Forgotten([*dict.fromkeys(ids)])
    if is_dry_run:
        return _print_forgotten(context, found, is_dry_run=True)
    if not is_sure:
        _must_be_sure(context, found)
    forgotten: list[str] = []
    with _telling_what_is_forgotten(context), in_steps(forgotten):
        for server_id in found.ids:
            context.backend.forget_server(server_id)
            forgotten.append(server_id)
    return _print_forgotten(context, found, is_dry_run=False)


def _print_forgotten(context: Context, found: Forgotten, *, is_dry_run: bool) -> int:
    for server_id in found.ids:
        context.output.one({"server_id": server_id}, server_id)
    is_one = len(found.ids) == 1 and not found.is_more
    verb = "would be" if is_dry_run else "is" if is_one else "are"
    context.explain(f"{_number(found)} {verb} forgotten.")
    return Exit.OK


def _number(found: Forgotten) -> str:
    """How many servers these are, in words."""
    if found.is_more:
        return f"{len(found.ids)} and more servers"
    return "1 server" if len(found.ids) == 1 else f"{len(found.ids)} servers"


# The same as `python -m receiver servers`


@click.group()
def servers() -> None:
    """Connect agents to servers, forget servers."""


def _filters(states: tuple[str, ...], by_default: str) -> Callable[[F], F]:
    """Give a command the options that each are a part of a filter."""
    options = [
        click.option(
            "--state",
            type=click.Choice(states),
            multiple=True,
            help=f"Only servers in this state; {by_default} by default.",
        ),
        *(
            click.option(
                f"--{name}", type=text, metavar="TEXT", multiple=True, help="Only servers with it."
            )
            for name in ("stage", "database", "version", "odoo-version", "capability")
        ),
        click.option(
            "--q",
            type=some_text,
            metavar="TEXT",
            multiple=True,
            help="In hostname, database or server_id.",
        ),
    ]

    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def _filter(given: dict[str, Any]) -> FilterText:
    if len(given["q"]) > _MOST_WORDS:  # each is a condition of a query, which databases limit
        raise WrongUse(f"--q may be given {_MOST_WORDS} times at most")
    return FilterText.of(Filter(**{_NAMES.get(name, name): given[name] for name in given}))


_NAMES = {"q": "words"}
_MOST_WORDS = 100


@servers.command("connection")
@reaching()
@_CLIENT
@_filters((*(state.value for state in State), SUPERSEDED, NODE), "all that are listed")
def connection(context: Context, *, client: str, **given: tuple[str, ...]) -> int:
    """
    Print the file with which an MCP client connects to servers.

    It holds the servers that match all filters, and no key. A filter that is given several times
    finds the servers with any of its values.
    """
    return _connect(context, Client(client), _filter(given))


@servers.command("forget")
@reaching()
@click.option(
    "--silent-for-days", type=_days, metavar="30", help="Not heard for more than so many days."
)
@_filters(FORGETTABLE, "all three")
@click.option("--dry-run", is_flag=True, help="Only print what would be forgotten.")
def forget_servers(
    context: Context,
    *,
    silent_for_days: timedelta | None,
    dry_run: bool,
    **given: tuple[str, ...],
) -> int:
    """
    Forget servers that are down, have left or are superseded.

    Those that match all filters, of which there must be one. A filter that is given several times
    finds the servers with any of its values. Those that are heard are not forgotten.
    """
    query = _filter(given)
    _must_say_which(query, silent_for_days, "--state down --silent-for-days 30")
    with _telling_what_is_forgotten(context):
        found = context.backend.forget(query, silent_for=silent_for_days, is_dry_run=dry_run)
    return _print_forgotten(context, found, is_dry_run=dry_run)

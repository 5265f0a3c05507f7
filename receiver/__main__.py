"""
The command line: manages API keys, gives servers to another key, shows how to connect to servers,
forgets (deletes) servers, and manages alerts (`receiver.commands.alerts`).

    python -m receiver keys create --name acme --scope agent --database acme --expires 90d
    python -m receiver servers connection --client vscode --stage production > .vscode/mcp.json
    python -m receiver servers forget --state down --silent-for-days 30 --dry-run

The commands need no key, because they open the database that FLEET_DATABASE_URL names. They may run
on any machine that reaches the database, even while receivers run.
"""

import argparse
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path

from attrs import fields

from contract import FleetError, State
from contract.fields import format_moment, parse_moment
from receiver.commands.alerts import COMMANDS, add_commands, secret_key
from receiver.commands.arguments import length, some_text, text
from receiver.commands.context import Context, Print, day, minute, read_secret, table
from receiver.domain.agents.client_files import (
    API_KEY_STEPS,
    Client,
    client_file,
    connections_to,
    is_connectable,
)
from receiver.domain.forgetting import FORGETTABLE, Forgettable, Stage
from receiver.domain.keys import (
    DATABASE,
    Key,
    KeyScope,
    NewKey,
    digest,
    id_of,
    new_token,
    path_of,
    warning_about,
)
from receiver.domain.queries import (
    ALL_SERVERS,
    NODE,
    SUPERSEDED,
    Filter,
    Order,
    PageRequest,
)
from receiver.settings import MAX_DAYS, Settings, read_settings
from receiver.store import SqlStore

__all__ = ["main"]


def _print_to_stderr(line: str) -> None:
    print(line, file=sys.stderr)  # noqa: T201 - a command prints for its user


def main(  # noqa: PLR0913 - what a test replaces, all by name
    arguments: Sequence[str] | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    clock: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
    say: Print = print,
    explain: Print = _print_to_stderr,
    read: Callable[[str], str] = read_secret,
) -> int:
    """
    Run a command, and return its exit status: 0, or 1 if the command failed.

    Raises SystemExit for invalid arguments.

    Args:
        arguments: The arguments of the command; those of the process by default.
        environ: Environment variables with the settings.
        clock: Returns the current time.
        say: Prints a line of the result to standard output.
        explain: Prints a sentence for people, such as an error, to standard error.
        read: Asks for a secret with a text, and reads it.
    """
    options = _parser().parse_args(arguments)
    if options.do is secret_key:
        return int(options.do(say, explain))
    try:
        settings = read_settings(environ)
        url = settings.database_url
        if options.do is not _create and _is_missing(settings):
            explain(f"There is no database at {url}; is FLEET_DATABASE_URL that of the receiver?")
            return 1
        store = SqlStore(url)
        try:
            context = Context(store, settings, clock(), say, explain, read)
            return int(options.do(context, options))
        finally:
            store.close()
    except FleetError as error:
        explain(str(error))
        return 1


def _is_missing(settings: Settings) -> bool:
    """Whether the database is a SQLite file that does not exist; opening it would create it."""
    url = settings.database_url
    return url.get_backend_name() == "sqlite" and not Path(url.database or "").exists()


def _create(context: Context, options: argparse.Namespace) -> int:
    servers = options.servers if options.database is None else f"{DATABASE}{options.database}"
    given = {"name": options.name, "scope": options.scope, "servers": servers}
    if options.expires is not None:
        given["expires_at"] = format_moment(options.expires(context.now))
    key, token = NewKey.of(given, now=context.now).issue(now=context.now)
    context.store.keys.add(key)
    context.say(token)
    _explain_path(context, key, token)
    if (warning := warning_about(key.servers)) is not None:
        context.explain(warning)
    context.explain(
        f"This is the key {key.id} for {key.name!r}. It is not shown again: keep it where only "
        f"its holder can read it. Receivers on {context.database} know it within seconds."
    )
    return 0


def _explain_path(context: Context, key: Key, token: str) -> None:
    """Print what the path is for that a key opens, if it opens one."""
    path = path_of(key, token)
    if path is not None:
        context.explain(_PATHS[key.scope].format(path))


_PATHS = {
    KeyScope.REGISTRY: "MCP clients find the registry at the receiver's address and {}",
    KeyScope.BADGE: "The badge of all servers is at the receiver's address and {}; with ?query= "
    "and a filter it is that of some",
}


def _list(context: Context, _: argparse.Namespace) -> int:
    keys = context.store.keys.all()
    if not keys:
        context.explain(
            f"There are no keys in {context.database}: only clients on the receiver's own machine "
            "are served."
        )
        return 0
    for line in table([_TITLES, *(_row(key, context.now) for key in keys)]):
        context.say(line)
    return 0


def _revoke(context: Context, options: argparse.Namespace) -> int:
    keys, servers = context.store.keys, context.store.servers
    is_revoked = keys.revoke(options.key, context.now) or (
        options.forget and options.key in {key.id for key in keys.all()}
    )
    if not is_revoked:
        return context.no_such_key(options.key)
    context.explain(f"The key {options.key} is revoked. Receivers refuse it within seconds.")
    if options.forget:
        # A short transaction for each server: running receivers can write in between.
        ids = servers.owned(options.key)
        deleted = [each for each in ids if servers.delete_owned(each, options.key, context.now)]
        for server_id in deleted:
            context.say(server_id)
        context.explain(
            f"{len(deleted)} servers of it are forgotten. One that it sent for in these seconds "
            "may be back: then run this again."
        )
    return 0


def _rotate(context: Context, options: argparse.Namespace) -> int:
    key = next((each for each in context.store.keys.all() if each.id == options.key), None)
    if key is None:
        return context.no_such_key(options.key)
    expires_at = options.expires(context.now) if options.expires else key.expires_at
    if expires_at is not None and expires_at <= context.now:
        context.explain(f"The key {key.id} has expired: give it another time with --expires")
        return 1
    token = new_token(key.id)
    if not context.store.keys.rotate(key.id, digest(token), expires_at):
        return context.no_such_key(key.id)
    context.say(token)
    _explain_path(context, key, token)
    context.explain(
        f"The key {options.key} has another secret, and its servers stay its own. "
        "Receivers refuse the old secret within seconds."
    )
    return 0


def _hand_over(context: Context, options: argparse.Namespace) -> int:
    keys = {key.id: key for key in context.store.keys.all()}
    for key_id in (options.to, options.all_of):
        if key_id is not None and key_id not in keys:
            return context.no_such_key(key_id)
    ids = context.store.servers.owned(options.all_of) if options.all_of else options.server
    reasons = [keys[options.to].why_not_own(server_id, context.now) for server_id in ids]
    for reason in dict.fromkeys(reason for reason in reasons if reason is not None):
        context.explain(reason)
    if any(reasons):
        return 1
    handed = context.store.servers.hand_over(ids, options.to)
    for server_id in ids:
        context.say(server_id if server_id in handed else f"{server_id}: there is no such server")
    context.explain(f"{len(handed)} of {len(ids)} servers belong to the key {options.to} now.")
    return 0 if len(handed) == len(ids) else 1


def _connection(context: Context, options: argparse.Namespace) -> int:
    asked = PageRequest(limit=_MOST_IN_A_FILE, now=context.now)
    page = context.store.servers.page(_filter(options), Order.SERVER_ID, asked)
    keys = context.store.keys.all()
    client = Client(options.client)
    connections = connections_to(
        page.records,
        owners=context.store.servers.owners([record.server_id for record in page.records]),
        lapsed=[key.id for key in keys if key.standing(context.now) != "active"],
        may_be_at=partial(context.settings.endpoints.include, with_loopback=not keys),
    )
    reached = [each for each in connections.values() if is_connectable(client, each)]
    if not reached:
        context.explain(
            "No server that matches reports an endpoint_url that FLEET_ENDPOINTS includes."
        )
        return 1
    file = client_file(client, reached)
    context.say(file.text.removesuffix("\n"))
    context.explain(f"This belongs in {file.path}. To make an Odoo API key:")
    for number, step in enumerate((*API_KEY_STEPS, file.key_step), start=1):
        context.explain(f"{number}. {step}")
    if page.next_after is not None:
        context.explain(f"More than {_MOST_IN_A_FILE:,} servers match; this has the first of them.")
    return 0


_MOST_IN_A_FILE = 1000


def _filter(options: argparse.Namespace) -> Filter:
    return Filter(**{each.name: getattr(options, each.name) for each in fields(Filter)})


def _forget(context: Context, options: argparse.Namespace) -> int:
    matching = _filter(options)
    if matching == ALL_SERVERS and options.silent_for_days is None:
        context.explain(
            "Say which servers to forget, such as: --state down --silent-for-days 30. "
            "With --dry-run nothing is forgotten, and the list shows what would be."
        )
        return 1
    now = context.store.servers.database_time() or context.now
    days = options.silent_for_days
    asked = Forgettable(matching=matching, heard_before=None if days is None else now - days)
    told: set[str] = set()
    stage: Stage | None = Stage(asked.states[0])
    while stage is not None:
        step = context.store.servers.forget(asked, now, stage=stage, is_dry_run=options.dry_run)
        stage = step.next_stage
        for server_id in step.ids:
            if server_id not in told:  # a dry run may return a superseded server twice
                context.say(server_id)
        told.update(step.ids)
    verb = "would be" if options.dry_run else "are"
    context.explain(f"{len(told)} servers {verb} forgotten.")
    return 0


def _row(key: Key, now: datetime) -> tuple[str, ...]:
    return (
        key.id,
        key.name,
        key.scope.value,
        key.servers if key.scope is KeyScope.AGENT else "",
        key.standing(now),
        day(key.created_at),
        day(key.expires_at),
        minute(key.last_used_at),
        str(key.messages),
    )


_TITLES = ("ID", "NAME", "SCOPE", "SERVERS", "STANDING", "CREATED", "EXPIRES", "USED", "MESSAGES")


def _parser() -> argparse.ArgumentParser:
    """
    The argument parser of all commands.

    The function is long because it lists every argument of every command.
    """
    parser = argparse.ArgumentParser(
        prog="python -m receiver",
        description="Administer a receiver by way of its database, without a key.",
        epilog="FLEET_DATABASE_URL names the database; receivers may be running.",
    )
    metavar = " | ".join(("keys", "servers", *COMMANDS))
    things = parser.add_subparsers(required=True, metavar=metavar)
    keys = things.add_parser("keys", help="make, list, revoke and rotate keys, hand servers over")
    servers = things.add_parser("servers", help="connect agents to servers, forget servers")
    _add_servers(servers.add_subparsers(required=True))
    add_commands(things)
    commands = keys.add_subparsers(required=True)

    create = commands.add_parser("create", help="make a key, which is shown once")
    create.add_argument("--name", required=True, help="what people call it")
    create.add_argument(
        "--scope",
        required=True,
        choices=[scope.value for scope in KeyScope],
        help="agent: send messages of servers; viewer: read; registry: read the MCP registry only, "
        "by a path; badge: read badges only, by a path; admin: all, and manage keys",
    )
    which = create.add_mutually_exclusive_group()
    which.add_argument(
        "--servers",
        default="*",
        metavar="PATTERN",
        help="which server_ids an agent may write, such as 'acme*'; all by default",
    )
    which.add_argument(
        "--database",
        type=text,
        metavar="NAME",
        help="an agent may write the servers of this database only, on hosts without _ in their "
        "name; the same as --servers database:NAME",
    )
    create.add_argument(
        "--expires", type=_expiry, metavar="90d", help="after so many d, h or m, or at a time"
    )
    create.set_defaults(do=_create)

    commands.add_parser("list", help="all keys, without their secrets").set_defaults(do=_list)

    revoke = commands.add_parser("revoke", help="refuse a key from now on")
    revoke.add_argument("key", type=_key, metavar="ID", help="or the whole key")
    revoke.add_argument(
        "--forget", action="store_true", help="delete its servers too, also of a revoked key"
    )
    revoke.set_defaults(do=_revoke)

    rotate = commands.add_parser("rotate", help="give a key another secret")
    rotate.add_argument("key", type=_key, metavar="ID", help="or the whole key")
    rotate.add_argument(
        "--expires", type=_expiry, metavar="90d", help="from now on; as before by default"
    )
    rotate.set_defaults(do=_rotate)

    hand_over = commands.add_parser("hand-over", help="make servers belong to another key")
    which = hand_over.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "--server", action="append", type=text, metavar="SERVER_ID", help="may be repeated"
    )
    which.add_argument("--all-of", type=_key, metavar="ID", help="every server of a key")
    hand_over.add_argument("--to", required=True, type=_key, metavar="ID", help="the key")
    hand_over.set_defaults(do=_hand_over)
    return parser


def _add_servers(servers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    connection = servers.add_parser(
        "connection",
        help="print the file with which an MCP client connects to servers",
        description="Print the configuration file of an MCP client with the servers that match "
        "all filters. It has no key in it.",
    )
    connection.add_argument(
        "--client", required=True, choices=[client.value for client in Client], help="which client"
    )
    states = [*(state.value for state in State), SUPERSEDED, NODE]
    _add_filters(connection, states=states, by_default="all that are listed")
    connection.set_defaults(do=_connection)

    forget = servers.add_parser(
        "forget",
        help="delete servers that are down, have left or are superseded",
        description="Forget the servers that match all filters, of which there must be one. "
        "Those that are heard are not forgotten.",
    )
    forget.add_argument(
        "--silent-for-days", type=_days, metavar="30", help="not heard for more than so many days"
    )
    _add_filters(forget, states=FORGETTABLE, by_default="all three")
    forget.add_argument("--dry-run", action="store_true", help="only print what would be forgotten")
    forget.set_defaults(do=_forget)


def _add_filters(
    command: argparse.ArgumentParser, *, states: Sequence[str], by_default: str
) -> None:
    command.add_argument(
        "--state", choices=states, help=f"only servers in this state; {by_default} by default"
    )
    for name in ("stage", "database", "version", "odoo-version", "capability"):
        command.add_argument(f"--{name}", type=text, metavar="TEXT", help="only servers with it")
    command.add_argument(
        "--q", type=some_text, metavar="TEXT", help="in hostname, database or server_id"
    )


def _key(given: str) -> str:
    """Read an argument that is the id of a key or its whole text; returns the id."""
    return text(id_of(given))


def _days(text: str) -> timedelta:
    if not re.fullmatch(r"[1-9][0-9]{0,4}", text) or int(text) > MAX_DAYS:
        raise argparse.ArgumentTypeError(f"expected a whole number of days from 1 to {MAX_DAYS}")
    return timedelta(days=int(text))


def _expiry(given: str) -> Callable[[datetime], datetime]:
    """
    Read an argument such as `90d` or a time.

    Returns a function that takes the current time and returns the time at which a key expires.
    """
    with suppress(argparse.ArgumentTypeError):
        lifetime = length(given)
        return lambda now: now + lifetime
    try:
        expires_at = parse_moment(given)
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(
            "expected a length of time such as 90d, 12h or 30m, or a time such as "
            "2027-01-31T12:00:00Z"
        ) from None
    return lambda _: expires_at


if __name__ == "__main__":
    sys.exit(main())

"""The commands for API keys, and those that hand servers over from one key to another."""

from collections.abc import Callable
from datetime import datetime

import click

from contract.fields import format_moment
from receiver.commands.arguments import expiry, key_id, text
from receiver.commands.backends import Context, Json, reaching
from receiver.commands.context import BrokenOff, Exit, WrongUse
from receiver.commands.output import Column, day, minute
from receiver.domain.keys import DATABASE, KeyScope

__all__ = ["add_to"]

Expiry = Callable[[datetime], datetime]


def add_to(program: click.Group) -> None:
    """Add the commands to a program."""
    program.add_command(keys)


@click.group()
def keys() -> None:
    """Make, list, revoke and rotate keys, hand servers over."""


@keys.command()
@reaching(may_create=True)
@click.option("--name", required=True, help="What people call it.")
@click.option(
    "--scope",
    required=True,
    type=click.Choice([scope.value for scope in KeyScope]),
    help="agent: send messages of servers; viewer: read; registry: read the MCP registry only, by "
    "a path; badge: read badges only, by a path; admin: all, and manage keys.",
)
@click.option(
    "--servers",
    metavar="PATTERN",
    help="Which server_ids an agent may write, such as 'acme*'; all by default.",
)
@click.option(
    "--database",
    type=text,
    metavar="NAME",
    help="An agent may write the servers of this database only, on hosts without _ in their name; "
    "the same as --servers database:NAME.",
)
@click.option("--expires", type=expiry, metavar="90d", help="After so many d, h or m, or a time.")
def create(  # noqa: PLR0913 - its options
    context: Context,
    *,
    name: str,
    scope: str,
    servers: str | None,
    database: str | None,
    expires: Expiry | None,
) -> int:
    """Make a key, which is shown once."""
    if servers is not None and database is not None:
        raise WrongUse("--servers and --database exclude each other")
    which = servers if servers is not None else "*"
    asked: Json = {
        "name": name,
        "scope": scope,
        "servers": which if database is None else f"{DATABASE}{database}",
    }
    if expires is not None:
        asked["expires_at"] = format_moment(expires(context.backend.now()))
    made = context.backend.make_key(asked)
    key = made["key"]
    context.output.one(made, made["token"])
    _explain_path(context, key["scope"], made["path"])
    for warning in made["warnings"]:
        context.explain(warning)
    context.explain(
        f"This is the key {key['id']} for {key['name']!r}. It is not shown again: keep it where "
        f"only its holder can read it. Receivers on {context.backend.where} know it within seconds."
    )
    return Exit.OK


def _explain_path(context: Context, scope: str, path: str | None) -> None:
    """Say what the path is for that a key opens, if it opens one."""
    if path is not None:
        context.explain(_PATHS[scope].format(path))


_PATHS = {
    KeyScope.REGISTRY.value: "MCP clients find the registry at the receiver's address and {}",
    KeyScope.BADGE.value: "The badge of all servers is at the receiver's address and {}; with "
    "?query= and a filter it is that of some",
}


@keys.command("list")
@reaching()
def list_keys(context: Context) -> int:
    """List all keys, without their secrets."""
    context.output.objects(
        context.backend.keys(),
        _COLUMNS,
        if_none=f"There are no keys in {context.backend.where}: only clients on the receiver's own "
        "machine are served.",
    )
    return Exit.OK


_COLUMNS: tuple[Column, ...] = (
    ("ID", lambda key: key["id"]),
    ("NAME", lambda key: key["name"]),
    ("SCOPE", lambda key: key["scope"]),
    ("SERVERS", lambda key: key["servers"] if key["scope"] == KeyScope.AGENT.value else ""),
    ("STATUS", lambda key: key["standing"]),
    ("CREATED", lambda key: day(key["created_at"])),
    ("EXPIRES", lambda key: day(key["expires_at"])),
    ("USED", lambda key: minute(key["last_used_at"])),
    ("MESSAGES", lambda key: str(key["messages"])),
)


@keys.command()
@reaching()
@click.argument("key", type=key_id, metavar="ID")
@click.option("--forget", is_flag=True, help="Forget its servers too, also of a revoked key.")
def revoke(context: Context, *, key: str, forget: bool) -> int:
    """Refuse a key from now on. ID may be the whole key."""
    revoked = context.backend.revoke_key(key, forgets=forget)
    context.output.one(revoked, *revoked.get("server_ids", ()))
    context.explain(f"The key {key} is revoked. Receivers refuse it within seconds.")
    if forget:
        context.explain(
            f"{revoked['forgotten']} servers of it are forgotten. One that it sent for in these "
            "seconds may be back: then run this again."
        )
        if revoked.get("more"):  # an older receiver does not tell
            context.explain("Some may be left, since the database went away: run this again.")
            return Exit.UNREACHABLE
    return Exit.OK


@keys.command()
@reaching()
@click.argument("key", type=key_id, metavar="ID")
@click.option(
    "--expires", type=expiry, metavar="90d", help="From now on; as it was before by default."
)
def rotate(context: Context, *, key: str, expires: Expiry | None) -> int:
    """Give a key another secret; its servers stay its own. ID may be the whole key."""
    expires_at = None if expires is None else expires(context.backend.now())
    rotated = context.backend.rotate_key(key, expires_at)
    context.output.one(rotated, rotated["token"])
    if rotated["path"] is not None:
        scope = KeyScope.BADGE if rotated["path"].startswith("/badges/") else KeyScope.REGISTRY
        _explain_path(context, scope.value, rotated["path"])
    context.explain(
        f"The key {key} has another secret, and its servers stay its own. Receivers refuse the old "
        "secret within seconds."
    )
    return Exit.OK


@keys.command("hand-over")
@reaching()
@click.option(
    "--server",
    "servers",
    multiple=True,
    type=text,
    metavar="SERVER_ID",
    help="A server; may be repeated.",
)
@click.option("--all-of", type=key_id, metavar="ID", help="Every server of a key.")
@click.option("--to", required=True, type=key_id, metavar="ID", help="The key.")
def hand_over(context: Context, *, servers: tuple[str, ...], all_of: str | None, to: str) -> int:
    """Make servers belong to another key."""
    if bool(servers) == (all_of is not None):
        raise WrongUse("Say which servers: one of --server and --all-of is required")
    ids = list(servers) if all_of is None else context.backend.owned(all_of)
    try:
        handed = context.backend.hand_over(ids, to)
    except BrokenOff as error:
        context.output.one({"key_id": to, "server_ids": error.done}, *error.done)
        context.explain(
            f"{len(error.done)} of {len(ids)} servers belong to the key {to} now, then:"
        )
        raise
    lines = [each if each in handed else f"{each}: there is no such server" for each in ids]
    context.output.one({"key_id": to, "server_ids": handed}, *lines)
    context.explain(f"{len(handed)} of {len(ids)} servers belong to the key {to} now.")
    return Exit.OK if len(handed) == len(ids) else Exit.FAILED

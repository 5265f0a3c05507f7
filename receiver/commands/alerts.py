"""
The commands for alerts.

    odoo-mcp-fleet secret-key
    odoo-mcp-fleet channels create --name operators --kind webhook
    odoo-mcp-fleet rules create --name Late --kind late --channel ID --query stage:production
    odoo-mcp-fleet silence acme_web-1 --for 2h --reason upgrade
    odoo-mcp-fleet alarms list

They check what they make by the same rules as the HTTP API.
"""

from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta
from typing import Any, TypeVar

import click

from contract.fields import format_moment
from receiver.commands.arguments import length, moment, number, some_text, text
from receiver.commands.backends import Context, Json, database_of, reaching
from receiver.commands.context import CommandFailed, Exit, Surroundings, WrongUse
from receiver.commands.output import Column, Output, day, minute, span
from receiver.domain.alerts.values import TELLABLE, Channel, ChannelKind
from receiver.service.alerts.secret_box import SecretBox, Undecryptable
from receiver.store import SqlStore

__all__ = ["add_to"]

F = TypeVar("F", bound=Callable[..., Any])


def add_to(program: click.Group) -> None:
    """Add the commands to a program."""
    for command in (channels, rules, silences, alarms, secret_key, silence):
        program.add_command(command)


@click.command("secret-key")
@click.pass_obj
def secret_key(surroundings: Surroundings) -> int:
    """Make a key for FLEET_SECRET_KEY."""
    surroundings.say(SecretBox.new_key())
    surroundings.explain(
        "Put this into FLEET_SECRET_KEY, or into a file that only the user of the receiver may "
        "read and that FLEET_SECRET_KEY_FILE names. Keep a copy: without it the addresses of "
        "channels are lost. To replace a key, write the new one before it, with a comma between, "
        "and see: " + f"{surroundings.program} channels reencrypt --help"
    )
    return Exit.OK


# Channels


@click.group()
def channels() -> None:
    """Through what people are told of alarms."""


@channels.command("create")
@reaching()
@click.option("--name", required=True, type=text, help="What people call it.")
@click.option(
    "--kind",
    required=True,
    type=click.Choice([kind.value for kind in ChannelKind]),
    help="webhook: an HTTP POST that is signed; apprise: a service that Apprise knows.",
)
@click.option(
    "--per-hour", type=int, default=20, metavar="N", help="How many messages at most; 20."
)
@click.option("--report-at", type=text, metavar="CRON", help="When a report of the week is sent.")
@click.option("--time-zone", type=text, default="UTC", metavar="ZONE", help="UTC.")
def create_channel(  # noqa: PLR0913 - its options
    context: Context,
    *,
    name: str,
    kind: str,
    per_hour: int,
    report_at: str | None,
    time_zone: str,
) -> int:
    """
    Make a channel.

    Its address is a secret, so it is no argument: it is asked for, or read from the standard input.
    """
    context.backend.alerts.must_have_room("channels")
    address = context.surroundings.read(f"The address of the channel, a URL for {kind}")
    channel, secret = context.backend.alerts.make_channel(
        {
            "name": name,
            "kind": kind,
            "address": address,
            "per_hour": per_hour,
            "report_at": report_at,
            "time_zone": time_zone,
        }
    )
    context.output.one(channel, channel["id"])
    _explain_secret(context, secret)
    context.explain(
        f"This is the channel {channel['id']} for {channel['name']!r}. Try it: "
        + context.command(f"channels test {channel['id']}")
    )
    return Exit.OK


def _explain_secret(context: Context, secret: str | None) -> None:
    if secret is not None:
        context.explain(
            "The receiver of the webhook checks signatures with this secret, which is not shown "
            f"again: {secret}"
        )


@channels.command("list")
@reaching()
def list_channels(context: Context) -> int:
    """List all channels."""
    context.output.objects(
        context.backend.alerts.channels(),
        _CHANNEL,
        if_none="There are no channels, so nobody is told of anything.",
    )
    return Exit.OK


_CHANNEL: tuple[Column, ...] = (
    ("ID", lambda channel: channel["id"]),
    ("NAME", lambda channel: channel["name"]),
    ("KIND", lambda channel: channel["kind"]),
    ("SERVICE", lambda channel: channel["service"]),
    ("PER HOUR", lambda channel: str(channel["per_hour"])),
    ("REPORT", lambda channel: channel["report_at"] or "never"),
    ("TIME ZONE", lambda channel: channel["time_zone"]),
    ("CREATED", lambda channel: day(channel["created_at"])),
)


@channels.command("change")
@reaching()
@click.argument("channel", type=text, metavar="ID")
@click.option("--name", type=text, help="What people call it.")
@click.option("--address", is_flag=True, help="Ask for another address.")
@click.option("--per-hour", type=int, metavar="N", help="How many messages at most.")
@click.option("--report-at", type=text, metavar="CRON", help="When a report is sent.")
@click.option("--no-report", is_flag=True, help="Send no report.")
@click.option("--time-zone", type=text, metavar="ZONE", help="Of times in messages.")
def change_channel(
    context: Context, *, channel: str, address: bool, no_report: bool, **given: Any
) -> int:
    """Change what is given."""
    if no_report and given["report_at"] is not None:
        raise WrongUse("--report-at and --no-report exclude each other")
    known = context.backend.alerts.channel(channel)
    asked = {name: value for name, value in given.items() if value is not None}
    if no_report:
        asked["report_at"] = None
    if address:
        asked["address"] = context.surroundings.read(f"The new address, a URL for {known['kind']}")
    _explain_secret(context, context.backend.alerts.change_channel(channel, asked))
    context.explain(f"The channel {channel} is changed.")
    return Exit.OK


@channels.command("test")
@reaching()
@click.argument("channel", type=text, metavar="ID")
def try_channel(context: Context, *, channel: str) -> int:
    """Send a test message, and say what came of it."""
    error = context.backend.alerts.test_channel(channel)
    if error is not None:
        raise CommandFailed(f"The message was not delivered: {error}")
    context.explain("The message was delivered.")
    return Exit.OK


@channels.command("remove")
@reaching()
@click.argument("channel", type=text, metavar="ID")
def remove_channel(context: Context, *, channel: str) -> int:
    """Remove a channel and its rules."""
    context.backend.alerts.remove_channel(channel)
    context.explain(f"The channel {channel} and its rules are removed.")
    return Exit.OK


@channels.command("reencrypt")
@click.option("--json", "is_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def reencrypt(surroundings: Surroundings, *, is_json: bool) -> int:
    """
    Encrypt the addresses of all channels with the first key in FLEET_SECRET_KEY.

    To replace a key, write the new one before the old one, with a comma between them, start all
    receivers again, call this, take the old key away, and start all receivers once more. It is done
    on the database, by the keys in the environment or in the file. An address that none of the keys
    decrypts stays as it is, and the exit status is 5.
    """
    settings = database_of(surroundings)
    box = settings.secret_box
    if not box.has_key:
        box.seal("")  # raises the Refusal that says what to do
    lost: dict[str, str] = {}

    def renew(channel: Channel) -> bytes:
        try:
            return box.renewed(channel.address)
        except Undecryptable:
            lost[channel.id] = channel.name
            return channel.address

    with closing(SqlStore(settings.database_url)) as store:
        replaced = store.alerts.replace_addresses(renew)
    output = Output(surroundings=surroundings, is_json=is_json)
    output.one({"reencrypted": replaced, "unreadable": sorted(lost)}, str(replaced))
    surroundings.explain(
        f"The addresses of {replaced} channels are encrypted anew, with the first key in "
        "FLEET_SECRET_KEY."
    )
    if lost:
        surroundings.explain(_LOST.format(", ".join(map(repr, lost.values()))))
    return Exit.NOT_WELL if lost else Exit.OK


_LOST = (
    "No key in FLEET_SECRET_KEY decrypts the addresses of {}, which stay as they are: add the key "
    "that they were made with, after a comma, and call this again, or write the addresses anew."
)


# Rules


@click.group()
def rules() -> None:
    """Of what people are told."""


def _rule(function: F) -> F:
    """Give a command the options of a rule."""
    for option in reversed(_OF_A_RULE):
        function = option(function)
    return function


_OF_A_RULE = [
    click.option("--name", required=True, type=text, help="What people call it."),
    click.option(
        "--query", type=text, default="", metavar="FILTER", help="Which servers; all by default."
    ),
    click.option(
        "--kind",
        "kinds",
        multiple=True,
        required=True,
        type=click.Choice(sorted(TELLABLE)),
        metavar="KIND",
        help=f"What is told; may be repeated: {', '.join(sorted(TELLABLE))}.",
    ),
    click.option("--after", type=length, metavar="5m", help="If it lasts; at once by default."),
    click.option("--channel", required=True, type=text, metavar="ID", help="Where."),
    click.option("--remind", type=length, metavar="4h", help="How often it is told again; never."),
]


def _asked_rule(  # noqa: PLR0913 - the options of a rule
    *,
    name: str,
    query: str,
    kinds: tuple[str, ...],
    after: timedelta | None,
    channel: str,
    remind: timedelta | None,
) -> Json:
    return {
        "name": name,
        "query": query,
        "kinds": [*dict.fromkeys(kinds)],
        "after_seconds": 0 if after is None else after.total_seconds(),
        "channel_id": channel,
        "remind_seconds": None if remind is None else remind.total_seconds(),
    }


@rules.command("create")
@reaching()
@_rule
def create_rule(context: Context, **given: Any) -> int:
    """Make a rule."""
    rule = context.backend.alerts.make_rule(_asked_rule(**given))
    context.output.one(rule, rule["id"])
    return Exit.OK


@rules.command("change")
@reaching()
@click.argument("rule", type=text, metavar="ID")
@_rule
def change_rule(context: Context, *, rule: str, **given: Any) -> int:
    """Give a rule another content."""
    context.backend.alerts.change_rule(rule, _asked_rule(**given))
    context.explain(f"The rule {rule} is changed.")
    return Exit.OK


@rules.command("list")
@reaching()
def list_rules(context: Context) -> int:
    """List all rules."""
    context.output.objects(
        context.backend.alerts.rules(),
        _RULE,
        if_none="There are no rules, so nobody is told of anything.",
    )
    return Exit.OK


_RULE: tuple[Column, ...] = (
    ("ID", lambda rule: rule["id"]),
    ("NAME", lambda rule: rule["name"]),
    ("SERVERS", lambda rule: rule["query"] or "all"),
    ("KINDS", lambda rule: ",".join(rule["kinds"])),
    ("AFTER", lambda rule: _seconds(rule["after_seconds"]) or "at once"),
    ("CHANNEL", lambda rule: rule["channel_id"]),
    (
        "REMINDED",
        lambda rule: (
            f"every {_seconds(rule['remind_seconds'])}" if rule["remind_seconds"] else "never"
        ),
    ),
)


def _seconds(length: int | None) -> str:
    """A length of time as arguments have it; empty for none."""
    return span(timedelta(seconds=length)) if length else ""


@rules.command("remove")
@reaching()
@click.argument("rule", type=text, metavar="ID")
def remove_rule(context: Context, *, rule: str) -> int:
    """Remove a rule."""
    context.backend.alerts.remove_rule(rule)
    context.explain(f"The rule {rule} is removed.")
    return Exit.OK


# Silences


@click.group()
def silences() -> None:
    """When nobody is told."""


@silences.command("create")
@reaching()
@click.option("--query", type=text, metavar="FILTER", help="Which servers; '' for all.")
@click.option("--server", type=some_text, metavar="SERVER_ID", help="Only this one.")
@click.option(
    "--from", "begins_at", type=moment, metavar="TIME", help="The beginning; now by default."
)
@click.option("--until", "ends_at", type=moment, metavar="TIME", help="The end.")
@click.option("--for", "duration", type=length, metavar="2h", help="How long, each time.")
@click.option("--cron", type=text, metavar="CRON", help="When it begins again and again; once.")
@click.option("--time-zone", type=text, default="UTC", metavar="ZONE", help="UTC.")
@click.option("--reason", required=True, type=text, help="Why, for people.")
def create_silence(context: Context, *, query: str | None, server: str | None, **given: Any) -> int:
    """Make a silence, also one that comes again and again."""
    if (query is None) == (server is None):
        raise WrongUse("Say which servers: one of --query and --server is required")
    made = context.backend.alerts.make_silence(_asked_silence(query, server, **given))
    context.output.one(made, made["id"])
    return Exit.OK


def _asked_silence(  # noqa: PLR0913 - the options of a silence
    query: str | None,
    server: str | None,
    *,
    reason: str,
    begins_at: datetime | None = None,
    ends_at: datetime | None = None,
    duration: timedelta | None = None,
    cron: str | None = None,
    time_zone: str = "UTC",
) -> Json:
    return {
        "query": query,
        "server_id": server,
        "begins_at": _moment(begins_at),
        "ends_at": _moment(ends_at),
        "cron": cron,
        "duration_seconds": None if duration is None else duration.total_seconds(),
        "time_zone": time_zone,
        "reason": reason,
    }


def _moment(given: datetime | None) -> str | None:
    return None if given is None else format_moment(given)


@click.command()
@reaching()
@click.argument("server", type=some_text, metavar="SERVER_ID", required=False)
@click.option("--query", type=text, metavar="FILTER", help="These servers instead; '' for all.")
@click.option("--for", "duration", type=length, metavar="2h", help="How long.")
@click.option("--until", "ends_at", type=moment, metavar="TIME", help="The end, instead.")
@click.option("--reason", default="maintenance", type=text, help="Why, for people.")
def silence(  # noqa: PLR0913 - its options
    context: Context,
    *,
    server: str | None,
    query: str | None,
    duration: timedelta | None,
    ends_at: datetime | None,
    reason: str,
) -> int:
    """Let nobody be told of a server for a while, from now on."""
    if (server is None) == (query is None):
        raise WrongUse("Say which servers: one of SERVER_ID and --query is required")
    if (duration is None) == (ends_at is None):
        raise WrongUse("Say how long: one of --for and --until is required")
    asked = _asked_silence(query, server, duration=duration, ends_at=ends_at, reason=reason)
    made = context.backend.alerts.make_silence(asked)
    context.output.one(made, made["id"])
    end = context.command(f"silences end {made['id']}")
    context.explain(f"Nobody is told until {minute(made['ends_at'])} UTC. To end it before: {end}")
    return Exit.OK


@silences.command("list")
@reaching()
@click.option("--all", "ended", is_flag=True, help="Those that have ended, too.")
def list_silences(context: Context, *, ended: bool) -> int:
    """List the silences that have not ended."""
    context.output.objects(
        context.backend.alerts.silences(ended=ended), _SILENCE, if_none="There are no silences."
    )
    return Exit.OK


def _again(silence: Json) -> str:
    if silence["cron"] is None:
        return "once"
    lasts = _seconds(silence["duration_seconds"])
    return f"{silence['cron']} ({silence['time_zone']}) for {lasts}"


_SILENCE: tuple[Column, ...] = (
    ("ID", lambda silence: silence["id"]),
    ("SERVERS", lambda silence: silence["server_id"] or silence["query"] or "all"),
    ("NOW", lambda silence: "silent" if silence["is_active"] else ""),
    ("BEGINS", lambda silence: minute(silence["begins_at"])),
    ("ENDS", lambda silence: minute(silence["ends_at"])),
    ("AGAIN", _again),
    ("REASON", lambda silence: silence["reason"]),
    ("AUTHOR", lambda silence: silence["author"]),
)


@silences.command("end")
@reaching()
@click.argument("silence", type=text, metavar="ID")
def end_silence(context: Context, *, silence: str) -> int:
    """End a silence now."""
    context.backend.alerts.end_silence(silence)
    context.explain(f"The silence {silence} has ended.")
    return Exit.OK


# Alarms


@click.group()
def alarms() -> None:
    """What lasts now, and what was told."""


@alarms.command("list")
@reaching()
@click.option("--all", "is_all", is_flag=True, help="Those that are over, too.")
@click.option(
    "--limit", type=number, default="100", metavar="N", help="How many at most; 100 by default."
)
def list_alarms(context: Context, *, is_all: bool, limit: int) -> int:
    """List the alarms that last, newest first."""
    context.output.objects(
        context.backend.alerts.alarms(is_open=None if is_all else True, limit=limit),
        _ALARM,
        if_none="There are no alarms.",
    )
    return Exit.OK


def _status(alarm: Json) -> str:
    if alarm["ending"] is not None:
        return str(alarm["ending"])
    if alarm["acknowledged_at"] is not None:
        return f"acknowledged by {alarm['acknowledged_by']}"
    if alarm["silenced_by"] is not None:
        return f"silenced by {alarm['silenced_by']}"
    return "" if alarm["part_of"] is None else f"part of {alarm['part_of']}"


_ALARM: tuple[Column, ...] = (
    ("ID", lambda alarm: str(alarm["id"])),
    ("KIND", lambda alarm: alarm["kind"]),
    ("ABOUT", lambda alarm: alarm["server_id"] or alarm["subject"] or "the fleet"),
    ("BEGAN", lambda alarm: minute(alarm["begun_at"])),
    ("TOLD", lambda alarm: minute(alarm["told_at"])),
    ("ENDED", lambda alarm: minute(alarm["ended_at"]) if alarm["ended_at"] else ""),
    ("STATUS", _status),
)


def _alarm_id(given: str) -> int:
    if not (given.isascii() and given.isdigit() and len(given) <= _MOST_DIGITS):
        raise click.BadParameter("expected the number of an alarm")
    return int(given)


_MOST_DIGITS = 18  # of an id that fits into the database


@alarms.command("acknowledge")
@reaching()
@click.argument("alarm", type=_alarm_id, metavar="ID")
def acknowledge(context: Context, *, alarm: int) -> int:
    """Send no reminder of an alarm."""
    context.backend.alerts.acknowledge(alarm)
    context.explain(f"The alarm {alarm} is acknowledged: no reminder of it is sent.")
    return Exit.OK

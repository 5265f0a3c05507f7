"""
The commands for alerts.

    python -m receiver secret-key
    python -m receiver channels create --name operators --kind webhook
    python -m receiver rules create --name Late --kind late --channel ID --query stage:production
    python -m receiver silences create --query stage:staging --for 2h --reason upgrade
    python -m receiver alarms list

What they make is checked as by the API, and is the same.
"""

import argparse
import asyncio
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from typing import Any, TypeAlias, TypeVar

from contract.fields import format_moment
from receiver.commands.arguments import length, moment, number, some_text, text
from receiver.commands.context import Context, Print, day, minute, span, table
from receiver.domain.alerts.requests import (
    ChannelChange,
    NewChannel,
    NewRule,
    NewSilence,
)
from receiver.domain.alerts.values import TELLABLE, Alarm, Channel, ChannelKind, Rule, Silence
from receiver.domain.alerts.windows import active
from receiver.service.alerts.alert_service import AlertService
from receiver.service.alerts.secret_box import SecretBox
from receiver.service.store_calls import StoreCalls

__all__ = ["COMMANDS", "add_commands", "secret_key"]

COMMANDS = ("channels", "rules", "silences", "alarms", "secret-key")
"""The words that the commands of this module begin with."""

AUTHOR = "the command line"
"""The name of who makes silences and acknowledges alarms here."""

# What `add_subparsers` returns, of which argparse has no public name.
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001 - as said
T = TypeVar("T")


def secret_key(say: Print, explain: Print) -> int:
    """Print a new key for FLEET_SECRET_KEY."""
    say(SecretBox.new_key())
    explain(
        "Put this into FLEET_SECRET_KEY, or into a file that only the user of the receiver may "
        "read and that FLEET_SECRET_KEY_FILE names. Keep a copy: without it the addresses of "
        "channels are lost. To replace a key, write the new one before it, with a comma between."
    )
    return 0


# Channels


def _service(context: Context) -> AlertService:
    settings = context.settings
    return AlertService(
        context.store,
        StoreCalls(),
        box=settings.secret_box,
        allowed=settings.alert_addresses,
        clock=lambda: context.now,
        trouble=lambda: None,
        public_url=settings.public_url,
    )


def _run(work: Callable[[AlertService], Coroutine[Any, Any, T]], context: Context) -> T:
    """Let the service do something; it needs an event loop, and the processes that it starts."""

    async def run() -> T:
        return await work(_service(context))

    return asyncio.run(run())


def _create_channel(context: Context, options: argparse.Namespace) -> int:
    if context.store.alerts.is_full("channels", context.now):
        return _fail(context, "There are too many channels. Remove one that is not needed.")
    address = context.read(f"The address of the channel, a URL for {options.kind}")
    new = NewChannel.of(
        {
            "name": options.name,
            "kind": options.kind,
            "address": address,
            "per_hour": options.per_hour,
            "report_at": options.report_at,
            "time_zone": options.time_zone,
        }
    )
    channel, secret = _run(lambda service: service.make_channel(new), context)
    context.say(channel.id)
    _explain_secret(context, secret)
    context.explain(
        f"This is the channel {channel.id} for {channel.name!r}. Try it: "
        f"python -m receiver channels test {channel.id}"
    )
    return 0


def _explain_secret(context: Context, secret: str | None) -> None:
    if secret is not None:
        context.explain(
            "The receiver of the webhook checks signatures with this secret, which is not shown "
            f"again: {secret}"
        )


def _list_channels(context: Context, _: argparse.Namespace) -> int:
    channels = context.store.alerts.channels()
    if not channels:
        context.explain("There are no channels, so nobody is told of anything.")
        return 0
    return _print(
        context,
        ("ID", "NAME", "KIND", "SERVICE", "PER HOUR", "REPORT", "TIME ZONE", "CREATED"),
        [_channel_row(channel) for channel in channels],
    )


def _channel_row(channel: Channel) -> tuple[str, ...]:
    return (
        channel.id,
        channel.name,
        channel.kind.value,
        channel.service,
        str(channel.per_hour),
        channel.report_at or "never",
        channel.time_zone,
        day(channel.created_at),
    )


def _change_channel(context: Context, options: argparse.Namespace) -> int:
    channel = context.store.alerts.channel(options.channel)
    if channel is None:
        return _no_such(context, "channel", options.channel)
    names = ("name", "per_hour", "report_at", "time_zone")
    asked = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    if options.no_report:
        asked["report_at"] = None
    if options.address:
        asked["address"] = context.read(f"The new address, a URL for {channel.kind.value}")
    change = ChannelChange.of(asked, channel)
    _, secret = _run(lambda service: service.change_channel(channel, change), context)
    _explain_secret(context, secret)
    context.explain(f"The channel {channel.id} is changed.")
    return 0


def _test_channel(context: Context, options: argparse.Namespace) -> int:
    if context.store.alerts.channel(options.channel) is None:
        return _no_such(context, "channel", options.channel)
    error = _run(lambda service: service.test(options.channel), context)
    if error is not None:
        return _fail(context, f"The message was not delivered: {error}")
    context.explain("The message was delivered.")
    return 0


def _remove_channel(context: Context, options: argparse.Namespace) -> int:
    if not context.store.alerts.remove_channel(options.channel, context.now):
        return _no_such(context, "channel", options.channel)
    context.explain(f"The channel {options.channel} and its rules are removed.")
    return 0


# Rules


def _create_rule(context: Context, options: argparse.Namespace) -> int:
    new = _new_rule(options)
    if context.store.alerts.is_full("rules", context.now):
        return _fail(context, "There are too many rules. Remove one that is not needed.")
    rule = new.issue(now=context.now)
    if not context.store.alerts.add_rule(rule):
        return _no_such(context, "channel", options.channel)
    context.say(rule.id)
    return 0


def _new_rule(options: argparse.Namespace) -> NewRule:
    remind = options.remind
    return NewRule.of(
        {
            "name": options.name,
            "query": options.query,
            "kinds": options.kind,
            "after_seconds": options.after.total_seconds(),
            "channel_id": options.channel,
            "remind_seconds": None if remind is None else remind.total_seconds(),
        }
    )


def _change_rule(context: Context, options: argparse.Namespace) -> int:
    before = context.store.alerts.rule(options.rule)
    if before is None:
        return _no_such(context, "rule", options.rule)
    rule = _new_rule(options).issue(now=before.created_at, rule_id=before.id)
    if not context.store.alerts.change_rule(rule, context.now):
        return _no_such(context, "channel", options.channel)
    context.explain(f"The rule {rule.id} is changed.")
    return 0


def _list_rules(context: Context, _: argparse.Namespace) -> int:
    rules = context.store.alerts.rules()
    if not rules:
        context.explain("There are no rules, so nobody is told of anything.")
        return 0
    return _print(
        context,
        ("ID", "NAME", "SERVERS", "KINDS", "AFTER", "CHANNEL", "REMINDED"),
        [_rule_row(rule) for rule in rules],
    )


def _rule_row(rule: Rule) -> tuple[str, ...]:
    return (
        rule.id,
        rule.name,
        rule.query or "all",
        ",".join(sorted(rule.kinds)),
        span(rule.after) if rule.after else "at once",
        rule.channel_id,
        "never" if rule.remind_every is None else f"every {span(rule.remind_every)}",
    )


def _remove_rule(context: Context, options: argparse.Namespace) -> int:
    if not context.store.alerts.remove_rule(options.rule, context.now):
        return _no_such(context, "rule", options.rule)
    context.explain(f"The rule {options.rule} is removed.")
    return 0


# Silences


def _create_silence(context: Context, options: argparse.Namespace) -> int:
    duration: timedelta | None = options.duration
    asked = {
        "query": options.query,
        "server_id": options.server,
        "begins_at": _moment(options.begins_at),
        "ends_at": _moment(options.ends_at),
        "cron": options.cron,
        "duration_seconds": None if duration is None else duration.total_seconds(),
        "time_zone": options.time_zone,
        "reason": options.reason,
    }
    new = NewSilence.of(asked, now=context.now)
    if new.server_id is not None and context.store.servers.get(new.server_id) is None:
        return _no_such(context, "server", new.server_id)
    if context.store.alerts.is_full("silences", context.now):
        return _fail(context, "There are too many silences. End one that is not needed.")
    silence = new.issue(author=AUTHOR, now=context.now)
    context.store.alerts.add_silence(silence, context.now)
    context.say(silence.id)
    return 0


def _moment(given: datetime | None) -> str | None:
    return None if given is None else format_moment(given)


def _list_silences(context: Context, options: argparse.Namespace) -> int:
    silences = context.store.alerts.silences(context.now, ended=options.all)
    if not silences:
        context.explain("There are no silences.")
        return 0
    return _print(
        context,
        ("ID", "SERVERS", "NOW", "BEGINS", "ENDS", "AGAIN", "REASON", "AUTHOR"),
        [_silence_row(silence, context.now) for silence in silences],
    )


def _silence_row(silence: Silence, now: datetime) -> tuple[str, ...]:
    again = "once"
    if silence.cron is not None and silence.duration is not None:
        again = f"{silence.cron} ({silence.time_zone}) for {span(silence.duration)}"
    return (
        silence.id,
        silence.server_id or silence.query or "all",
        "silent" if active(silence, now) else "",
        minute(silence.begins_at),
        minute(silence.ends_at),
        again,
        silence.reason,
        silence.author,
    )


def _end_silence(context: Context, options: argparse.Namespace) -> int:
    if not context.store.alerts.end_silence(options.silence, context.now, AUTHOR):
        return _fail(context, f"There is no silence {options.silence!r} that has not ended.")
    context.explain(f"The silence {options.silence} has ended.")
    return 0


# Alarms


def _list_alarms(context: Context, options: argparse.Namespace) -> int:
    alarms = context.store.alerts.alarms(
        is_open=None if options.all else True, server_id=None, before=None, limit=options.limit
    )
    if not alarms:
        context.explain("There are no alarms.")
        return 0
    return _print(
        context,
        ("ID", "KIND", "ABOUT", "BEGAN", "TOLD", "ENDED", "STANDING"),
        [_alarm_row(alarm) for alarm in alarms],
    )


def _alarm_row(alarm: Alarm) -> tuple[str, ...]:
    return (
        str(alarm.id),
        alarm.kind,
        alarm.server_id or alarm.subject or "the fleet",
        minute(alarm.begun_at),
        minute(alarm.told_at),
        "" if alarm.ended_at is None else minute(alarm.ended_at),
        _standing(alarm),
    )


def _standing(alarm: Alarm) -> str:
    if alarm.ending is not None:
        return alarm.ending
    if alarm.acknowledged_at is not None:
        return f"acknowledged by {alarm.acknowledged_by}"
    if alarm.silenced_by is not None:
        return f"silenced by {alarm.silenced_by}"
    return "" if alarm.part_of is None else f"part of {alarm.part_of}"


def _acknowledge(context: Context, options: argparse.Namespace) -> int:
    if not context.store.alerts.acknowledge(options.alarm, context.now, AUTHOR):
        return _fail(
            context,
            f"There is no alarm {options.alarm} that lasts and is not acknowledged; see: "
            "python -m receiver alarms list",
        )
    context.explain(f"The alarm {options.alarm} is acknowledged: no reminder of it is sent.")
    return 0


def _print(context: Context, titles: tuple[str, ...], rows: list[tuple[str, ...]]) -> int:
    for line in table([titles, *rows]):
        context.say(line)
    return 0


def _fail(context: Context, sentence: str) -> int:
    context.explain(sentence)
    return 1


def _no_such(context: Context, what: str, identity: str) -> int:
    return _fail(context, f"There is no {what} {identity!r}.")


# Arguments


def add_commands(things: Commands) -> None:
    """Add the commands of this module to the parser of all commands."""
    _add_channels(_commands(things, "channels", "through what people are told"))
    _add_rules(_commands(things, "rules", "of what people are told"))
    _add_silences(_commands(things, "silences", "when nobody is told"))
    _add_alarms(_commands(things, "alarms", "what lasts now, and what was told"))
    secret = things.add_parser("secret-key", help="make a key for FLEET_SECRET_KEY")
    secret.set_defaults(do=secret_key)


def _commands(things: Commands, name: str, about: str) -> Commands:
    return things.add_parser(name, help=about).add_subparsers(required=True)


def _add_channels(commands: Commands) -> None:
    create = commands.add_parser(
        "create",
        help="make a channel",
        description="Make a channel. Its address is a secret, so it is no argument: it is asked "
        "for, or read from the standard input.",
    )
    create.add_argument("--name", required=True, type=text, help="what people call it")
    create.add_argument(
        "--kind",
        required=True,
        choices=[kind.value for kind in ChannelKind],
        help="webhook: an HTTP POST that is signed; apprise: a service that Apprise knows",
    )
    create.add_argument(
        "--per-hour", type=int, default=20, metavar="N", help="how many messages at most; 20"
    )
    create.add_argument(
        "--report-at", type=text, metavar="CRON", help="when a report of the week is sent"
    )
    create.add_argument("--time-zone", type=text, default="UTC", metavar="ZONE", help="UTC")
    create.set_defaults(do=_create_channel)
    commands.add_parser("list", help="all channels").set_defaults(do=_list_channels)
    change = commands.add_parser("change", help="change what is given")
    _add_id(change, "channel")
    change.add_argument("--name", type=text, help="what people call it")
    change.add_argument("--address", action="store_true", help="ask for another address")
    change.add_argument("--per-hour", type=int, metavar="N", help="how many messages at most")
    report = change.add_mutually_exclusive_group()
    report.add_argument("--report-at", type=text, metavar="CRON", help="when a report is sent")
    report.add_argument("--no-report", action="store_true", help="send no report")
    change.add_argument("--time-zone", type=text, metavar="ZONE", help="of times in messages")
    change.set_defaults(do=_change_channel)
    test = commands.add_parser("test", help="send a test message, and say what came of it")
    _add_id(test, "channel")
    test.set_defaults(do=_test_channel)
    remove = commands.add_parser("remove", help="remove a channel and its rules")
    _add_id(remove, "channel")
    remove.set_defaults(do=_remove_channel)


def _add_rules(commands: Commands) -> None:
    create = commands.add_parser("create", help="make a rule")
    _add_rule(create)
    create.set_defaults(do=_create_rule)
    commands.add_parser("list", help="all rules").set_defaults(do=_list_rules)
    change = commands.add_parser("change", help="give a rule another content")
    _add_id(change, "rule")
    _add_rule(change)
    change.set_defaults(do=_change_rule)
    remove = commands.add_parser("remove", help="remove a rule")
    _add_id(remove, "rule")
    remove.set_defaults(do=_remove_rule)


def _add_rule(command: argparse.ArgumentParser) -> None:
    command.add_argument("--name", required=True, type=text, help="what people call it")
    command.add_argument(
        "--query", type=text, default="", metavar="FILTER", help="which servers; all by default"
    )
    command.add_argument(
        "--kind",
        action="append",
        required=True,
        choices=sorted(TELLABLE),
        metavar="KIND",
        help=f"what is told; may be repeated: {', '.join(sorted(TELLABLE))}",
    )
    command.add_argument(
        "--after", type=length, default=timedelta(), metavar="5m", help="if it lasts; at once"
    )
    command.add_argument("--channel", required=True, type=text, metavar="ID", help="where")
    command.add_argument(
        "--remind", type=length, metavar="4h", help="how often it is told again; never"
    )


def _add_silences(commands: Commands) -> None:
    create = commands.add_parser("create", help="make a silence")
    which = create.add_mutually_exclusive_group(required=True)
    which.add_argument("--query", type=text, metavar="FILTER", help="which servers; '' for all")
    which.add_argument("--server", type=some_text, metavar="SERVER_ID", help="only this one")
    create.add_argument(
        "--from", dest="begins_at", type=moment, metavar="TIME", help="the beginning; now"
    )
    create.add_argument("--until", dest="ends_at", type=moment, metavar="TIME", help="the end")
    create.add_argument(
        "--for", dest="duration", type=length, metavar="2h", help="how long, each time"
    )
    create.add_argument(
        "--cron", type=text, metavar="CRON", help="when it begins again and again; once"
    )
    create.add_argument("--time-zone", type=text, default="UTC", metavar="ZONE", help="UTC")
    create.add_argument("--reason", required=True, type=text, help="why, for people")
    create.set_defaults(do=_create_silence)
    listed = commands.add_parser("list", help="the silences that have not ended")
    listed.add_argument("--all", action="store_true", help="those that have ended, too")
    listed.set_defaults(do=_list_silences)
    end = commands.add_parser("end", help="end a silence now")
    _add_id(end, "silence")
    end.set_defaults(do=_end_silence)


def _add_alarms(commands: Commands) -> None:
    listed = commands.add_parser("list", help="the alarms that last, newest first")
    listed.add_argument("--all", action="store_true", help="those that are over, too")
    listed.add_argument(
        "--limit", type=number, default=100, metavar="N", help="how many at most; 100"
    )
    listed.set_defaults(do=_list_alarms)
    acknowledge = commands.add_parser("acknowledge", help="send no reminder of an alarm")
    acknowledge.add_argument("alarm", type=_alarm_id, metavar="ID")
    acknowledge.set_defaults(do=_acknowledge)


def _add_id(command: argparse.ArgumentParser, name: str) -> None:
    command.add_argument(name, type=text, metavar="ID")


def _alarm_id(given: str) -> int:
    if not (given.isascii() and given.isdigit() and len(given) <= _MOST_DIGITS):
        raise argparse.ArgumentTypeError("expected the number of an alarm")
    return int(given)


_MOST_DIGITS = 18  # of an id that fits into the database

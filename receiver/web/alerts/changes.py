"""
What people change of alerts, whether by the API or by a form of a page.

A channel is a place to which messages are sent. A rule says which events of which servers are told
through which channel. An alarm is such an event until it is over. A silence is a time in which
alarms of some servers are not told.

Each change is logged to `receiver.audit`. The functions raise InvalidMessage for a request that is
wrong, and Refusal for something that does not exist or that there are too many of.
"""

from collections.abc import Callable, Collection
from typing import Literal, TypeVar

from attrs import evolve
from starlette.requests import Request

from contract import InvalidMessage, Problem
from receiver.domain.alerts.requests import (
    ChannelChange,
    NewChannel,
    NewRule,
    NewSilence,
    ShortSilence,
)
from receiver.domain.alerts.values import Alarm, Channel, Rule, Silence
from receiver.domain.errors import Refusal
from receiver.domain.keys import Power
from receiver.web.admin_api import audited, author_of
from receiver.web.context import services, visitor

__all__ = [
    "acknowledge",
    "alarm_id_of",
    "change_channel",
    "change_rule",
    "channel_of",
    "end_silence",
    "make_channel",
    "make_rule",
    "make_silence",
    "remove_channel",
    "remove_rule",
    "rule_of",
    "silence_server",
    "test_channel",
]


T = TypeVar("T")
Limited = Literal["channels", "rules", "silences"]


# Channels


async def make_channel(request: Request, asked: object) -> tuple[Channel, str | None]:
    """
    Make and store the channel that a decoded JSON value describes.

    With the first channel, a rule is stored that tells of servers that are down. Returns the
    channel, and the secret with which the receiver of a webhook checks signatures, which is not
    shown again; None for a channel without a secret.
    """
    new = NewChannel.of(asked)
    await _must_have_room(request, "channels")
    with audited(request, "made the channel", new.name):
        return await services(request).alerts.make_channel(new)


async def change_channel(
    request: Request, channel_id: str, asked: object
) -> tuple[Channel, str | None]:
    """
    Change those attributes of a channel that a decoded JSON value names.

    Returns the channel after the change, and the new secret of a webhook whose address was changed;
    None instead of the secret for any other change.
    """
    channel = await channel_of(request, channel_id)
    change = ChannelChange.of(asked, channel)
    with audited(request, "changed the channel", channel_id):
        changed, secret = await services(request).alerts.change_channel(channel, change)
    # Somebody may have removed it meanwhile, after the change or before.
    return changed or channel, secret


async def remove_channel(request: Request, channel_id: str) -> Channel:
    """
    Remove a channel, with its rules and what waits to be delivered; return it as it was before.

    The open alarms of its rules end.
    """
    channel = await channel_of(request, channel_id)
    found = services(request)
    with audited(request, "removed the channel", channel_id):
        await found.calls.change(found.store.alerts.remove_channel, channel_id, found.clock())
    return channel


async def test_channel(request: Request, channel_id: str) -> str | None:
    """Send a test message through a channel; return why that failed, or None if it succeeded."""
    await channel_of(request, channel_id)
    with audited(request, "tested the channel", channel_id):
        return await services(request).alerts.test(channel_id)


async def channel_of(request: Request, channel_id: str) -> Channel:
    """The channel with an id. Raises Refusal (404) if there is none."""
    return await _known(request, "channel", services(request).store.alerts.channel, channel_id)


# Rules


async def make_rule(request: Request, asked: object) -> Rule:
    """Make, store and return the rule that a decoded JSON value describes."""
    new = NewRule.of(asked)
    await _must_have_room(request, "rules")
    found = services(request)
    rule = new.issue(now=found.clock())
    with audited(request, "made the rule", rule.id):
        if not await found.calls.change(found.store.alerts.add_rule, rule):
            raise _no_channel(rule)
    return rule


async def change_rule(request: Request, rule_id: str, asked: object) -> Rule:
    """Replace the content of a rule by that of a decoded JSON value; return the rule."""
    new = NewRule.of(asked)
    before = await rule_of(request, rule_id)
    found = services(request)
    rule = new.issue(now=before.created_at, rule_id=rule_id)
    with audited(request, "changed the rule", rule_id):
        if not await found.calls.change(found.store.alerts.change_rule, rule, found.clock()):
            raise _no_channel(rule)
    return rule


async def remove_rule(request: Request, rule_id: str) -> Rule:
    """Remove a rule, whose open alarms end; return it as it was before."""
    rule = await rule_of(request, rule_id)
    found = services(request)
    with audited(request, "removed the rule", rule_id):
        await found.calls.change(found.store.alerts.remove_rule, rule_id, found.clock())
    return rule


async def rule_of(request: Request, rule_id: str) -> Rule:
    """The rule with an id. Raises Refusal (404) if there is none."""
    return await _known(request, "rule", services(request).store.alerts.rule, rule_id)


def _no_channel(rule: Rule) -> InvalidMessage:
    return InvalidMessage([Problem("channel_id", f"there is no channel {rule.channel_id!r}")])


# Silences and alarms


async def make_silence(request: Request, asked: object) -> Silence:
    """Make, store and return the silence that a decoded JSON value describes."""
    found = services(request)
    now = found.clock()
    new = NewSilence.of(asked, now=now)
    if new.server_id is not None and await found.fleet.get(new.server_id) is None:
        raise InvalidMessage([Problem("server_id", f"there is no server {new.server_id!r}")])
    silence = new.issue(author=author_of(request), now=now)
    await _add_silence(request, silence)
    return silence


async def silence_server(request: Request, server_id: str, asked: object) -> Silence:
    """
    Silence a server from now on, for the minutes in a decoded JSON value; return the silence.

    If lists show another server of the same database in place of this one, that other server is
    silenced instead, because alarms are about it; but only if the client may silence it, too.
    Earlier silences of that server that the client has made in the same way end. Raises Refusal,
    too, for a key that is neither an administrator's nor the owner of the server.
    """
    new = ShortSilence.of(asked)
    found = services(request)
    sighting = await found.fleet.get(server_id)
    if sighting is None:
        raise _no_such("server", server_id)
    await _must_own(request, server_id)
    leader = sighting.record.node_of
    if leader is not None and await _owns(request, leader):
        server_id = leader
    now, author = found.clock(), author_of(request)
    known = await found.calls.read(found.store.alerts.silences, now)
    earlier = [each.id for each in known if _is_like(each, server_id, author)]
    silence = new.issue(server_id, author=author, now=now)
    await _add_silence(request, silence, in_place_of=earlier)
    return silence


def _is_like(silence: Silence, server_id: str, author: str) -> bool:
    is_single = silence.cron is None and silence.begins_at == silence.created_at
    return is_single and (silence.server_id, silence.author) == (server_id, author)


async def _must_own(request: Request, server_id: str) -> None:
    if not await _owns(request, server_id):
        raise Refusal(403, "server_of_another_key", _NOT_OWNED.format(server_id))


async def _owns(request: Request, server_id: str) -> bool:
    """Whether the client may silence a server: it is an administrator, or the server's owner."""
    key = visitor(request).key
    if key is None or key.may(Power.MANAGE):
        return True
    found = services(request)
    return await found.calls.read(found.store.servers.owner, server_id) == key.id


async def _add_silence(
    request: Request, silence: Silence, *, in_place_of: Collection[str] = ()
) -> None:
    if not in_place_of:
        await _must_have_room(request, "silences")
    found = services(request)
    with audited(request, "made the silence", silence.id):
        await found.calls.change(
            found.store.alerts.add_silence, silence, silence.created_at, in_place_of=in_place_of
        )


async def end_silence(request: Request, silence_id: str) -> Silence:
    """End a silence now; return it as it was before. Raises Refusal if it has ended already."""
    found = services(request)
    alerts = found.store.alerts
    silence = await _known(request, "silence", alerts.silence, silence_id)
    with audited(request, "ended the silence", silence_id):
        if not await found.calls.change(
            alerts.end_silence, silence_id, found.clock(), author_of(request)
        ):
            raise Refusal(409, "silence_over", f"The silence {silence_id} has ended already.")
    return silence


def alarm_id_of(request: Request) -> int:
    """The id of the alarm that the path names. Raises Refusal (404) for what is not an id."""
    text = request.path_params["alarm_id"]
    if not (text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS):
        raise _no_such("alarm", text)
    return int(text)


async def acknowledge(request: Request, alarm_id: int) -> Alarm:
    """
    Acknowledge an open alarm, so that no reminder of it is sent any more; return the alarm.

    An alarm that was acknowledged before stays as it is. Raises Refusal for an alarm that is over.
    """
    found = services(request)
    alarm = await _alarm(request, alarm_id)
    if alarm.ended_at is not None:
        raise Refusal(409, "alarm_over", f"The alarm {alarm_id} is over.")
    now, author = found.clock(), author_of(request)
    with audited(request, "acknowledged the alarm", str(alarm_id)):
        is_noted = await found.calls.change(found.store.alerts.acknowledge, alarm_id, now, author)
    if is_noted:
        return evolve(alarm, acknowledged_at=now, acknowledged_by=author)
    return await _alarm(request, alarm_id)  # as somebody else has left it


async def _alarm(request: Request, alarm_id: int) -> Alarm:
    found = services(request)
    alarm = await found.calls.read(found.store.alerts.alarm, alarm_id)
    if alarm is None:
        raise _no_such("alarm", str(alarm_id))
    return alarm


# What all have


async def _known(request: Request, what: str, read: Callable[[str], T | None], identity: str) -> T:
    """The channel, rule or silence with an id. Raises Refusal when there is none."""
    # PostgreSQL takes no text with a NUL.
    found = None if "\x00" in identity else await services(request).calls.read(read, identity)
    if found is None:
        raise _no_such(what, identity)
    return found


async def _must_have_room(request: Request, what: Limited) -> None:
    """Raise Refusal when there are as many channels, rules or silences as there may be."""
    found = services(request)
    if await found.calls.read(found.store.alerts.is_full, what, found.clock()):
        raise Refusal(409, "too_many", f"There are too many {what}. {_ROOM[what]}")


def _no_such(what: str, identity: str) -> Refusal:
    return Refusal(404, "not_found", f"There is no {what} {identity!r}.")


_ROOM: dict[Limited, str] = {
    "channels": "Remove one that is not needed, or let rules share one.",
    "rules": "Remove one that is not needed: a rule may name several kinds of alarms, and the "
    "filter of a rule may name several values.",
    "silences": "End one that is not needed: the filter of a silence may name many servers.",
}
_NOT_OWNED = (
    "The server {!r} belongs to another key. A key may silence its own servers, and an "
    "administrator's key all of them."
)
_MOST_DIGITS = 18  # of an id that fits into the database

"""The channels and rules in the database."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from attrs import asdict
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    RowMapping,
    bindparam,
    case,
    delete,
    exists,
    func,
    insert,
    literal,
    select,
    type_coerce,
    update,
)

from contract import EventKind
from receiver.domain.alerts.values import Channel, Rule
from receiver.domain.instants import MICROSECOND
from receiver.store.alerts.progress import begin_anew, touch
from receiver.store.alerts.tables import alarms, channels, deliveries, is_unfinished, rules
from receiver.store.tables import Moment

__all__ = [
    "add_channel",
    "add_rule",
    "change_channel",
    "change_rule",
    "read_channel",
    "read_channels",
    "read_rule",
    "read_rules",
    "remove_channel",
    "remove_rule",
    "replace_addresses",
]


def read_channels(connection: Connection) -> list[Channel]:
    """All channels, oldest first."""
    return [Channel(**row) for row in connection.execute(_CHANNELS).mappings()]


def read_channel(connection: Connection, channel_id: str) -> Channel | None:
    """The channel with this id; None if there is none."""
    row = connection.execute(_CHANNEL, {"key": channel_id}).mappings().one_or_none()
    return None if row is None else Channel(**row)


def add_channel(connection: Connection, channel: Channel, default_rule: Rule | None) -> None:
    """Store a channel; and `default_rule`, unless it is None or there are channels or rules."""
    touch(connection)
    is_first = not connection.execute(_IS_ANY).scalar_one()
    connection.execute(insert(channels), asdict(channel))
    if is_first and default_rule is not None:
        _insert_rule(connection, default_rule)


def change_channel(connection: Connection, channel_id: str, values: Mapping[str, Any]) -> bool:
    """Set attributes of a channel to `values`; return False when there is no such channel."""
    touch(connection)
    query = update(channels).where(channels.c.id == channel_id).values(values)
    return connection.execute(query).rowcount == 1


def replace_addresses(connection: Connection, renew: Callable[[Channel], bytes]) -> int:
    """
    Give each channel the encrypted address that `renew` returns for it.

    Nobody changes a channel meanwhile. Returns how many addresses are others than before.
    """
    touch(connection)
    replaced = 0
    for channel in read_channels(connection):
        address = renew(channel)
        if address != channel.address:
            query = update(channels).where(channels.c.id == channel.id)
            connection.execute(query.values(address=address))
            replaced += 1
    return replaced


def remove_channel(connection: Connection, channel_id: str, at: datetime) -> bool:
    """
    Delete a channel, its rules, and its messages that were not sent yet; end its alarms.

    `at` is the time at which the alarms end. Returns False when there is no such channel.
    """
    touch(connection)
    if connection.execute(delete(channels).where(channels.c.id == channel_id)).rowcount == 0:
        return False
    connection.execute(delete(rules).where(rules.c.channel_id == channel_id))
    waiting = deliveries.c.next_at.is_not(None)
    connection.execute(delete(deliveries).where(deliveries.c.channel_id == channel_id, waiting))
    _end_alarms(connection, alarms.c.channel_id == channel_id, at, "channel_removed")
    return True


def read_rules(connection: Connection) -> list[Rule]:
    """All rules, oldest first."""
    return [_rule(row) for row in connection.execute(_RULES).mappings()]


def read_rule(connection: Connection, rule_id: str) -> Rule | None:
    """The rule with this id; None if there is none."""
    row = connection.execute(_RULE, {"key": rule_id}).mappings().one_or_none()
    return None if row is None else _rule(row)


def add_rule(connection: Connection, rule: Rule) -> bool:
    """Store a rule; return False when its channel is gone."""
    touch(connection)
    if not _has_channel(connection, rule.channel_id):
        return False
    _insert_rule(connection, rule)
    return True


def change_rule(connection: Connection, rule: Rule, at: datetime) -> bool:
    """
    Replace the rule with the id of `rule` by `rule`; return False when it was deleted.

    Also returns False, and changes nothing, when there is no channel `rule.channel_id`. Alarms of
    kinds that the rule no longer names end at the time `at`. Its other alarms go to the channel of
    the new rule, and those that were not told yet are told after the time that the new rule says.
    What is wrong with servers that the rule now is about begins alarms in the next steps.
    """
    touch(connection)
    if not _has_channel(connection, rule.channel_id):
        return False
    columns = _columns(rule)
    changed = connection.execute(update(rules).where(rules.c.id == rule.id).values(columns))
    if changed.rowcount == 0:
        return False
    of_rule = alarms.c.rule_id == rule.id
    _end_alarms(connection, of_rule & alarms.c.kind.not_in(_told_kinds(rule)), at, "rule_changed")
    is_untold = alarms.c.told_at.is_(None) & alarms.c.due_at.is_not(None)
    due_at = type_coerce(alarms.c.begun_at, BigInteger) + rule.after // MICROSECOND
    connection.execute(
        update(alarms)
        .where(of_rule, alarms.c.ended_at.is_(None))
        .values(
            channel_id=rule.channel_id,
            due_at=case((is_untold, due_at), else_=type_coerce(alarms.c.due_at, BigInteger)),
        )
    )
    return True


def remove_rule(connection: Connection, rule_id: str, at: datetime) -> bool:
    """Delete a rule and end its alarms at `at`; return False when there is no such rule."""
    touch(connection)
    if connection.execute(delete(rules).where(rules.c.id == rule_id)).rowcount == 0:
        return False
    _end_alarms(connection, alarms.c.rule_id == rule_id, at, "rule_removed")
    return True


def _end_alarms(
    connection: Connection, which: ColumnElement[bool], at: datetime, ending: str
) -> None:
    """End alarms, and tell nothing more of them, nor of those that ended and were to be told."""
    ended_at = func.coalesce(alarms.c.ended_at, literal(at, Moment))
    ended = {"due_at": None, "ended_at": ended_at, "ending": func.coalesce(alarms.c.ending, ending)}
    connection.execute(update(alarms).where(is_unfinished, which).values(ended))


def _insert_rule(connection: Connection, rule: Rule) -> None:
    """
    Store a rule. If it is the only one, no event until now begins its alarms.

    What is wrong with servers now begins some all the same, in the next steps.
    """
    if not connection.execute(_IS_ANY_RULE).scalar_one():
        begin_anew(connection)
    connection.execute(insert(rules), _columns(rule))


def _has_channel(connection: Connection, channel_id: str) -> bool:
    return connection.execute(_CHANNEL, {"key": channel_id}).first() is not None


def _told_kinds(rule: Rule) -> list[str]:
    """The kinds of alarms of a rule: those it names, and `fleet_silent` with `late` or `down`."""
    silences = {EventKind.LATE.value, EventKind.DOWN.value}
    more = {EventKind.FLEET_SILENT.value} if rule.kinds & silences else set()
    return sorted(rule.kinds | more)


def _columns(rule: Rule) -> dict[str, Any]:
    remind = rule.remind_every
    return {
        "id": rule.id,
        "name": rule.name,
        "query": rule.query,
        "kinds": sorted(rule.kinds),
        "after_seconds": rule.after // _SECOND,
        "channel_id": rule.channel_id,
        "remind_seconds": None if remind is None else remind // _SECOND,
        "created_at": rule.created_at,
        "standing_after": "",
    }


def _rule(row: RowMapping) -> Rule:
    remind = row["remind_seconds"]
    return Rule(
        id=row["id"],
        name=row["name"],
        query=row["query"],
        kinds=frozenset(row["kinds"]),
        after=row["after_seconds"] * _SECOND,
        channel_id=row["channel_id"],
        remind_every=None if remind is None else remind * _SECOND,
        created_at=row["created_at"],
    )


_SECOND = timedelta(seconds=1)
_CHANNELS = select(channels).order_by(channels.c.created_at, channels.c.id)
_CHANNEL = select(channels).where(channels.c.id == bindparam("key"))
_RULES = select(rules).order_by(rules.c.created_at, rules.c.id)
_RULE = select(rules).where(rules.c.id == bindparam("key"))
_IS_ANY_RULE = select(exists(select(rules.c.id)))
_IS_ANY = select(exists(select(channels.c.id)) | exists(select(rules.c.id)))

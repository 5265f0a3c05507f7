"""The alerts of a database: channels, rules, silences, alarms and the outbox of messages."""

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, func, select

from contract import Event
from receiver.domain.alerts.reach import Telling
from receiver.domain.alerts.reports import WeekCounts
from receiver.domain.alerts.values import Alarm, Channel, Delivery, OutboxCounts, Rule, Silence
from receiver.store.alerts import alarms, channels, outbox, silences, upkeep
from receiver.store.alerts.outbox import Claim, Failure
from receiver.store.alerts.reports import weekly
from receiver.store.alerts.tables import channels as channels_table
from receiver.store.alerts.tables import rules as rules_table
from receiver.store.alerts.tables import silences as silences_table
from receiver.store.rows import RowCache
from receiver.store.transactions import Transactions

__all__ = ["Alerts"]


class Alerts:
    """
    The channels, rules, silences, alarms and messages in a database.

    An event that a rule matches begins an alarm. Messages about it are sent through the channel of
    the rule, unless there is a silence for its server at that time.

    Each method is one transaction, except where it says otherwise, and raises StoreUnavailable when
    the database does not answer.

    Args:
        transactions: Runs the transactions.
        cache: The cached rows of servers.
        on_events: Called with the events of each transaction after its commit.
    """

    def __init__(
        self,
        transactions: Transactions,
        cache: RowCache,
        *,
        on_events: Callable[[Sequence[Event]], None],
    ) -> None:
        self._transactions = transactions
        self._cache = cache
        self._on_events = on_events

    def advance(self, now: datetime, public_url: str | None) -> bool:
        """
        Let alarms begin and end, by the events since the last call and by the time.

        Stores the alarms, the messages about them, and how far the events were looked at, in one
        transaction. So each event is looked at by one of several receivers, whichever of them are
        killed. Another transaction reads before that; if there is nothing to do, it is the only
        one.

        Args:
            now: The time.
            public_url: The URL under which people reach the pages; None for messages without links.

        Returns whether more is to be looked at by another call at once. It is not if nothing was
        written, because another receiver has come before or something has changed meanwhile: if
        the other one is still at work, this one would ask again and again until it has ended.
        """
        dialect = self._transactions.dialect
        with self._transactions.read() as connection:
            step = alarms.take_step(dialect, connection, self._cache, now, public_url)
        if step is None:
            return False
        is_written = self._transactions.write(
            lambda connection: alarms.write_step(dialect, connection, step)
        )
        return is_written and step.is_more

    def channels(self) -> list[Channel]:
        """All channels, oldest first."""
        with self._transactions.read() as connection:
            return channels.read_channels(connection)

    def channel(self, channel_id: str) -> Channel | None:
        """The channel with this id; None when there is none."""
        with self._transactions.read() as connection:
            return channels.read_channel(connection, channel_id)

    def add_channel(self, channel: Channel, default_rule: Rule | None) -> None:
        """Store a channel; and `default_rule`, unless it is None or there are channels or rules."""
        self._transactions.write(
            lambda connection: channels.add_channel(connection, channel, default_rule)
        )

    def change_channel(self, channel_id: str, **values: Any) -> bool:
        """Set attributes of a channel to `values`; return False when there is no such channel."""
        return self._transactions.write(
            lambda connection: channels.change_channel(connection, channel_id, values)
        )

    def replace_addresses(self, renew: Callable[[Channel], bytes]) -> int:
        """
        Give each channel the encrypted address that `renew` returns for it, all or none of them.

        Nobody changes a channel meanwhile. `renew` may be called again, when the transaction is.
        Returns how many addresses are others than before.
        """
        return self._transactions.write(
            lambda connection: channels.replace_addresses(connection, renew)
        )

    def remove_channel(self, channel_id: str, at: datetime) -> bool:
        """
        Delete a channel, its rules, and its messages that were not sent yet; end its alarms.

        `at` is the time at which the alarms end. Returns False when there is no such channel.
        """
        return self._transactions.write(
            lambda connection: channels.remove_channel(connection, channel_id, at)
        )

    def rules(self) -> list[Rule]:
        """All rules, oldest first."""
        with self._transactions.read() as connection:
            return channels.read_rules(connection)

    def rule(self, rule_id: str) -> Rule | None:
        """The rule with this id; None when there is none."""
        with self._transactions.read() as connection:
            return channels.read_rule(connection, rule_id)

    def add_rule(self, rule: Rule) -> bool:
        """Store a rule; return False when its channel is gone."""
        return self._transactions.write(lambda connection: channels.add_rule(connection, rule))

    def change_rule(self, rule: Rule, at: datetime) -> bool:
        """
        Replace the rule with the id of `rule` by `rule`; return False when it was deleted.

        Also returns False, and changes nothing, when there is no channel `rule.channel_id`. Alarms
        of kinds that the rule no longer names end at the time `at`. Its other alarms go to the
        channel of the new rule, and those that were not told yet are told after the time that the
        new rule says.
        """
        return self._transactions.write(
            lambda connection: channels.change_rule(connection, rule, at)
        )

    def remove_rule(self, rule_id: str, at: datetime) -> bool:
        """Delete a rule and end its alarms at `at`; return False when there is no such rule."""
        return self._transactions.write(
            lambda connection: channels.remove_rule(connection, rule_id, at)
        )

    def silences(self, now: datetime, *, ended: bool = False) -> list[Silence]:
        """The silences that have not ended by `now`, or with `ended` all silences; oldest first."""
        with self._transactions.read_once() as connection:
            return silences.read_silences(connection, now, ended=ended)

    def silence(self, silence_id: str) -> Silence | None:
        """The silence with this id; None when there is none."""
        with self._transactions.read_once() as connection:
            return silences.read_silence(connection, silence_id)

    def add_silence(
        self, silence: Silence, at: datetime, *, in_place_of: Collection[str] = ()
    ) -> None:
        """
        Store a silence, and tell of it by an event at the time `at`.

        `in_place_of` are the ids of silences that end at that time, each of which is told by an
        event, too. Those that do not exist, or have ended before, are left out.
        """
        dialect = self._transactions.dialect

        def work(connection: Connection) -> list[Event]:
            told = silences.add_silence(dialect, connection, silence, at)
            for each in in_place_of:
                told += silences.end_silence(dialect, connection, each, at, silence.author)
            return told

        self._tell(self._transactions.write(work))

    def end_silence(self, silence_id: str, at: datetime, by: str) -> bool:
        """
        End a silence at the time `at`, and tell so by an event.

        `by` is the name of the key that asks for it. Returns False, and changes nothing, when there
        is no such silence, or it has ended before.
        """
        dialect = self._transactions.dialect
        told = self._transactions.write(
            lambda connection: silences.end_silence(dialect, connection, silence_id, at, by)
        )
        self._tell(told)
        return bool(told)

    def is_full(self, what: Literal["channels", "rules", "silences"], now: datetime) -> bool:
        """
        Whether there are as many channels, rules or silences as there may be.

        There may be 100 channels, 1,000 rules, and 1,000 silences that have not ended by `now`.
        """
        table = {"channels": channels_table, "rules": rules_table, "silences": silences_table}[what]
        query = select(func.count()).select_from(table)
        parameters = {}
        if what == "silences":
            query, parameters = query.where(silences.lasts), {"now": now}
        with self._transactions.read() as connection:
            return int(connection.execute(query, parameters).scalar_one()) >= _MOST[what]

    def alarms(
        self,
        *,
        is_open: bool | None = None,
        is_part: bool | None = None,
        server_id: str | None = None,
        before: int | None = None,
        limit: int,
    ) -> list[Alarm]:
        """
        Alarms, newest first.

        Args:
            is_open: If True, only alarms that have not ended; if False, only alarms that have
                ended; if None, both.
            is_part: If True, only alarms that are told as a part of an alarm `fleet_silent`; if
                False, only alarms that are not; if None, both.
            server_id: Only alarms about this server; None for all.
            before: Only alarms with a smaller id; None for all.
            limit: How many alarms are returned at most.
        """
        if "\x00" in (server_id or ""):  # PostgreSQL refuses a NUL in a parameter
            return []
        query = alarms.find_alarms(
            is_open=is_open, is_part=is_part, server_id=server_id, before=before, limit=limit
        )
        with self._transactions.read() as connection:
            return alarms.read_alarms(connection, query)

    def alarm(self, alarm_id: int) -> Alarm | None:
        """The alarm with this id; None when there is none."""
        with self._transactions.read() as connection:
            return alarms.read_alarm(connection, alarm_id)

    def open_count(self) -> int:
        """How many alarms have not ended, and are neither silenced nor a part of another one."""
        with self._transactions.read_once() as connection:
            return alarms.count_open(connection)

    def telling(self) -> Telling:
        """What decides of which servers somebody is told: channels, rules, and open alarms."""
        with self._transactions.read() as connection:
            return alarms.read_telling(connection)

    def acknowledge(self, alarm_id: int, at: datetime, by: str) -> bool:
        """
        Note that somebody has acknowledged an alarm, and tell so by an event.

        `by` is the name of the key of that person. Returns False, and changes nothing, when there
        is no such alarm, or it has ended or was acknowledged before.
        """
        dialect = self._transactions.dialect
        told = self._transactions.write(
            lambda connection: alarms.acknowledge(dialect, connection, alarm_id, at, by)
        )
        self._tell(told)
        return bool(told)

    def enqueue(self, delivery: Delivery) -> bool:
        """Store a new message, to be sent when it is due; return False when its channel is gone."""
        return self._transactions.write(lambda connection: outbox.enqueue(connection, delivery))

    def add_report(self, delivery: Delivery, at: datetime, last: datetime | None) -> bool:
        """
        Store a weekly report as a message, and set `reported_at` of its channel to `at`.

        `last` is the `reported_at` of the channel as the caller has read it. If it is another time
        now, because another receiver has made the report, this returns False and stores nothing.
        """
        return self._transactions.write(
            lambda connection: outbox.add_report(connection, delivery, at, last)
        )

    def lease(
        self,
        now: datetime,
        holder: str,
        until: datetime,
        limit: int,
        busy: Collection[str] = (),
    ) -> list[tuple[Delivery, Channel]]:
        """
        Take messages that are due, so that no other receiver sends them before `until`.

        Takes of each channel the oldest message that is due, but none of a channel of which any
        receiver is sending a message. `Delivery.attempts` of the returned messages counts the
        attempt that now begins, too. One transaction looks whether any message is due, and only
        then a second one takes messages.

        Args:
            now: The time.
            holder: A text that stands for this receiver, and for no other one.
            until: When another receiver may take over the messages that were not sent by then.
            limit: How many messages are taken at most.
            busy: The ids of channels of which no message is taken.

        Returns the messages, each with its channel.
        """
        with self._transactions.read() as connection:
            if limit < 1 or not outbox.is_any_due(connection, now, busy):
                return []
        claim = Claim(now=now, holder=holder, until=until, limit=limit, busy=busy)
        return self._transactions.write(lambda connection: outbox.lease(connection, claim))

    def sent(self, delivery_id: str, holder: str, at: datetime) -> bool:
        """Note that a message was sent; return False if it is not leased to `holder` any more."""
        return self._transactions.write(
            lambda connection: outbox.note_success(connection, delivery_id, holder, at)
        )

    def failed(
        self,
        delivery_id: str,
        holder: str,
        at: datetime,
        error: str,
        next_at: datetime | None,
    ) -> bool:
        """
        Note that an attempt to send a message has failed.

        Args:
            delivery_id: The id of the message.
            holder: The text with which the message was leased.
            at: When the attempt failed.
            error: Why it failed, for people; the first 500 characters are kept.
            next_at: When to try again; None to give the message up, and tell so by an event.

        Returns False, and changes nothing, if the message is not leased to `holder` any more.
        """
        dialect = self._transactions.dialect
        failure = Failure(
            delivery_id=delivery_id, holder=holder, at=at, error=error, next_at=next_at
        )
        is_noted, told = self._transactions.write(
            lambda connection: outbox.note_failure(dialect, connection, failure)
        )
        self._tell(told)
        return is_noted

    def deliveries(
        self, *, channel_id: str | None = None, before: str | None = None, limit: int
    ) -> list[Delivery]:
        """
        Messages, whether they were sent or not, newest first.

        Args:
            channel_id: Only messages of this channel; None for all.
            before: Only messages that are older than the one with this id; if there is no such
                message, the result is empty. None for all.
            limit: How many messages are returned at most.
        """
        with self._transactions.read() as connection:
            return outbox.read_deliveries(connection, channel_id, before, limit)

    def counts(self, now: datetime) -> OutboxCounts:
        """How many messages wait, and how many were given up in the last day, without tests."""
        with self._transactions.read() as connection:
            return outbox.count(connection, now)

    def weekly(self, since: datetime, until: datetime) -> tuple[list[WeekCounts], int]:
        """
        Count for the weekly report the events and the alarms from `since` to before `until`.

        What happened to nodes (servers for which lists show another server of their database) and
        to superseded servers is counted for the server that stands for them.

        Returns:
            A line for each server in the list of all servers and, marked as not listed, for each
            server that left or was deleted in that time; sorted by `server_id`. And the number of
            alarms that are in no line, such as those about the fleet as a whole.
        """
        with self._transactions.read() as connection:
            return weekly(connection, since, until)

    def trim(self, until: datetime, *, limit: int = 1000) -> bool:
        """
        Delete old alarms, messages and silences, at most `limit` of each.

        These are alarms that ended before `until`, messages that were made before and are not to be
        sent any more, and silences that ended before. One transaction looks whether there are any,
        and only then a second one deletes them. Returns whether there may be more.
        """
        with self._transactions.read() as connection:
            if not upkeep.is_any_older(connection, until):
                return False
        return self._transactions.write(lambda connection: upkeep.trim(connection, until, limit))

    def _tell(self, told: Sequence[Event]) -> None:
        if told:
            self._on_events(told)


_MOST = {"channels": 100, "rules": 1000, "silences": 1000}

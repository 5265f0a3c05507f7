"""The alerts of a database: channels, rules, silences, alarms and the outbox of messages."""

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import func, select

from contract import Event
from receiver.domain.alerts.reports import WeekCounts
from receiver.domain.alerts.values import Alarm, Channel, Delivery, Rule, Silence
from receiver.store.alerts import alarms, channels, outbox, silences, upkeep
from receiver.store.alerts.outbox import Claim, Failure, OutboxCounts
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
        Let alarms begin and end, by the events since the last call and the time.

        Writes them, and the messages about them, together with how far the events were looked at.
        So of several receivers each event is looked at by one, also when others are killed. One
        transaction reads, and a second one writes, if there is something to do.

        Args:
            now: The time.
            public_url: The URL under which people reach the pages; None for messages without links.

        Returns whether there are more events to look at.
        """
        dialect = self._transactions.dialect
        with self._transactions.read() as connection:
            step = alarms.take_step(dialect, connection, self._cache, now, public_url)
        if step is None:
            return False
        self._transactions.write(lambda connection: alarms.write_step(dialect, connection, step))
        return step.is_more

    def channels(self) -> list[Channel]:
        """All channels, oldest first."""
        with self._transactions.read() as connection:
            return channels.read_channels(connection)

    def channel(self, channel_id: str) -> Channel | None:
        """The channel with this id; None when there is none."""
        with self._transactions.read() as connection:
            return channels.read_channel(connection, channel_id)

    def add_channel(self, channel: Channel, default_rule: Rule | None) -> None:
        """Store a channel, and the rule if there are no channels and no rules yet."""
        self._transactions.write(
            lambda connection: channels.add_channel(connection, channel, default_rule)
        )

    def change_channel(self, channel_id: str, **values: Any) -> bool:
        """Change attributes of a channel; return False when there is no such channel."""
        return self._transactions.write(
            lambda connection: channels.change_channel(connection, channel_id, values)
        )

    def remove_channel(self, channel_id: str, at: datetime) -> bool:
        """
        Delete a channel, its rules and its messages that wait; end its alarms.

        Returns False when there is no such channel.
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
        Replace a rule by one with the same id; return False when it, or its channel, is gone.

        Alarms of kinds that the rule no longer names end. What others have still to tell is due
        when the new rule says, and goes to its channel.
        """
        return self._transactions.write(
            lambda connection: channels.change_rule(connection, rule, at)
        )

    def remove_rule(self, rule_id: str, at: datetime) -> bool:
        """Delete a rule and end its alarms; return False when there is no such rule."""
        return self._transactions.write(
            lambda connection: channels.remove_rule(connection, rule_id, at)
        )

    def silences(self, now: datetime, *, ended: bool = False) -> list[Silence]:
        """The silences that have not ended by `now`, or also those that have, oldest first."""
        with self._transactions.read() as connection:
            return silences.read_silences(connection, now, ended=ended)

    def silence(self, silence_id: str) -> Silence | None:
        """The silence with this id; None when there is none."""
        with self._transactions.read() as connection:
            return silences.read_silence(connection, silence_id)

    def add_silence(self, silence: Silence, at: datetime) -> None:
        """Store a silence, and the event that tells of it."""
        dialect = self._transactions.dialect
        told = self._transactions.write(
            lambda connection: silences.add_silence(dialect, connection, silence, at)
        )
        self._tell(told)

    def end_silence(self, silence_id: str, at: datetime, by: str) -> bool:
        """
        End a silence, and tell so by an event; `by` is the name of the key that asks for it.

        Returns False when there is no such silence, or it has ended before.
        """
        dialect = self._transactions.dialect
        told = self._transactions.write(
            lambda connection: silences.end_silence(dialect, connection, silence_id, at, by)
        )
        self._tell(told)
        return bool(told)

    def is_full(self, what: Literal["channels", "rules", "silences"], now: datetime) -> bool:
        """Whether there are as many channels, rules, or silences that last, as there may be."""
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
            is_open: Only those that last, or only those that have ended; None for all.
            is_part: Only those that are told as a part of another one, or only the others; None
                for all.
            server_id: Only those about this server; None for all.
            before: Only those with a smaller id; None for all.
            limit: How many are returned at most.
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
        """How many alarms last that are neither silenced nor told as a part of another one."""
        with self._transactions.read() as connection:
            return alarms.count_open(connection)

    def acknowledge(self, alarm_id: int, at: datetime, by: str) -> bool:
        """
        Note that somebody has acknowledged an alarm, and tell so by an event.

        `by` is the name of the key that asks for it. Returns False when there is no such alarm, it
        has ended, or was acknowledged before.
        """
        dialect = self._transactions.dialect
        told = self._transactions.write(
            lambda connection: alarms.acknowledge(dialect, connection, alarm_id, at, by)
        )
        self._tell(told)
        return bool(told)

    def enqueue(self, delivery: Delivery) -> bool:
        """Store a new message as it is; return False when its channel is gone."""
        return self._transactions.write(lambda connection: outbox.enqueue(connection, delivery))

    def add_report(self, delivery: Delivery, at: datetime, last: datetime | None) -> bool:
        """
        Store a report, and as `reported_at` of its channel that it was made at `at`.

        `last` is the `reported_at` that the channel had. If it has another one now, because another
        receiver has made the report, this returns False and stores nothing.
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

        Takes at most one of each channel, the oldest, and none of a channel of which any receiver
        is sending one. `Delivery.attempts` of those that are returned counts the attempt that
        begins. When nothing is due, one transaction reads, and none writes.

        Args:
            now: The time.
            holder: A text that no other receiver gives.
            until: When another receiver may take over those that were not sent by then.
            limit: How many messages are taken at most.
            busy: The ids of channels of which none is taken.
        """
        with self._transactions.read() as connection:
            if limit < 1 or not outbox.is_any_due(connection, now, busy):
                return []
        claim = Claim(now=now, holder=holder, until=until, limit=limit, busy=busy)
        return self._transactions.write(lambda connection: outbox.lease(connection, claim))

    def sent(self, delivery_id: str, holder: str, at: datetime) -> bool:
        """Note that a message was sent; return False if `holder` does not have it any more."""
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
            delivery_id: The message.
            holder: The text with which it was leased.
            at: The time.
            error: Why it has failed, for people; the first 500 characters are kept.
            next_at: When to try again; None to give the message up, of which an event then tells.

        Returns False if `holder` does not have the message any more.
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
        Messages, newest first.

        Args:
            channel_id: Only those of this channel; None for all.
            before: Only those that are older than the one with this id; None for all.
            limit: How many are returned at most.
        """
        with self._transactions.read() as connection:
            return outbox.read_deliveries(connection, channel_id, before, limit)

    def counts(self, now: datetime) -> OutboxCounts:
        """How many messages wait, or were given up within the last day."""
        with self._transactions.read() as connection:
            return outbox.count(connection, now)

    def weekly(self, since: datetime, until: datetime) -> tuple[list[WeekCounts], int]:
        """
        What the weekly report counts: events and alarms from `since`, and before `until`.

        Returns a line for each server in the list of all servers and, marked as not listed, for
        each that left or was deleted in that time. What happened to the other nodes of a database,
        and to the servers that were superseded, is counted for the server that stands for them. The
        number is that of alarms of no line, such as those about the fleet as a whole.
        """
        with self._transactions.read() as connection:
            return weekly(connection, since, until)

    def trim(self, until: datetime, *, limit: int = 1000) -> bool:
        """
        Delete alarms, messages and silences that were over before `until`.

        Deletes at most `limit` of each; returns whether there may be more.
        """
        with self._transactions.read() as connection:
            if not upkeep.is_any_older(connection, until):
                return False
        return self._transactions.write(lambda connection: upkeep.trim(connection, until, limit))

    def _tell(self, told: Sequence[Event]) -> None:
        if told:
            self._on_events(told)


_MOST = {"channels": 100, "rules": 1000, "silences": 1000}

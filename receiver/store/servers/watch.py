"""Notes when receivers run, and checks the servers whose messages are due."""

from datetime import datetime, timedelta

from attrs import evolve
from sqlalchemy import Connection, select

from receiver.domain.databases.silence import Presence, SweepOptions
from receiver.domain.history import NOTHING_TAKEN, Census, Minute, Taken, begin_of_minute
from receiver.domain.instants import microseconds
from receiver.domain.rate_limits import RateLimits
from receiver.store.alerts import leave_no_future as leave_no_future_in_alerts
from receiver.store.history import is_counted, note_minute, take_census
from receiver.store.history import leave_no_future as leave_no_future_in_history
from receiver.store.rows import Committed, RowCache
from receiver.store.servers.commits import Committing, OnEvents
from receiver.store.servers.counting import count_standing
from receiver.store.silence import (
    IS_DUE,
    Swept,
    attended_since,
    forget_marks,
    lacks_note,
    leave_no_future,
    may_be_ahead,
    note_presence,
    sweep,
)
from receiver.store.tables import watches
from receiver.store.transactions import Transactions

__all__ = ["Watch"]


class Watch(Committing):
    """
    Notes in the database that a receiver runs, and gives servers their states as time passes.

    Each method is one transaction, except where it says otherwise, and raises StoreUnavailable when
    the database does not answer.

    Args:
        transactions: Runs the transactions.
        cache: The cached rows of servers.
        budget: Tells how much each key has left of its limit for events; None for no limits.
        on_events: Called with the events of each transaction after its commit, if it has any.
    """

    def __init__(
        self,
        transactions: Transactions,
        cache: RowCache,
        *,
        budget: RateLimits | None,
        on_events: OnEvents,
    ) -> None:
        self._transactions = transactions
        self._cache = cache
        self._budget = budget
        self._on_events = on_events
        self._noted_at: datetime | None = None
        self._taken = NOTHING_TAKEN
        self._taken_at: datetime | None = None

    def note_presence(self, now: datetime, *, absent: timedelta) -> Presence:
        """
        Note in the database that a receiver is running at the time `now`.

        Returns since when receivers have been running without an interruption, and whether a
        `sweep` has anything to do. An interruption is a time longer than `absent` without such a
        note of any receiver. If another database, such as a backup, has taken the place of the one
        in which this receiver noted that it runs, a time of more than 5 seconds is one, too.
        """
        dialect = self._transactions.dialect

        def work(connection: Connection) -> Presence:
            return note_presence(dialect, connection, now, absent=absent, noted_at=self._noted_at)

        presence = self._transactions.write(work)
        self._noted_at = now
        return presence

    def last_presence(self) -> datetime | None:
        """When a receiver last noted in the database that it runs; None if none ever has."""
        with self._transactions.read_once() as connection:
            return connection.execute(_SEEN_AT).scalar()

    def attended_since(self, now: datetime, length: timedelta) -> datetime:
        """
        The time since which receivers have been running for `length`, not counting interruptions.

        So it is `length` before `now` if there was no interruption in between, and otherwise
        earlier. If receivers have never been running for that long in all, it is in 1970 or before.
        """
        with self._transactions.read() as connection:
            return attended_since(connection, now, length)

    def has_gone_back(self, connection: Connection) -> bool:
        """Whether the database, such as a restored backup, lacks the last note of this receiver."""
        return lacks_note(connection.execute(_SEEN_AT).scalar(), self._noted_at)

    def database_time(self) -> datetime | None:
        """The time of the database server's clock; None for SQLite, which has no server."""
        with self._transactions.read_once() as connection:
            return self._transactions.dialect.database_time(connection)

    def leave_no_future(self, now: datetime, *, is_start: bool = False) -> int:
        """
        Replace all times after `now` by `now`, because the clock was set back since they were
        written.

        Returns how many servers had such times.

        Args:
            now: The time.
            is_start: Whether a receiver is starting. If so, this looks first whether there can be
                such times at all, and usually does nothing more: the tables are large, and the
                clock is right nearly always.
        """

        def work(connection: Connection) -> int:
            if is_start and not may_be_ahead(connection, now):
                forget_marks(connection)
                return 0
            leave_no_future_in_alerts(connection, now)
            leave_no_future_in_history(connection, now)
            return leave_no_future(connection, now)

        with self._transactions.turn:
            found = self._transactions.write(work)
            self._cache.invalidate()
        return found

    def sweep(self, options: SweepOptions) -> bool:
        """
        Check some servers that are due for a check, and write their new states and events.

        A server is due when the time `due_at` of its row has come. The first call in a minute also
        counts all servers, for the history of the fleet, and adds to the history the heartbeats
        that have come since it last did so.

        If it is not known whether there is anything to do, a first transaction finds out.

        Returns whether more servers are due. After another database has taken the place of the open
        one, no server is checked until `note_presence` has been called.
        """
        dialect = self._transactions.dialect
        minute = self._minute(options)
        asked = evolve(options, noted_at=self._noted_at, minute=minute)

        def work(connection: Connection) -> tuple[Swept, Committed]:
            swept = sweep(
                dialect, connection, self._cache, asked, is_over_budget=self._is_over_budget
            )
            return swept, swept.committed

        is_any_due = options.is_any_due
        if is_any_due is None and minute is None:
            with self._transactions.read() as connection:
                found = connection.execute(IS_DUE, {"now": microseconds(options.now)}).first()
            is_any_due = found is not None
        if not is_any_due and minute is None:
            return False
        swept, committed = self._commit(work)
        if minute is not None:
            self._taken, self._taken_at = options.taken, options.now
        if self._budget is not None:
            for key_id, size in swept.spent.items():
                self._budget.spend_changes(key_id, size)
        self._tell(committed)
        return swept.is_more_due

    def note_taken(self, now: datetime, taken: Taken) -> None:
        """
        Add to the history the heartbeats that have come since `sweep` last did so.

        To be called when a receiver stops, since its next `sweep` would have added them. Does
        nothing if there are none, or if this object has never added any.

        Args:
            now: The time.
            taken: What the receiver has taken in since its start.
        """
        left = taken.since(self._taken)
        if self._taken_at is None or not any(left):
            return
        minute = Minute(at=now, taken=left, taken_at=self._taken_at)
        self._transactions.write(lambda connection: note_minute(connection, minute))
        self._taken, self._taken_at = taken, now

    def _minute(self, options: SweepOptions) -> Minute | None:
        """What the first `sweep` in a minute adds to the history; None for any other `sweep`."""
        now, noted_at = options.now, self._taken_at
        if noted_at is not None and begin_of_minute(noted_at) == begin_of_minute(now):
            return None
        taken = options.taken.since(self._taken)
        return Minute(at=now, census=self._census(now), taken=taken, taken_at=noted_at or now)

    def _census(self, now: datetime) -> Census | None:
        """Count the servers; None if another receiver has counted them in this minute."""
        with self._transactions.read() as connection:
            is_done, is_begun = is_counted(connection, now)
            if is_done:
                return None
            standing, has_lapsed_keys = count_standing(connection, now)
            return take_census(
                connection,
                now,
                standing=standing,
                has_lapsed_keys=has_lapsed_keys,
                is_first=not is_begun,
            )

    def _is_over_budget(self, key_id: str, more: int) -> bool:
        """Whether a key has used up its budget for events, if `more` are charged, too."""
        return self._budget is not None and self._budget.changes_left(key_id) <= more


_SEEN_AT = select(watches.c.seen_at)

"""Writes servers: merges messages, changes owners, and deletes ("forgets") servers."""

import logging
from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from math import inf

from sqlalchemy import Connection, select

from contract import ServerRecord, State
from receiver.domain.errors import Refusal
from receiver.domain.forgetting import Forgettable, Forgotten, Stage
from receiver.domain.outcomes import Applied, Incoming
from receiver.domain.rate_limits import RateLimits
from receiver.store.forgetting import (
    BATCH,
    Chosen,
    chosen_after,
    delete_server,
    forget,
    forgettable,
)
from receiver.store.merging import apply, hand_over
from receiver.store.ownership import RefusedWrites, Rights
from receiver.store.rows import Committed, RowCache
from receiver.store.servers.commits import Committing, OnEvents
from receiver.store.servers.reading import OWNER, ReadServers, can_exist
from receiver.store.silence import attended_since
from receiver.store.tables import is_in_state, is_of_lapsed_key, servers
from receiver.store.transactions import Transactions

__all__ = ["Servers"]

_log = logging.getLogger(__name__)


class Servers(ReadServers, Committing):
    """
    Reads and writes the servers in a database: their records, owners and states.

    Each method is one transaction, except where it says otherwise, and raises StoreUnavailable when
    the database does not answer.

    Args:
        transactions: Runs the transactions.
        cache: The cached rows of servers.
        servers_per_key: How many servers may belong to a key that is no administrator's.
        budget: Counts what each key uses of its limits for events and messages, and tells what is
            left; None for no limits.
        has_gone_back: Whether the database of a connection, such as a restored backup, lacks what
            this receiver has last noted in it.
        on_events: Called with the events of each transaction after its commit, if it has any.
    """

    def __init__(  # noqa: PLR0913 - what its writes are limited by, and whom they tell
        self,
        transactions: Transactions,
        cache: RowCache,
        *,
        servers_per_key: int,
        budget: RateLimits | None,
        has_gone_back: Callable[[Connection], bool],
        on_events: OnEvents,
    ) -> None:
        super().__init__(transactions, cache)
        self._servers_per_key = servers_per_key
        self._budget = budget
        self._has_gone_back = has_gone_back
        self._on_events = on_events
        self._silenced: set[str] = set()
        self._muted: set[str] = set()
        self._refused = RefusedWrites()

    def known(self, server_id: str) -> ServerRecord | None:
        """
        The record of a server that is cached, which may be an old one; None if none is cached.

        This takes no lock, so that it may be called for each heartbeat: the worst that a write in
        another thread does to it is to hide a record that is cached.
        """
        row = self._cache.get(server_id)
        return None if row is None else row.record

    def apply(
        self, incoming: Sequence[Incoming], *, allowed: Callable[[], float] = lambda: inf
    ) -> list[Applied | Refusal]:
        """
        Authorise messages, merge them in their order, and commit them in one transaction.

        A message whose key may not write its server is refused, and changes no record.

        Args:
            incoming: The messages.
            allowed: Returns about how many seconds of processor time all messages of this call may
                take together: the budget of the whole call, and not what is left of it. It is
                called after each message, because the budget may change meanwhile. Once it is used
                up, the remaining messages are left out. The first message is never left out.

        Returns:
            The result of each message that was not left out, in their order: the first result is
            that of the first message. The list is shorter than `incoming` if some were left out.
        """
        dialect = self._transactions.dialect

        def work(
            connection: Connection,
        ) -> tuple[tuple[list[Applied | Refusal], Rights], Committed]:
            rights = Rights(connection, self._servers_per_key, self._refused, self._budget)
            outcomes, committed = apply(
                dialect, connection, incoming, self._cache, rights, allowed=allowed
            )
            return (outcomes, rights), committed

        with self._transactions.turn:
            (outcomes, rights), committed = self._commit(work)
            self._spend(rights)
            self._refused.note(committed.events)
        self._tell(committed)
        return outcomes

    def hand_over(self, ids: Collection[str], key_id: str | None) -> list[str]:
        """
        Make the key `key_id` the owner of the servers `ids`; return the ids of those that exist.

        If `key_id` is None, the servers belong to no key at first. The next key that writes one of
        them becomes its owner, unless it is an administrator's.
        """
        dialect = self._transactions.dialect
        possible = [each for each in ids if can_exist(each)]

        def work(connection: Connection) -> tuple[None, Committed]:
            return None, hand_over(dialect, connection, possible, key_id, self._cache)

        _, committed = self._commit(work)
        return list(committed.rows)

    def delete(self, server_id: str, at: datetime) -> bool:
        """Delete a server, but not its events; return False when there is no such server."""
        dialect = self._transactions.dialect

        def work(connection: Connection) -> tuple[None, Committed]:
            return None, delete_server(dialect, connection, server_id, at, self._cache)

        if not can_exist(server_id):
            return False
        _, committed = self._commit(work)
        self._tell(committed)
        return bool(committed.events)

    def delete_owned(self, server_id: str, key_id: str, at: datetime) -> bool:
        """
        Delete a server that belongs to a key, but not its events.

        Returns False, and deletes nothing, when the server does not belong to the key.
        """
        dialect = self._transactions.dialect

        def work(connection: Connection) -> tuple[None, Committed]:
            if connection.execute(OWNER, {"key": server_id}).scalar() != key_id:
                return None, Committed({}, [])
            return None, delete_server(dialect, connection, server_id, at, self._cache)

        _, committed = self._commit(work)
        self._tell(committed)
        return bool(committed.events)

    def forget(
        self,
        asked: Forgettable,
        at: datetime,
        *,
        stage: Stage | None = None,
        limit: int = BATCH,
        is_dry_run: bool = False,
    ) -> Forgotten:
        """
        Delete some servers that are down, have left or are superseded, but not their events.

        With a server that lists show, its nodes (the other servers of its database) and the servers
        that it superseded are deleted. One transaction chooses servers, and a second one deletes
        those that still match. So no server is deleted that has sent a message in between, or of
        which a node has sent one.

        Args:
            asked: Which servers to delete.
            at: The time of the deletion.
            stage: Where to go on: the `next_stage` of the last call; None to begin.
            limit: How many servers that match one call deletes at most. In addition, it deletes at
                most `limit` servers that these superseded, and any number of nodes.
            is_dry_run: Whether only to return the servers that would be deleted.

        Returns:
            The ids of all deleted servers, and where the next call must go on.
        """
        stage = stage or Stage(asked.states[0])
        with self._transactions.read() as connection:
            ids = list(connection.execute(chosen_after(asked, stage, limit)).scalars())
            chosen = Chosen(ids, stage.state, asked, None if is_dry_run else limit)
            following = _next_stage(asked, stage, ids, limit)
            if is_dry_run:
                return Forgotten(forgettable(connection, chosen), following)
        if not ids:
            return Forgotten([], following)
        dialect = self._transactions.dialect

        def work(connection: Connection) -> tuple[tuple[list[str], bool], Committed]:
            if self._has_gone_back(connection):
                return ([], False), Committed({}, [])
            return forget(dialect, connection, chosen, at, self._cache)

        (gone, is_cut), committed = self._commit(work)
        self._tell(committed)
        return Forgotten(gone, stage if gone and is_cut else following)

    def forget_silent(
        self, now: datetime, after: timedelta, *, stage: Stage | None = None
    ) -> Forgotten:
        """
        Delete some servers that have neither sent nor changed their state for `after`.

        They are down, have left or are superseded. Time in which no receiver was running does not
        count. When no server is up or new, nothing is deleted, because probably no server can reach
        the receiver. The servers of revoked and expired keys do not count as up or new, because
        they cannot send any more.

        A call deletes a limited number of servers, in several transactions. `stage` says where to
        go on: the `next_stage` of the last call, or None to begin. Returns what `forget` returns.
        """
        with self._transactions.read() as connection:
            since = attended_since(connection, now, after)
            is_any_heard = connection.execute(_HEARD, {"now": now}).first() is not None
        if not is_any_heard:
            return Forgotten([], None)
        return self.forget(Forgettable(heard_before=since, same_since=since), now, stage=stage)

    def _spend(self, rights: Rights) -> None:
        """Charge the keys' budgets for the events that a committed transaction has written."""
        if self._budget is not None:
            for key_id, size in rights.spent.items():
                self._budget.spend_changes(key_id, size)
            for key_id, count in rights.refusals.items():
                self._budget.spend_refusals(key_id, count)
            for key_id, rows in rights.rows.items():
                self._budget.spend_rows(key_id, rows)
        for key_id in rights.silenced - self._silenced:
            _log.warning("The key %s causes more events than may be told in an hour", key_id)
        for key_id in rights.muted - self._muted:
            _log.warning("The key %s is refused more writes than may be told in an hour", key_id)
        self._silenced = (self._silenced - rights.spent.keys()) | rights.silenced
        self._muted = (self._muted - rights.refusals.keys()) | rights.muted


def _next_stage(asked: Forgettable, stage: Stage, ids: Sequence[str], limit: int) -> Stage | None:
    """Where to go on after the servers `ids`, which were found with this limit; None at the end."""
    if len(ids) == limit:
        return Stage(stage.state, ids[-1])
    left = asked.states[asked.states.index(stage.state) + 1 :]
    return Stage(left[0]) if left else None


_HEARD = (
    select(servers.c.server_id).where(is_in_state(State.NEW, State.UP), ~is_of_lapsed_key).limit(1)
)

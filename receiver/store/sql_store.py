"""
The store of one receiver: servers, events, keys, sessions and alerts of one SQL database.

A method runs one transaction, except where it says otherwise, and blocks until it is over; a method
that writes returns after the commit. All methods raise StoreUnavailable when the database does not
answer. Then nothing has changed, unless the error is of the subclass OutcomeUnknown: the commit may
have succeeded or not.
"""

import logging
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from math import inf
from typing import TypeVar

from attrs import evolve
from sqlalchemy import URL, Connection, and_, bindparam, exists, func, select

from contract import Event, ServerRecord, State
from receiver.domain.agents.registry import Claim, FoundServer, Listing, Tombstone, Whose
from receiver.domain.databases.silence import Look, Presence
from receiver.domain.errors import Refusal
from receiver.domain.forgetting import Forgettable, Forgotten, Stage
from receiver.domain.grouping.problems import Troubled
from receiver.domain.history import (
    NOTHING_TAKEN,
    Census,
    Minute,
    StateLog,
    Taken,
    begin_of_minute,
)
from receiver.domain.instants import microseconds
from receiver.domain.lists.breakdown import Breakdown
from receiver.domain.lists.vitals import Vitals
from receiver.domain.lists.wall import GroupCount, OnWall
from receiver.domain.outcomes import Applied, Incoming
from receiver.domain.queries import (
    LISTED,
    Filter,
    Grouping,
    Node,
    Order,
    PageRequest,
    Reachable,
    ServerPage,
    ToolsOfServer,
    index_text,
)
from receiver.domain.rate_limits import RateLimits
from receiver.domain.rows import is_of_catalogue
from receiver.store.alerts import Alerts
from receiver.store.alerts import leave_no_future as leave_no_future_in_alerts
from receiver.store.catalogues import Candidates, Inventory, candidates, read_tools
from receiver.store.credentials.keys import Keys
from receiver.store.credentials.sessions import Sessions
from receiver.store.events import Events
from receiver.store.forgetting import BATCH, Chosen, chosen_after, forget, forgettable
from receiver.store.history import Hours, is_counted, note_minute, take_census
from receiver.store.history import leave_no_future as leave_no_future_in_history
from receiver.store.labels import Labels
from receiver.store.lists import (
    SavedViews,
    ServerList,
    apply_conditions,
    apply_filter,
    claims_like,
    claims_of,
    conditions_of,
    numbers_owned,
    on_wall,
    reachable,
    registered,
    take_breakdown,
    troubled,
    wall_counts,
)
from receiver.store.merging import apply, delete_server, hand_over
from receiver.store.ownership import SERVERS_PER_KEY, RefusedWrites, Rights
from receiver.store.rows import Committed, RowCache, records_of
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
from receiver.store.state_changes import revision_and_logs, state_logs
from receiver.store.tables import (
    among,
    count_of_lapsed_keys,
    facets,
    is_lapsed,
    is_listed,
    is_of_lapsed_key,
    keys,
    servers,
    watches,
)
from receiver.store.tombstones import are_too_old, read_tombstones, trim_tombstones
from receiver.store.transactions import Transactions

__all__ = ["ACTIVE", "LAPSED", "TALLY", "Servers", "SqlStore"]

T = TypeVar("T")
OnEvents = Callable[[Sequence[Event]], None]

_log = logging.getLogger(__name__)


def _ignore(_: Sequence[Event]) -> None:
    pass


class SqlStore:
    """
    A store in a SQL database. The constructor brings its tables up to date.

    Args:
        url: The URL of the database.
        cache_bytes: About how many bytes of memory the cache of servers may take at most.
        servers_per_key: How many servers may belong to a key that is no administrator's. Ten times
            as many superseded servers (another server took over their database) may belong to it
            in addition.
        budget: Counts what each key uses of its limits for events and messages, and tells what is
            left; None for no limits.
        on_events: Called with the events of each transaction after its commit, in the thread that
            ran the transaction. Not called for a transaction without events.

    Attributes:
        transactions: Runs reads and writes for which the other attributes have no method.
        servers: Reads and writes the servers.
        labels: Reads and writes the labels and notes that people give to databases.
        events: Reads and deletes the events: what happened to the servers, and when.
        keys: Reads and writes the API keys.
        sessions: Reads and writes the sessions of browsers that have signed in.
        inventory: Reads what all servers together offer and run.
        saved_views: Reads and writes the views of the list of servers that people have saved.
        alerts: Reads and writes channels, rules, silences, alarms and the messages about them.
        hours: Reads the history of the fleet: hour by hour, how many servers were in which state.
    """

    def __init__(
        self,
        url: URL,
        *,
        cache_bytes: int = 512 * 1024 * 1024,
        servers_per_key: int = SERVERS_PER_KEY,
        budget: RateLimits | None = None,
        on_events: OnEvents = _ignore,
    ) -> None:
        cache = RowCache(cache_bytes)
        self.transactions = Transactions(
            url, on_rollback=cache.invalidate, on_other_database=cache.clear
        )
        self.servers = Servers(
            self.transactions,
            cache,
            servers_per_key=servers_per_key,
            budget=budget,
            on_events=on_events,
        )
        self.labels = Labels(self.transactions, cache, on_events=on_events)
        self.events = Events(self.transactions)
        self.keys = Keys(self.transactions)
        self.sessions = Sessions(self.transactions)
        self.inventory = Inventory(self.transactions)
        self.saved_views = SavedViews(self.transactions)
        self.alerts = Alerts(self.transactions, cache, on_events=on_events)
        self.hours = Hours(self.transactions)

    @property
    def generation(self) -> int:
        """How many times another database, such as a backup, may have replaced the open one."""
        return self.transactions.generation

    def close(self) -> None:
        """Close all connections to the database; blocks until a transaction that writes is over."""
        self.transactions.close()


class Servers:
    """
    The servers in a database: their records, owners and states.

    Lists of servers leave some out unless their filter names these states: superseded servers
    (another server took over their database), nodes (another server of the same database stands
    for them), and servers that have left (their addon was uninstalled).

    Each method is one transaction, except where it says otherwise, and raises StoreUnavailable when
    the database does not answer.

    Args:
        transactions: Runs the transactions.
        cache: The cached rows of servers.
        servers_per_key: How many servers may belong to a key that is no administrator's.
        budget: Counts what each key uses of its limits for events and messages, and tells what is
            left; None for no limits.
        on_events: Called with the events of each transaction after its commit, if it has any.
    """

    def __init__(
        self,
        transactions: Transactions,
        cache: RowCache,
        *,
        servers_per_key: int,
        budget: RateLimits | None,
        on_events: OnEvents,
    ) -> None:
        self._transactions = transactions
        self._cache = cache
        self._servers_per_key = servers_per_key
        self._budget = budget
        self._on_events = on_events
        self._silenced: set[str] = set()
        self._muted: set[str] = set()
        self._refused = RefusedWrites()
        self._noted_at: datetime | None = None
        self._taken = NOTHING_TAKEN
        self._taken_at: datetime | None = None

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

    def get(self, server_id: str) -> ServerRecord | None:
        """The record of a server; None when there is no such server."""
        if not _can_exist(server_id):
            return None
        with self._transactions.read() as connection:
            found = connection.execute(_ONE, {"key": server_id}).all()
            records = records_of(connection, found, self._cache)
        return records[0] if records else None

    def past(
        self, server_id: str, since: datetime
    ) -> tuple[ServerRecord, Sequence[StateLog]] | None:
        """
        The record of a server, and the logs of its states since an instant, both of one moment.

        The logs are those of the server and of the servers that it superseded, directly or not.
        None when there is no such server.
        """
        if not _can_exist(server_id):
            return None
        with self._transactions.read() as connection:
            found = revision_and_logs(connection, server_id, since)
            if found is None:
                return None
            revision, logs = found
            records = records_of(connection, [(server_id, revision)], self._cache)
        return (records[0], logs) if records else None

    def tools(self, server_id: str) -> ToolsOfServer | None:
        """The description of the tools of a server; None when there is no such server."""
        if not _can_exist(server_id):
            return None
        with self._transactions.read() as connection:
            row = connection.execute(_CATALOGUE, {"key": server_id}).first()
            if row is None:
                return None
            tools = None if row.catalogue is None else read_tools(connection, row.catalogue)
        return ToolsOfServer(
            tools=tools, is_current=is_of_catalogue(row.tools_digest, row.catalogue)
        )

    def tools_with(
        self, matching: Filter, words: Collection[str], *, after: int, is_any_enough: bool
    ) -> Candidates:
        """
        Search the descriptions of tools for words.

        Returns a limited number of catalogues (descriptions of all tools of a server) that have the
        words, and which of the servers that match a filter have these catalogues now.

        Args:
            matching: The filter. Catalogues that no matching server has are left out.
            words: The stems of the words.
            after: Only catalogues with a number greater than this one; 0 for all.
            is_any_enough: Whether one of the words is enough; otherwise a catalogue needs all.
        """
        with self._transactions.read() as connection:
            return candidates(
                connection,
                lambda query: apply_filter(query, matching),
                words,
                after=after,
                is_any_enough=is_any_enough,
            )

    def page(self, matching: Filter, order: Order, asked: PageRequest) -> ServerPage:
        """Read the page `asked` of the list of all servers that match a filter, in an order."""
        with self._transactions.read() as connection:
            found = ServerList(
                connection=connection, cache=self._cache, matching=matching, order=order
            )
            return found.page(asked)

    def overview(
        self, matching: Filter, order: Order, asked: PageRequest
    ) -> tuple[ServerPage, int, Breakdown]:
        """
        Read a page of a list of servers, how many come before it, and the numbers beside filters.

        All three are of the same moment.

        Returns:
            The page; how many servers of the list come before the page, which is 0 if the page has
            no servers; and the breakdown, as `breakdown` returns it for the same filter.
        """
        with self._transactions.read() as connection:
            found = ServerList(
                connection=connection, cache=self._cache, matching=matching, order=order
            )
            page = found.page(asked)
            breakdown = take_breakdown(connection, matching, found.conditions)
            before = 0 if page.previous is None else found.number_before(page.previous)
        return page, before, breakdown

    def breakdown(self, matching: Filter) -> Breakdown:
        """
        Count servers in groups that are alike, for the numbers beside the filters of a list.

        `Breakdown.count` computes from these how many servers match the filter, and how many would
        match if one of its values was another one.
        """
        with self._transactions.read() as connection:
            conditions = conditions_of(matching, connection=connection)
            return take_breakdown(connection, matching, conditions)

    def reachable(self, matching: Filter, *, after: str | None, limit: int) -> Reachable:
        """
        The addresses of the servers that match a filter, and what tells whether they are alive.

        Sorted by `server_id`.

        Args:
            matching: The filter.
            after: Only servers whose `server_id` is after this one; None for all.
            limit: How many servers are returned at most.
        """
        with self._transactions.read() as connection:
            return reachable(connection, self._cache, matching, after=after, limit=limit)

    def on_wall(
        self, matching: Filter, by: Grouping, now: datetime, *, limit: int
    ) -> Sequence[OnWall]:
        """
        What the wallboard (a page for a large screen) shows of servers: an item for each.

        Args:
            matching: The filter that the servers match.
            by: The field whose value becomes the attribute `group` of each item.
            now: The time. Servers whose key was revoked, or has expired by then, are left out.
            limit: How many servers are returned at most: the first ones, sorted by `server_id`.
        """
        with self._transactions.read() as connection:
            return on_wall(connection, matching, by, now, limit=limit)

    def wall_counts(self, matching: Filter, by: Grouping, now: datetime) -> Sequence[GroupCount]:
        """
        How many servers are in which group and state, for a wallboard with too many for one screen.

        Args:
            matching: The filter that the servers match; all of them are counted.
            by: The field of which each value is a group.
            now: The time. Servers whose key was revoked, or has expired by then, are left out.

        Returns:
            An item for each pair of group and state that any server has, in no particular order.
        """
        with self._transactions.read() as connection:
            return wall_counts(connection, matching, by, now)

    def registered(self, asked: Listing) -> Sequence[FoundServer]:
        """Read the part `asked` of the servers that may have an entry in the MCP registry."""
        with self._transactions.read() as connection:
            return registered(connection, asked, self._cache)

    def claims_like(self, records: Sequence[ServerRecord]) -> Sequence[Claim]:
        """
        Read which servers could have the same names in the MCP registry as the servers `records`.

        Only one server can have a name. `receiver.domain.agents.registry.holders` decides which, by
        the claims of all that could have it.

        Returns the claims of all servers whose database has the same name and UUID as that of one
        of `records`; usually these servers are among them. Superseded servers, nodes and servers
        that report no address are left out, and so are those beyond 2,000 with the same UUID.
        """
        with self._transactions.read() as connection:
            return claims_like(connection, records)

    def claims_of(self, whose: Whose, name: str) -> Sequence[Claim]:
        """
        Read the claims of all servers that could have a name in the MCP registry.

        Only one of them can have it. `receiver.domain.agents.registry.holders` decides which, by
        these claims.

        Args:
            whose: What `receiver.domain.agents.registry.whose` has read from the name.
            name: The name, with or without the namespace.
        """
        with self._transactions.read() as connection:
            return claims_of(connection, whose, name)

    def found(self, server_id: str) -> FoundServer | None:
        """The server with this id; None unless it may have an entry in the MCP registry."""
        with self._transactions.read() as connection:
            found = registered(connection, server_id, self._cache)
        return found[0] if found else None

    def tombstones(self, asked: Listing) -> Sequence[tuple[Tombstone, bool]]:
        """
        Read what is kept of entries of the MCP registry whose servers were deleted (tombstones).

        Returns the part `asked`, sorted by the local names (without the namespace). With each comes
        a truth value: true if no server has the name now, or can have it. Only then the entry is
        gone.
        """
        with self._transactions.read() as connection:
            return read_tombstones(connection, asked)

    def trim_tombstones(self, until: datetime) -> None:
        """
        Delete up to 1,000 tombstones: those from before `until`, and the oldest beyond 100,000.

        One transaction looks whether there are any, and only then a second one deletes them.
        """
        with self._transactions.read() as connection:
            if not are_too_old(connection, until):
                return
        self._transactions.write(lambda connection: trim_tombstones(connection, until))

    def nodes(self, ids: Collection[str]) -> Mapping[str, Sequence[Node]]:
        """
        The nodes of the servers `ids`: the other servers of their databases, sorted by id.

        Returns them by the `server_id` of the server that lists show. Servers without nodes are
        left out.
        """
        found: dict[str, list[Node]] = {}
        with self._transactions.read() as connection:
            for leader, *node in connection.execute(_NODES, {"ids": [*ids]}):
                found.setdefault(leader, []).append(Node(*node))
        return found

    def count(self, matching: Filter) -> int:
        """How many servers match a filter."""
        everything = select(func.count()).select_from(servers)
        with self._transactions.read() as connection:
            conditions = conditions_of(matching, connection=connection)
            query = apply_conditions(everything, conditions, wide=conditions.are_none)
            return int(connection.execute(query).scalar_one())

    def troubled(self, known: Mapping[str, Troubled], *, limit: int) -> list[Troubled]:
        """
        Servers with which something may be wrong: at most `limit`, those whose state changed last.

        They are late or down, flap (stop sending and come back again and again), have a twin (a
        server that sends for a copy of the same database), or a conflict (two machines that send
        under one `server_id`). The latest change of state comes first.

        Args:
            known: What an earlier call has returned, by `server_id`. The records that have not
                changed since are taken from it, and not read again.
            limit: How many servers are returned at most.
        """
        with self._transactions.read() as connection:
            return troubled(connection, self._cache, known, limit=limit)

    def numbers_owned(self, key_ids: Collection[str]) -> Mapping[str, int]:
        """By key id, how many servers in lists belong to the key; keys without any are left out."""
        with self._transactions.read() as connection:
            return numbers_owned(connection, key_ids)

    def vitals(self, now: datetime) -> Vitals:
        """Count servers, without those whose keys were revoked or have expired by `now`."""
        with self._transactions.read() as connection:
            standing, _ = _standing(connection, now)
            flapping = connection.execute(_FLAPPING, {"now": now}).scalar_one()
        return Vitals(standing, flapping)

    def count_active(self, now: datetime) -> int:
        """How many servers lists show, without those whose keys are revoked or expired at `now`."""
        with self._transactions.read() as connection:
            return int(connection.execute(ACTIVE, {"now": now}).scalar_one())

    def delete(self, server_id: str, at: datetime) -> bool:
        """Delete a server, but not its events; return False when there is no such server."""
        dialect = self._transactions.dialect

        def work(connection: Connection) -> tuple[None, Committed]:
            return None, delete_server(dialect, connection, server_id, at, self._cache)

        if not _can_exist(server_id):
            return False
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

    def attended_since(self, now: datetime, length: timedelta) -> datetime:
        """
        The time since which receivers have been running for `length`, not counting interruptions.

        So it is `length` before `now` if there was no interruption in between, and otherwise
        earlier. If receivers have never been running for that long in all, it is in 1970 or before.
        """
        with self._transactions.read() as connection:
            return attended_since(connection, now, length)

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
        since = self.attended_since(now, after)
        with self._transactions.read() as connection:
            is_any_heard = connection.execute(_HEARD, {"now": now}).first() is not None
        if not is_any_heard:
            return Forgotten([], None)
        return self.forget(Forgettable(heard_before=since, same_since=since), now, stage=stage)

    def delete_owned(self, server_id: str, key_id: str, at: datetime) -> bool:
        """
        Delete a server that belongs to a key, but not its events.

        Returns False, and deletes nothing, when the server does not belong to the key.
        """
        dialect = self._transactions.dialect

        def work(connection: Connection) -> tuple[None, Committed]:
            if connection.execute(_OWNER, {"key": server_id}).scalar() != key_id:
                return None, Committed({}, [])
            return None, delete_server(dialect, connection, server_id, at, self._cache)

        _, committed = self._commit(work)
        self._tell(committed)
        return bool(committed.events)

    def owner(self, server_id: str) -> str | None:
        """The id of the key that a server belongs to; None if it has no owner or does not exist."""
        if not _can_exist(server_id):
            return None
        with self._transactions.read() as connection:
            return connection.execute(_OWNER, {"key": server_id}).scalar()

    def owners(self, ids: Collection[str]) -> Mapping[str, str]:
        """
        The ids of the keys that the servers `ids` belong to, by `server_id`.

        Servers that belong to no key, or do not exist, are left out.
        """
        with self._transactions.read() as connection:
            found = connection.execute(_OWNERS, {"ids": [*ids]}).all()
        return {row.server_id: row.owner for row in found}

    def databases(self, ids: Collection[str]) -> Mapping[str, str]:
        """
        The names of the databases of the servers `ids`, by `server_id`.

        Servers that have not told it, or do not exist, are left out.
        """
        with self._transactions.read() as connection:
            found = connection.execute(_DATABASES, {"ids": [*ids]}).all()
        return {row.server_id: row.database for row in found}

    def hand_over(self, ids: Collection[str], key_id: str | None) -> list[str]:
        """
        Make the key `key_id` the owner of the servers `ids`; return the ids of those that exist.

        If `key_id` is None, the servers belong to no key at first. The next key that writes one of
        them becomes its owner, unless it is an administrator's.
        """
        dialect = self._transactions.dialect
        possible = [each for each in ids if _can_exist(each)]

        def work(connection: Connection) -> tuple[None, Committed]:
            return None, hand_over(dialect, connection, possible, key_id, self._cache)

        _, committed = self._commit(work)
        return list(committed.rows)

    def owned(self, key_id: str) -> list[str]:
        """The ids of the servers that belong to a key, sorted."""
        with self._transactions.read() as connection:
            return list(connection.execute(_OWNED, {"key": key_id}).scalars())

    def state_logs(self, ids: Collection[str], since: datetime) -> Mapping[str, Sequence[StateLog]]:
        """
        The logs of the states of servers since an instant, to compute how available they were.

        Returns, by the `server_id` of each of `ids`, the log of that server and those of the
        servers that it superseded, directly or not. Servers that do not exist are left out.
        """
        with self._transactions.read() as connection:
            return state_logs(connection, ids, since)

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
        with self._transactions.read() as connection:
            return connection.execute(_SEEN_AT).scalar()

    def database_time(self) -> datetime | None:
        """The time of the database server's clock; None for SQLite, which has no server."""
        with self._transactions.read() as connection:
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

    def sweep(self, look: Look) -> bool:
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
        minute = self._minute(look)
        asked = evolve(look, noted_at=self._noted_at, minute=minute)

        def work(connection: Connection) -> tuple[Swept, Committed]:
            swept = sweep(
                dialect, connection, self._cache, asked, is_over_budget=self._is_over_budget
            )
            return swept, swept.committed

        is_any_due = look.is_any_due
        if is_any_due is None and minute is None:
            with self._transactions.read() as connection:
                found = connection.execute(IS_DUE, {"now": microseconds(look.now)}).first()
            is_any_due = found is not None
        if not is_any_due and minute is None:
            return False
        swept, committed = self._commit(work)
        if minute is not None:
            self._taken, self._taken_at = look.taken, look.now
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

    def _minute(self, look: Look) -> Minute | None:
        """What the first `sweep` in a minute adds to the history; None for any other `sweep`."""
        now, noted_at = look.now, self._taken_at
        if noted_at is not None and begin_of_minute(noted_at) == begin_of_minute(now):
            return None
        taken = look.taken.since(self._taken)
        return Minute(at=now, census=self._census(now), taken=taken, taken_at=noted_at or now)

    def _census(self, now: datetime) -> Census | None:
        """Count the servers; None if another receiver has counted them in this minute."""
        with self._transactions.read() as connection:
            is_done, is_begun = is_counted(connection, now)
            if is_done:
                return None
            standing, has_lapsed_keys = _standing(connection, now)
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

    def _has_gone_back(self, connection: Connection) -> bool:
        """Whether the database, such as a restored backup, lacks the last note of this receiver."""
        return lacks_note(connection.execute(_SEEN_AT).scalar(), self._noted_at)

    def _commit(self, work: Callable[[Connection], tuple[T, Committed]]) -> tuple[T, Committed]:
        """Run a write, and cache the rows that it wrote before another thread can write."""
        with self._transactions.turn:
            result, committed = self._transactions.write(work)
            self._cache.keep(committed)
        return result, committed

    def _tell(self, committed: Committed) -> None:
        if committed.events:
            self._on_events(committed.events)

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


def _can_exist(server_id: str) -> bool:
    """Whether a server can have this id. PostgreSQL refuses a NUL in a parameter."""
    return "\x00" not in server_id


def _next_stage(asked: Forgettable, stage: Stage, ids: Sequence[str], limit: int) -> Stage | None:
    """Where to go on after the servers `ids`, which were found with this limit; None at the end."""
    if len(ids) == limit:
        return Stage(stage.state, ids[-1])
    left = asked.states[asked.states.index(stage.state) + 1 :]
    return Stage(left[0]) if left else None


def _standing(connection: Connection, now: datetime) -> tuple[Mapping[tuple[str, str], int], bool]:
    """
    The `Vitals.standing` at `now`, and whether any servers were left out of it for their keys.

    These are the servers of keys that are revoked or expired at `now`.
    """
    found = connection.execute(TALLY).all()
    lapsed = _lapsed_tally(connection, now)
    counts = Counter({_state_and_stage(standing): count for standing, count in found})
    return counts - Counter(lapsed), bool(lapsed)


def _lapsed_tally(connection: Connection, now: datetime) -> Mapping[tuple[str, str], int]:
    counts: Counter[tuple[str, str]] = Counter()
    for key_id in connection.execute(_LAPSED_OWNERS, {"now": now}).scalars().all():
        for state, stage, count in connection.execute(LAPSED, {"key": key_id}):
            counts[state.value, index_text(stage)] += count
    return counts


def _state_and_stage(standing: str) -> tuple[str, str]:
    state, _, stage = standing.partition("/")
    return state, stage


_HEARD = (
    select(facets.c.server_id)
    .join(servers, servers.c.server_id == facets.c.server_id)
    .where(
        facets.c.name == "state",
        facets.c.value.in_([State.NEW.value, State.UP.value]),
        ~is_of_lapsed_key,
    )
    .limit(1)
)
_SEEN_AT = select(watches.c.seen_at)
_ONE = select(servers.c.server_id, servers.c.revision).where(
    servers.c.server_id == bindparam("key")
)
_CATALOGUE = select(servers.c.tools_digest, servers.c.catalogue).where(
    servers.c.server_id == bindparam("key")
)
_OWNER = select(servers.c.owner).where(servers.c.server_id == bindparam("key"))
_OWNERS = select(servers.c.server_id, servers.c.owner).where(
    among(servers.c.server_id, "ids"), servers.c.owner.is_not(None)
)
_DATABASES = select(servers.c.server_id, servers.c.database).where(
    among(servers.c.server_id, "ids"), servers.c.database.is_not(None)
)
_NODES = (
    select(servers.c.node_of, servers.c.server_id, servers.c.hostname, servers.c.last_seen)
    .where(among(servers.c.node_of, "ids"), servers.c.node_of.is_not(None))
    .order_by(servers.c.server_id)
)
_OWNED = (
    select(servers.c.server_id)
    .where(servers.c.owner == bindparam("key"))
    .order_by(servers.c.server_id)
)
TALLY = (
    select(facets.c.value, func.count()).where(facets.c.name == "standing").group_by(facets.c.value)
)
"""
The query that counts servers by state, a slash and stage, from the table `facets` alone.

The table has these texts under the name `standing`; superseded servers and nodes have none there.
"""
_has_standing = and_(servers.c.superseded_by.is_(None), servers.c.node_of.is_(None))
_stage = func.coalesce(servers.c.odoo_stage, "")
_LAPSED_OWNERS = select(keys.c.id).where(is_lapsed, exists().where(servers.c.owner == keys.c.id))
LAPSED = (
    select(servers.c.state, _stage, func.count())
    .where(servers.c.owner == bindparam("key"), _has_standing)
    .group_by(servers.c.state, _stage)
)
"""
The query that counts the servers of the key with the id `key` by state and stage.

Superseded servers and nodes are not counted. It reads the table `servers`.
"""
_FLAPPING = (
    select(func.count())
    .select_from(servers)
    .where(servers.c.flapping_since.is_not(None), _has_standing, ~is_of_lapsed_key)
)
ACTIVE = select(
    select(func.count()).select_from(servers).where(servers.c.rank <= max(LISTED)).scalar_subquery()
    - count_of_lapsed_keys(is_listed)
)
"""The query that counts the servers in lists, without those of keys that have lapsed by `:now`."""

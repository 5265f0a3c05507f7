"""Reads servers: single ones, lists of them, and how many there are."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import TypeVar

from sqlalchemy import Connection, bindparam, func, select

from contract import ServerRecord
from receiver.domain.grouping.problems import Troubled
from receiver.domain.history import StateLog
from receiver.domain.lists.breakdown import Breakdown
from receiver.domain.lists.vitals import Vitals
from receiver.domain.lists.wall import GroupCount, OnWall
from receiver.domain.queries import (
    Filter,
    Grouping,
    Node,
    Order,
    PageRequest,
    Reachable,
    ServerPage,
    ToolsOfServer,
)
from receiver.domain.rows import is_of_catalogue
from receiver.store.catalogues import Candidates, candidates, read_tools
from receiver.store.lists import (
    Breakdowns,
    ServerList,
    apply_conditions,
    apply_filter,
    conditions_of,
    numbers_owned,
    on_wall,
    reachable,
    troubled,
    wall_counts,
)
from receiver.store.rows import RowCache, records_of
from receiver.store.servers.counting import ACTIVE, FLAPPING, count_standing
from receiver.store.state_changes import revision_and_logs, state_logs
from receiver.store.tables import among, liveness, servers, whole_servers
from receiver.store.transactions import Transactions

__all__ = ["OWNER", "ReadServers", "can_exist"]

T = TypeVar("T")


class ReadServers:
    """
    Reads the servers in a database: their records, owners and states.

    Lists of servers leave some out unless their filter names these states: superseded servers
    (another server took over their database), nodes (another server of the same database stands
    for them), and servers that have left (their addon was uninstalled).

    Each method is one transaction, and raises StoreUnavailable when the database does not answer.

    Args:
        transactions: Runs the transactions.
        cache: The cached rows of servers.
    """

    def __init__(self, transactions: Transactions, cache: RowCache) -> None:
        self._transactions = transactions
        self._cache = cache
        self._breakdowns = Breakdowns()

    # One server

    def get(self, server_id: str) -> ServerRecord | None:
        """The record of a server; None when there is no such server."""
        if not can_exist(server_id):
            return None

        def read(connection: Connection) -> ServerRecord | None:
            found = connection.execute(_ONE, {"key": server_id}).all()
            records = records_of(connection, found, self._cache)
            return records[0] if records else None

        return self._read_unchanged(read)

    def past(
        self, server_id: str, since: datetime
    ) -> tuple[ServerRecord, Sequence[StateLog]] | None:
        """
        The record of a server, and the logs of its states since an instant, both of one moment.

        The logs are those of the server and of the servers that it superseded, directly or not.
        None when there is no such server.
        """
        if not can_exist(server_id):
            return None

        def read(connection: Connection) -> tuple[ServerRecord, Sequence[StateLog]] | None:
            found = revision_and_logs(connection, server_id, since)
            if found is None:
                return None
            revision, logs = found
            records = records_of(connection, [(server_id, revision)], self._cache)
            return (records[0], logs) if records else None

        return self._read_unchanged(read)

    def tools(self, server_id: str) -> ToolsOfServer | None:
        """The description of the tools of a server; None when there is no such server."""
        if not can_exist(server_id):
            return None
        with self._transactions.read() as connection:
            row = connection.execute(_CATALOGUE, {"key": server_id}).first()
            if row is None:
                return None
            tools = None if row.catalogue is None else read_tools(connection, row.catalogue)
        return ToolsOfServer(
            tools=tools, is_current=is_of_catalogue(row.tools_digest, row.catalogue)
        )

    def owner(self, server_id: str) -> str | None:
        """The id of the key that a server belongs to; None if it has no owner or does not exist."""
        if not can_exist(server_id):
            return None
        with self._transactions.read_once() as connection:
            return connection.execute(OWNER, {"key": server_id}).scalar()

    # Lists

    def page(self, matching: Filter, order: Order, asked: PageRequest) -> ServerPage:
        """Read the page `asked` of the list of all servers that match a filter, in an order."""

        def listed(connection: Connection) -> ServerList:
            return ServerList(
                connection=connection, cache=self._cache, matching=matching, order=order
            )

        is_back = asked.after is not None and asked.after.is_end
        if matching.is_of_states_alone and not (order.is_moving or is_back):
            page = self._read_unchanged(lambda connection: listed(connection).page_at_once(asked))
            assert page is not None  # at the latest in a transaction, which sees one moment
            return page
        with self._transactions.read() as connection:
            return listed(connection).page(asked)

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
            breakdown = self._breakdowns.take(connection, matching, found.conditions)
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
            return self._breakdowns.take(connection, matching, conditions)

    def count(self, matching: Filter) -> int:
        """How many servers match a filter."""
        everything = select(func.count()).select_from(servers)
        with self._transactions.read() as connection:
            conditions = conditions_of(matching, connection=connection)
            query = apply_conditions(everything, conditions, wide=conditions.are_none)
            return int(connection.execute(query).scalar_one())

    def nodes(self, ids: Collection[str]) -> Mapping[str, Sequence[Node]]:
        """
        The nodes of the servers `ids`: the other servers of their databases, sorted by id.

        Returns them by the `server_id` of the server that lists show. Servers without nodes are
        left out.
        """
        found: dict[str, list[Node]] = {}
        with self._transactions.read_once() as connection:
            for leader, *node in connection.execute(_NODES, {"ids": [*ids]}):
                found.setdefault(leader, []).append(Node(*node))
        return found

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
        found = self._read_unchanged(
            lambda connection: troubled(connection, self._cache, known, limit=limit)
        )
        assert found is not None  # at the latest in a transaction, which sees one moment
        return found

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

    # Of some servers, or of all

    def owners(self, ids: Collection[str]) -> Mapping[str, str]:
        """
        The ids of the keys that the servers `ids` belong to, by `server_id`.

        Servers that belong to no key, or do not exist, are left out.
        """
        with self._transactions.read_once() as connection:
            found = connection.execute(_OWNERS, {"ids": [*ids]}).all()
        return {row.server_id: row.owner for row in found}

    def databases(self, ids: Collection[str]) -> Mapping[str, str]:
        """
        The names of the databases of the servers `ids`, by `server_id`.

        Servers that have not told it, or do not exist, are left out.
        """
        with self._transactions.read_once() as connection:
            possible = [each for each in ids if can_exist(each)]
            found = connection.execute(_DATABASES, {"ids": possible}).all()
        return {row.server_id: row.database for row in found}

    def owned(self, key_id: str) -> list[str]:
        """The ids of the servers that belong to a key, sorted."""
        with self._transactions.read_once() as connection:
            return list(connection.execute(_OWNED, {"key": key_id}).scalars())

    def numbers_owned(self, key_ids: Collection[str]) -> Mapping[str, int]:
        """By key id, how many servers in lists belong to the key; keys without any are left out."""
        with self._transactions.read_once() as connection:
            return numbers_owned(connection, key_ids)

    def state_logs(self, ids: Collection[str], since: datetime) -> Mapping[str, Sequence[StateLog]]:
        """
        The logs of the states of servers since an instant, to compute how available they were.

        Returns, by the `server_id` of each of `ids`, the log of that server and those of the
        servers that it superseded, directly or not. Servers that do not exist are left out.
        """
        with self._transactions.read_once() as connection:
            return state_logs(connection, ids, since)

    def vitals(self, now: datetime) -> Vitals:
        """Count servers, without those whose keys were revoked or have expired by `now`."""
        with self._transactions.read() as connection:
            standing, _ = count_standing(connection, now)
            flapping = connection.execute(FLAPPING, {"now": now}).scalar_one()
        return Vitals(standing, flapping)

    def count_active(self, now: datetime) -> int:
        """How many servers lists show, without those whose keys are revoked or expired at `now`."""
        with self._transactions.read_once() as connection:
            return int(connection.execute(ACTIVE, {"now": now}).scalar_one())

    def _read_unchanged(self, read: Callable[[Connection], T | None]) -> T | None:
        """
        Call `read`, which reads servers with up to two queries, and return what it returns.

        On PostgreSQL it is called with no transaction around the queries. If it returns None,
        because there is no such server or because a message was written between the queries, it is
        called again, in a transaction.
        """
        dialect = self._transactions.dialect
        with self._transactions.read_once() as connection:
            found = read(connection)
        if found is None and dialect.reading_once != dialect.reading:
            with self._transactions.read() as connection:
                found = read(connection)
        return found


def can_exist(server_id: str) -> bool:
    """Whether a server can have this id. PostgreSQL refuses a NUL in a parameter."""
    return "\x00" not in server_id


_ONE = select(liveness.c.server_id, liveness.c.revision).where(
    liveness.c.server_id == bindparam("key")
)
_CATALOGUE = select(servers.c.tools_digest, servers.c.catalogue).where(
    servers.c.server_id == bindparam("key")
)
OWNER = select(servers.c.owner).where(servers.c.server_id == bindparam("key"))
_OWNERS = select(servers.c.server_id, servers.c.owner).where(
    among(servers.c.server_id, "ids"), servers.c.owner.is_not(None)
)
_DATABASES = select(servers.c.server_id, servers.c.database).where(
    among(servers.c.server_id, "ids"), servers.c.database.is_not(None)
)
_NODES = (
    select(servers.c.node_of, servers.c.server_id, servers.c.hostname, liveness.c.last_seen)
    .select_from(whole_servers)
    .where(among(servers.c.node_of, "ids"), servers.c.node_of.is_not(None))
    .order_by(servers.c.server_id)
)
_OWNED = (
    select(servers.c.server_id)
    .where(servers.c.owner == bindparam("key"))
    .order_by(servers.c.server_id)
)

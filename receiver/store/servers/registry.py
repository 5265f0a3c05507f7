"""Reads what the entries of the MCP registry are made from."""

from collections.abc import Sequence
from datetime import datetime

from contract import ServerRecord
from receiver.domain.agents.registry import Claim, FoundServer, Listing, Tombstone, Whose
from receiver.store.lists import claims_like, claims_of, registered
from receiver.store.rows import RowCache
from receiver.store.tombstones import are_too_old, read_tombstones, trim_tombstones
from receiver.store.transactions import Transactions

__all__ = ["RegistrySource"]


class RegistrySource:
    """
    Reads what the entries of the MCP registry are made from, which is no table of its own.

    These are the servers that may have an entry, the claims (which servers could have which name),
    and tombstones: what is kept of entries whose servers were deleted.

    Each method is one transaction, except where it says otherwise, and raises StoreUnavailable when
    the database does not answer.

    Args:
        transactions: Runs the transactions.
        cache: The cached rows of servers.
    """

    def __init__(self, transactions: Transactions, cache: RowCache) -> None:
        self._transactions = transactions
        self._cache = cache

    def registered(self, asked: Listing) -> Sequence[FoundServer]:
        """Read the part `asked` of the servers that may have an entry in the MCP registry."""
        with self._transactions.read() as connection:
            return registered(connection, asked, self._cache)

    def found(self, server_id: str) -> FoundServer | None:
        """The server with this id; None unless it may have an entry in the MCP registry."""
        with self._transactions.read() as connection:
            found = registered(connection, server_id, self._cache)
        return found[0] if found else None

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

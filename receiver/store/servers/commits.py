"""What the classes that write servers have in common: commits that keep the cache true."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from sqlalchemy import Connection

from contract import Event
from receiver.store.rows import Committed, RowCache
from receiver.store.transactions import Transactions

__all__ = ["Committing", "OnEvents"]

T = TypeVar("T")
OnEvents = Callable[[Sequence[Event]], None]


class Committing:
    """
    The base of the classes that write servers.

    Their constructors set its attributes: what runs transactions, the cached rows of servers, and
    the function that is called with the events of each transaction after its commit.
    """

    _transactions: Transactions
    _cache: RowCache
    _on_events: OnEvents

    def _commit(self, work: Callable[[Connection], tuple[T, Committed]]) -> tuple[T, Committed]:
        """Run a write, and cache the rows that it wrote before another thread can write."""
        with self._transactions.turn:
            result, committed = self._transactions.write(work)
            self._cache.keep(committed)
        return result, committed

    def _tell(self, committed: Committed) -> None:
        if committed.events:
            self._on_events(committed.events)

"""
The store of one receiver: servers, events, keys, sessions and alerts of one SQL database.

A method runs one transaction, except where it says otherwise, and blocks until it is over; a method
that writes returns after the commit. All methods raise StoreUnavailable when the database does not
answer. Then nothing has changed, unless the error is of the subclass OutcomeUnknown: the commit may
have succeeded or not.
"""

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import partial

from sqlalchemy import URL

from contract import Event
from receiver.domain.rate_limits import RateLimits
from receiver.store.alerts import Alerts
from receiver.store.catalogues import Inventory
from receiver.store.credentials.keys import Keys
from receiver.store.credentials.sessions import Sessions
from receiver.store.events import Events
from receiver.store.history import Hours
from receiver.store.indexes import are_tallies_right, count_tallies_anew
from receiver.store.labels import Labels
from receiver.store.lists import SavedViews
from receiver.store.ownership import SERVERS_PER_KEY
from receiver.store.rows import RowCache
from receiver.store.servers import OnEvents, RegistrySource, Servers, Watch
from receiver.store.transactions import Transactions

__all__ = ["SqlStore"]

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
        watch: Notes when receivers run, and gives servers their states as time passes.
        registry: Reads what the entries of the MCP registry are made from.
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
        self.watch = Watch(self.transactions, cache, budget=budget, on_events=on_events)
        self.servers = Servers(
            self.transactions,
            cache,
            servers_per_key=servers_per_key,
            budget=budget,
            has_gone_back=self.watch.has_gone_back,
            on_events=on_events,
        )
        self.registry = RegistrySource(self.transactions, cache)
        self.labels = Labels(self.transactions, cache, on_events=on_events)
        self.events = Events(self.transactions)
        self.keys = Keys(self.transactions)
        self.sessions = Sessions(self.transactions)
        self.inventory = Inventory(self.transactions)
        self.saved_views = SavedViews(self.transactions)
        self.alerts = Alerts(self.transactions, cache, on_events=on_events)
        self.hours = Hours(self.transactions)

    def at_one_moment(self) -> AbstractContextManager[None]:
        """A context in which all reads of this thread see the database as it was at one moment."""
        return self.transactions.at_one_moment()

    def mend_tallies(self) -> None:
        """
        Count the servers anew if the numbers of them that the database keeps are wrong.

        No message makes them wrong, but somebody who changes tables by SQL may. Blocks, and raises
        StoreUnavailable.
        """
        with self.transactions.read_once() as connection:
            if are_tallies_right(connection):
                return
        _log.warning("The kept numbers of servers were wrong; the servers are counted anew")
        self.transactions.write(partial(count_tallies_anew, self.transactions.dialect))

    @property
    def generation(self) -> int:
        """How many times another database, such as a backup, may have replaced the open one."""
        return self.transactions.generation

    def close(self) -> None:
        """Close all connections to the database; blocks until a transaction that writes is over."""
        self.transactions.close()

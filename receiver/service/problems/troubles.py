"""Reads the servers with which something is wrong, once for all pages that ask together."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from datetime import datetime
from threading import Lock
from time import monotonic
from typing import Any, TypeVar

from attrs import field, frozen

from contract import EventKind
from receiver.domain.alerts.reach import Telling
from receiver.domain.errors import StoreUnavailable
from receiver.domain.grouping.problems import Troubled
from receiver.store import SqlStore

__all__ = ["MOST_TROUBLED", "Found", "Troubles"]

T = TypeVar("T")

MOST_TROUBLED = 5000
"""How many servers with which something may be wrong are read at most."""

_CHANGES_OF_LIFE = (
    EventKind.LATE,
    EventKind.DOWN,
    EventKind.RECOVERED,
    EventKind.FLAPPING,
    EventKind.CALM,
    EventKind.REBUILT,
    EventKind.NODE,
    EventKind.LEFT,
    EventKind.DELETED,
)
"""The kinds of events with which a server falls silent, or stops being silent in any way."""

_SECONDS_EACH = 0.0005
"""For how long what was read is used again: this, times the number of servers that were read."""


@frozen(kw_only=True)
class Found:
    """
    What was found to be wrong with the fleet.

    Attributes:
        servers: The servers with which something may be wrong (they are late, down or flapping, or
            have a twin or a conflict), first those whose state changed last. Servers whose keys
            were revoked or have expired are left out, since they cannot send.
        has_more: Whether there are more such servers than `MOST_TROUBLED`; those whose state
            changed first are then left out of `servers`.
        expired: How many servers in lists belong to each key that has expired, by the id of the
            key; without keys that have none.
        calm_since: If nothing is wrong with any server: when one last fell silent, came back, or
            went away; None if no event tells of that (any more). Otherwise None.
        telling: What decides of which of these servers somebody is told.
    """

    servers: Sequence[Troubled]
    has_more: bool
    expired: Mapping[str, int]
    calm_since: datetime | None
    telling: Telling = field(factory=Telling)
    _made: dict[Hashable, Any] = field(factory=dict, init=False, eq=False, repr=False)

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """
        Return what `make` returns; `make` is called only by the first call with this `key`.

        So pages that share this object share what they compute from it. What `make` returns must
        depend on nothing but this object and the `key`.
        """
        if key not in self._made:
            self._made[key] = make()
        made: T = self._made[key]
        return made


class Troubles:
    """
    Finds the servers with which something is wrong.

    Reading thousands of records takes some hundredths of a second, and in an outage many people
    open pages. So pages that ask while the records are read share them, and what was read is used
    again for a time that grows with the number of servers: for 2.5 seconds at most.

    Args:
        store: Where the servers are stored.
        clock: Returns the current time.
        lapsed_keys: Returns the ids of the keys that are revoked or expired at a time.
        expired_keys: Returns the ids of the keys that are expired and not revoked at a time.
        elapsed: Returns the seconds of a monotonic clock.
    """

    def __init__(
        self,
        store: SqlStore,
        *,
        clock: Callable[[], datetime],
        lapsed_keys: Callable[[datetime], frozenset[str]],
        expired_keys: Callable[[datetime], frozenset[str]],
        elapsed: Callable[[], float] = monotonic,
    ) -> None:
        self._store = store
        self._clock = clock
        self._lapsed_keys = lapsed_keys
        self._expired_keys = expired_keys
        self._elapsed = elapsed
        self._known: Mapping[str, Troubled] = {}
        self._last: Found | None = None
        self._begun_at = float("-inf")
        self._turn = Lock()

    def find(self) -> Found:
        """
        What is wrong now, or was up to 2.5 seconds ago. Blocks, and raises StoreUnavailable.

        Within `SqlStore.at_one_moment` that is what is wrong at about that moment.
        """
        asked_at = self._elapsed()
        last = self._last
        if last is not None and self._is_fresh():
            return last
        # First a connection, then the turn: whoever has the turn must not wait for a connection,
        # as all connections may be held by threads that wait for the turn.
        with self._store.at_one_moment(), self._turn:
            if not (self._begun_at > asked_at or self._is_fresh()):
                self._last = None  # first, as others look at it without their turn
                self._begun_at = self._elapsed()
                self._last = self._read()
            if self._last is None:
                raise StoreUnavailable("the database did not answer a moment ago")
            return self._last

    def _is_fresh(self) -> bool:
        """Whether what was read last may be used again."""
        age = self._elapsed() - self._begun_at
        return self._last is not None and age < _SECONDS_EACH * len(self._known)

    def _read(self) -> Found:
        now = self._clock()
        servers = self._store.servers.troubled(self._known, limit=MOST_TROUBLED + 1)
        self._known = {each.record.server_id: each for each in servers}
        lapsed = self._lapsed_keys(now)
        expired = self._expired_keys(now)
        return Found(
            servers=[each for each in servers[:MOST_TROUBLED] if each.owner not in lapsed],
            has_more=len(servers) > MOST_TROUBLED,
            expired=self._store.servers.numbers_owned(expired) if expired else {},
            calm_since=None if servers else self._store.events.last_at(_CHANGES_OF_LIFE),
            telling=self._store.alerts.telling() if servers else Telling(),
        )

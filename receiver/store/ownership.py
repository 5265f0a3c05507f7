"""Which keys may write which servers: a server belongs to the key that first wrote it."""

import math
from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta

import orjson
from sqlalchemy import Connection, bindparam, func, select

from contract import Event, EventKind
from receiver.domain.errors import Refusal
from receiver.domain.keys import Key
from receiver.domain.rate_limits import RateLimits
from receiver.store.tables import keys, servers

__all__ = ["SERVERS_PER_KEY", "RefusedWrites", "Rights", "cost_of"]

SERVERS_PER_KEY = 1000
"""The default for how many servers may belong to a key that is no administrator's."""


class RefusedWrites:
    """
    Remembers for which refused writes an event `refused_write` was written.

    A key may try every minute to write a server that it may not write; one event per hour is
    enough. Only the newest pairs of server and key are remembered. So this does not stop a key
    that tries to write very many servers; `RateLimits` does, which limits the events that it
    may cause.

    Args:
        size: How many pairs of server and key are remembered at most.
        quiet: For how long after an event about a pair no further one is written about it.
    """

    def __init__(self, *, size: int = 10_000, quiet: timedelta = timedelta(hours=1)) -> None:
        self._size = size
        self._quiet = quiet
        self._told: dict[tuple[str, str], datetime] = {}

    def note(self, events: Iterable[Event]) -> None:
        """Remember the refused writes that committed events report; ignore other events."""
        for event in events:
            if event.kind is EventKind.REFUSED_WRITE:
                assert event.server_id is not None
                pair = event.server_id, event.details["key"]
                self._told.pop(pair, None)  # so that the newest entry stands last
                self._told[pair] = event.at
        while len(self._told) > self._size:
            del self._told[next(iter(self._told))]

    def is_known(self, server_id: str, key_id: str, at: datetime) -> bool:
        """
        Whether an event less than `quiet` before or after `at` reports a refused write of the pair.

        Then a further event about the server and the key is not needed. The event may be after
        `at`, because the clock can be set back.
        """
        told = self._told.get((server_id, key_id))
        return told is not None and abs(at - told) < self._quiet


class Rights:
    """
    Decides which keys may write which servers, and counts what they use, in one transaction.

    Args:
        connection: The transaction.
        servers_per_key: How many servers may belong to a key that is no administrator's. The key
            may own ten times this number of superseded servers in addition.
        refused: The refused writes for which an event was written already.
        budget: What is left of the limits of each key; None for no limits.

    Attributes:
        events: The events `refused_write` to be written in this transaction: each tells that a key
            tried to write a server that it may not write.
        spent: By key id, how much of the key's budget for events the transaction uses.
        rows: By key id, how many rows the key's messages change, not counting one row per message.
        silenced: The ids of keys of which some events are not written, because their budget is
            used up.
        refusals: By key id, how many of `events` are free of charge and about this key.
        muted: The ids of keys of which a refused write is not reported by an event, because their
            budget is used up.
    """

    def __init__(
        self,
        connection: Connection,
        servers_per_key: int,
        refused: RefusedWrites,
        budget: RateLimits | None,
    ) -> None:
        self._connection = connection
        self._most = servers_per_key
        self._refused = refused
        self._budget = budget
        self.spent: Counter[str] = Counter()
        self.rows: Counter[str] = Counter()
        self.silenced: set[str] = set()
        self.refusals: Counter[str] = Counter()
        self.muted: set[str] = set()
        self._owned: dict[str, Counter[bool]] = {}
        self._told: set[tuple[str, str]] = set()
        self.events: list[Event] = []

    def count_servers(self, keys: Iterable[Key]) -> None:
        """
        Read how many servers belong to each of these keys, before `to_create` is called for them.

        A key may own a limited number of servers. The rows of the keys are locked, in the order of
        their ids, because two receivers that count at the same time could together let a key
        exceed its limit. Administrators' keys have no limit and are ignored.

        Args:
            keys: The keys of the messages about servers that are not stored yet.
        """
        for key_id in sorted({key.id for key in keys if not key.is_admin}):
            self._connection.execute(_LOCK, {"key": key_id})
            found = self._connection.execute(_OWNED, {"key": key_id})
            self._owned[key_id] = Counter({row.is_superseded: row.n for row in found})

    def to_create(self, key: Key, server_id: str) -> Refusal | None:
        """
        Why a key may not create a server; None when it may.

        If it may, the server is counted as one of the key's servers. `count_servers` must have been
        called for the key before.
        """
        if not key.covers(server_id):
            return _not_covered(key)
        if key.is_admin:
            return None
        owned = self._owned[key.id]
        if owned[False] >= self._most:
            return Refusal(403, "too_many_servers", _TOO_MANY.format(owned[False]))
        if owned[True] >= 10 * self._most:
            return Refusal(403, "too_many_servers", _TOO_MANY_SUPERSEDED.format(owned[True]))
        owned[False] += 1
        return None

    def to_write(self, key: Key, server_id: str, owner: str | None, at: datetime) -> Refusal | None:
        """
        Why a key may not write a server that exists; None when it may.

        Adds a refused write to `events`, unless it needs no event or the budget is used up.

        Args:
            key: The key.
            server_id: The id of the server.
            owner: The id of the key that the server belongs to; None when it belongs to none.
            at: The time of the message.
        """
        is_covered = key.covers(server_id)
        if is_covered and (owner == key.id or owner is None or key.is_admin):
            return None
        refusal = (
            Refusal(403, "server_of_another_key", _ANOTHERS) if is_covered else _not_covered(key)
        )
        self._tell(key, server_id, at)
        return refusal

    def is_over_budget(self, key: Key) -> bool:
        """Whether a key has used up its budget for events; False for an administrator's key."""
        return not key.is_admin and self._left(key.id) <= 0

    def within_budget(self, key: Key, events: list[Event]) -> list[Event]:
        """
        The events to write, out of those that a key has caused.

        The budget is how many events a key may cause per hour. When these events exceed what is
        left of it, only those of the kinds `registered`, `recovered` and `flapping` are written,
        because the availability of a server could not be computed without them. These are short and
        few: a server that stops sending and comes back again and again soon counts as flapping, and
        then its changes cause no events.
        """
        if not events or key.is_admin or self._budget is None:
            return events
        size = cost_of(events)
        if size > self._left(key.id):
            self.silenced.add(key.id)
            return [each for each in events if each.kind in _ALWAYS_TOLD]
        self.spent[key.id] += size
        return events

    def _tell(self, key: Key, server_id: str, at: datetime) -> None:
        """Report a refused write by an event, unless one is known or the budget is used up."""
        pair = server_id, key.id
        if pair in self._told or self._refused.is_known(*pair, at):
            return
        if self._budget is not None:
            if self._budget.refusals_left(key.id) > self.refusals[key.id]:
                self.refusals[key.id] += 1
            elif self._left(key.id) > 0:
                self.spent[key.id] += 1
            else:
                self.muted.add(key.id)
                return
        self._told.add(pair)
        details = {"key": key.id, "name": key.name}
        event = Event(kind=EventKind.REFUSED_WRITE, at=at, server_id=server_id, details=details)
        self.events.append(event)

    def _left(self, key_id: str) -> float:
        """What is left of a key's budget for events."""
        if self._budget is None:
            return math.inf
        return self._budget.changes_left(key_id) - self.spent[key_id]


def cost_of(events: Iterable[Event]) -> int:
    """How much of a key's budget events use: one each, and one more for each KiB of details."""
    return sum(1 + len(orjson.dumps(each.details)) // 1024 for each in events)


def _not_covered(key: Key) -> Refusal:
    return Refusal(403, "server_not_covered", _NOT_COVERED.format(key.id, key.servers))


_ALWAYS_TOLD = {
    EventKind.REGISTERED,
    EventKind.RECOVERED,
    EventKind.FLAPPING,
}

_NOT_COVERED = (
    "The key {} may only write servers whose server_id matches {!r}. "
    "An administrator can make a key for this one."
)
_ANOTHERS = (
    "This server_id belongs to another key. An administrator can hand it over, if it is right: "
    "odoo-mcp-fleet keys hand-over."
)
_TOO_MANY = (
    "{} servers belong to this key, which are as many as may. "
    "An administrator can delete some, make another key, or raise FLEET_SERVERS_PER_KEY."
)
_TOO_MANY_SUPERSEDED = (
    "{} servers of this key were superseded, which are as many as may. "
    "An administrator can delete some, or raise FLEET_SERVERS_PER_KEY."
)

_LOCK = select(keys.c.id).where(keys.c.id == bindparam("key")).with_for_update()
_IS_SUPERSEDED = servers.c.superseded_by.is_not(None)
_OWNED = (
    select(_IS_SUPERSEDED.label("is_superseded"), func.count().label("n"))
    .where(servers.c.owner == bindparam("key"))
    .group_by(_IS_SUPERSEDED)
)

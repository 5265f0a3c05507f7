"""Whose servers are whose: a server belongs to the key that first brought it."""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Protocol

import orjson
from sqlalchemy import Connection, bindparam, func, select

from contract import Event, EventKind
from receiver.domain.errors import Refusal
from receiver.domain.keys import Key
from receiver.store.tables import keys, servers

__all__ = ["SERVERS_PER_KEY", "Budget", "Refused", "Rights"]


class Budget(Protocol):
    """How many events keys may cause; a long one counts for each KiB."""

    def changes_left(self, key_id: str) -> int:
        """How many a key may cause yet."""

    def spend_changes(self, key_id: str, size: int) -> None:
        """Count what a key has caused."""


SERVERS_PER_KEY = 1000
"""How many servers may belong to a key, unless it is said otherwise."""


class Refused:
    """What the timeline has told of keys that wrote what they may not; they may try on and on."""

    def __init__(self, *, most: int = 10_000, quiet: timedelta = timedelta(hours=1)) -> None:
        self._most = most
        self._quiet = quiet
        self._told: dict[tuple[str, str], datetime] = {}

    def note(self, events: Iterable[Event]) -> None:
        """Of events that are committed."""
        for event in events:
            if event.kind is EventKind.REFUSED_WRITE:
                assert event.server_id is not None
                pair = event.server_id, event.details["key"]
                self._told.pop(pair, None)  # the youngest stand last
                self._told[pair] = event.at
        while len(self._told) > self._most:
            del self._told[next(iter(self._told))]

    def is_known(self, server_id: str, key_id: str, at: datetime) -> bool:
        """Whether it has been told lately that a key may not write a server."""
        told = self._told.get((server_id, key_id))
        return told is not None and abs(at - told) < self._quiet


class Rights:
    """
    Who may write which server, in one transaction.

    Args:
        servers_per_key: How many servers may belong to a key that is no administrator's;
            of those that others have superseded ten times as many.
        refused: What need not be told again.
        budget: How much keys may cause to be told, if that is bounded.

    Attributes:
        events: What is to be told.
        spent: How much of the budget of a key was used.
        silenced: The keys whose budget was too small.
    """

    def __init__(
        self,
        connection: Connection,
        servers_per_key: int,
        refused: Refused,
        budget: Budget | None,
    ) -> None:
        self._connection = connection
        self._most = servers_per_key
        self._refused = refused
        self._budget = budget
        self.spent: Counter[str] = Counter()
        self.silenced: set[str] = set()
        self._owned: dict[str, Counter[bool]] = {}
        self._told: set[tuple[str, str]] = set()
        self.events: list[Event] = []

    def begin(self, keys: Iterable[Key]) -> None:
        """
        Count the servers of keys that bring new ones.

        All receivers do so in turn, for together they would bring too many, and in the order
        of the keys, so that none waits for another that waits for it.
        """
        for key_id in sorted({key.id for key in keys if not key.is_admin}):
            self._connection.execute(_LOCKED, {"key": key_id})
            found = self._connection.execute(_OWNED, {"key": key_id})
            self._owned[key_id] = Counter({row.is_old: row.n for row in found})

    def to_bring(self, key: Key, server_id: str) -> Refusal | None:
        """Why a key may not bring a new server; None when it may, which is counted."""
        if not key.covers(server_id):
            return _not_covered(key)
        if key.is_admin:
            return None
        owned = self._owned[key.id]
        if owned[False] >= self._most:
            return Refusal(403, "too_many_servers", _TOO_MANY.format(owned[False]))
        if owned[True] >= 10 * self._most:
            return Refusal(403, "too_many_servers", _TOO_MANY_OLD.format(owned[True]))
        owned[False] += 1
        return None

    def told(self, key: Key, events: list[Event]) -> list[Event]:
        """
        Of events that a key causes, those that are told.

        When it has caused too many, only those of life are: they are short, and how
        available a server was is known by them.
        """
        if not events or key.is_admin or self._budget is None:
            return events
        size = sum(1 + len(orjson.dumps(each.details)) // 1024 for each in events)
        if size > self._budget.changes_left(key.id) - self.spent[key.id]:
            self.silenced.add(key.id)
            return [each for each in events if each.kind in _OF_LIFE]
        self.spent[key.id] += size
        return events

    def to_write(self, key: Key, server_id: str, owner: str | None, at: datetime) -> Refusal | None:
        """Why a key may not write a server that is there; None when it may."""
        is_covered = key.covers(server_id)
        if is_covered and (owner == key.id or owner is None or key.is_admin):
            return None
        refusal = (
            Refusal(403, "server_of_another_key", _ANOTHERS) if is_covered else _not_covered(key)
        )
        self._tell(key, server_id, at)
        return refusal

    def _tell(self, key: Key, server_id: str, at: datetime) -> None:
        pair = server_id, key.id
        if pair in self._told or self._refused.is_known(*pair, at):
            return
        self._told.add(pair)
        details = {"key": key.id, "name": key.name}
        event = Event(kind=EventKind.REFUSED_WRITE, at=at, server_id=server_id, details=details)
        self.events.append(event)  # of each server and key once an hour, so it needs no budget


def _not_covered(key: Key) -> Refusal:
    return Refusal(403, "server_not_covered", _NOT_COVERED.format(key.id, key.servers))


_OF_LIFE = {EventKind.REGISTERED, EventKind.RECOVERED}

_NOT_COVERED = (
    "The key {} may only write servers whose server_id matches {!r}. "
    "An administrator can make a key for this one."
)
_ANOTHERS = (
    "This server_id belongs to another key. An administrator can hand it over, if it is right: "
    "python -m receiver keys hand-over."
)
_TOO_MANY = (
    "{} servers belong to this key, which are as many as may. "
    "An administrator can delete some, make another key, or raise FLEET_SERVERS_PER_KEY."
)
_TOO_MANY_OLD = (
    "{} servers of this key were superseded, which are as many as may. "
    "An administrator can delete some, or raise FLEET_SERVERS_PER_KEY."
)

_LOCKED = select(keys.c.id).where(keys.c.id == bindparam("key")).with_for_update()
_IS_OLD = servers.c.superseded_by.is_not(None)
_OWNED = (
    select(_IS_OLD.label("is_old"), func.count().label("n"))
    .where(servers.c.owner == bindparam("key"))
    .group_by(_IS_OLD)
)

"""
Reads the entries of the MCP registry: page by page, and by their names.

The registry is the list from which MCP clients such as VS Code install servers of the fleet.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import NamedTuple

from attrs import evolve, frozen

from receiver.domain.agents.registry import (
    Entry,
    EntryFilter,
    EntryPlace,
    ForgottenEntry,
    FoundServer,
    Listing,
    Tombstone,
    holders,
    host_of,
    whose,
)
from receiver.domain.keys import Keyring
from receiver.service.fleet import Fleet, Sighting
from receiver.store import RegistrySource

__all__ = ["SETTLING", "EntryPage", "Registry"]

SETTLING = timedelta(seconds=5)
"""
How much earlier the search for updated entries begins than the time for which a client asks.

An entry counts as updated when a message was received, but the message may be committed some
seconds later. A client that asks for the entries updated since the newest one that it knows would
miss this entry otherwise.
"""


class EntryPage(NamedTuple):
    """
    A page of the list of entries.

    Attributes:
        entries: The entries of the page, in the order of the list.
        next_place: Where the next page begins; None on the last page.
    """

    entries: Sequence[Entry | ForgottenEntry]
    next_place: EntryPlace | None


@frozen(kw_only=True)
class Registry:
    """
    Reads entries of the MCP registry, which are made from the servers in the database.

    The methods block, and raise StoreUnavailable.

    Attributes:
        source: Reads the servers, claims and tombstones that entries are made from.
        fleet: Computes the states that servers have now.
        keys: All API keys.
        namespace: The first part of the names of entries.
        may_be_at: Returns whether clients may be told an address with this host name or IP address.
        now: The time of the request.
    """

    source: RegistrySource
    fleet: Fleet
    keys: Keyring
    namespace: str
    may_be_at: Callable[[str], bool]
    now: datetime

    def page(self, matching: EntryFilter, *, place: EntryPlace | None, limit: int) -> EntryPage:
        """
        A page of the list of the entries that match a filter.

        It may have less than `limit` entries although it is not the last one, when many servers
        have no entry: only 1,000 servers are read for a page.

        Args:
            matching: The filter. If it holds a name, the page has the entry of this name, or none.
            place: Where the page begins; None for the beginning of the list.
            limit: How many entries the page has at most.
        """
        if matching.name is not None:
            return EntryPage(self._only(matching, matching.name), None)
        since = matching.updated_since
        if since is not None:
            since = max(since, _EARLIEST) - SETTLING
            matching = evolve(matching, updated_since=since)
        if place is not None and place.is_of_tombstones:
            return self._forgotten(matching, place.after, limit)
        page = self._of_servers(matching, place and place.after, limit)
        if page.next_place is not None or not matching.with_gone:
            return page
        forgotten = self._forgotten(matching, None, limit - len(page.entries))
        return EntryPage([*page.entries, *forgotten.entries], forgotten.next_place)

    def _of_servers(self, matching: EntryFilter, after: str | None, limit: int) -> EntryPage:
        """A page of the entries of servers."""
        since = matching.updated_since
        lapsed = [] if since is None else self._lapsed_since(since)
        entries: list[Entry] = []
        for _ in range(_MOST_READ // _READ_AT_ONCE):
            found = self.source.registered(
                Listing(matching=matching, after=after, limit=_READ_AT_ONCE + 1, lapsed=lapsed)
            )
            is_last = len(found) <= _READ_AT_ONCE
            found = found[:_READ_AT_ONCE]
            entries += self._entries(self._names(found), found)
            if len(entries) > limit or (len(entries) == limit and not is_last):
                return EntryPage(entries[:limit], EntryPlace(entries[limit - 1].record.server_id))
            if is_last:
                return EntryPage(entries, None)
            after = found[-1].record.server_id
        return EntryPage(entries, EntryPlace(after or ""))

    def _forgotten(self, matching: EntryFilter, after: str | None, limit: int) -> EntryPage:
        """A page of the entries whose servers were forgotten; it may be empty with a limit of 0."""
        found = self.source.tombstones(Listing(matching=matching, after=after, limit=limit + 1))
        is_last = len(found) <= limit
        found = found[:limit]
        after = found[-1][0].local_name if found else after
        place = None if is_last else EntryPlace(after or "", is_of_tombstones=True)
        return EntryPage(self._standing(found), place)

    def _standing(self, found: Sequence[tuple[Tombstone, bool]]) -> list[ForgottenEntry]:
        """The entries of those tombstones whose names no server has, and that may be given away."""
        return [
            ForgottenEntry(name=f"{self.namespace}/{each.local_name}", tombstone=each)
            for each, stands in found
            if stands and self.may_be_at(each.host)
        ]

    def get(self, name: str) -> Entry | ForgottenEntry | None:
        """
        The entry with a whole name, which begins with the namespace.

        It may be a deleted one, whose server was uninstalled, replaced or forgotten. Returns None
        if no entry has the name, or if clients may not be told its address.
        """
        who = whose(self.namespace, name)
        if who is None:
            return None
        names = holders(self.namespace, self.source.claims_of(who, name))
        server_id = next((each for each, held in names.items() if held == name), None)
        found = None if server_id is None else self.source.found(server_id)
        if found is not None:
            entries = self._entries(names, [found])
            return entries[0] if entries else None
        matching = EntryFilter(name=name)
        buried = self.source.tombstones(Listing(matching=matching, after=None, limit=1))
        return next(iter(self._standing(buried)), None)

    def _only(self, matching: EntryFilter, name: str) -> list[Entry | ForgottenEntry]:
        """The entry with a name, if it matches the rest of a filter."""
        entry = self.get(name)
        if entry is None or (entry.is_deleted and not matching.with_gone):
            return []
        since = matching.updated_since
        is_new = since is None or entry.updated_at >= since
        return [entry] if is_new and matching.version in {None, entry.version} else []

    def _names(self, found: Sequence[FoundServer]) -> Mapping[str, str]:
        """The names of those of some servers that have one, by `server_id`."""
        claims = {each.record.server_id: each.claim for each in found}
        for claim in self.source.claims_like([each.record for each in found]):
            claims[claim.identity.server_id] = claim
        return holders(self.namespace, claims.values())

    def _entries(self, names: Mapping[str, str], found: Sequence[FoundServer]) -> list[Entry]:
        """The entries of those of some servers that have a name, and that may be given away."""
        shown = [
            each for each in found if each.record.server_id in names and self._is_given_away(each)
        ]
        sightings = self.fleet.seen([each.record for each in shown])
        return [self._entry(names, *both) for both in zip(shown, sightings, strict=True)]

    def _is_given_away(self, found: FoundServer) -> bool:
        return self.may_be_at(host_of(found.record))

    def _entry(self, names: Mapping[str, str], found: FoundServer, sighting: Sighting) -> Entry:
        lapsed_at = self._lapsed_at(found.owner)
        return Entry(
            name=names[found.record.server_id],
            record=evolve(found.record, state=sighting.state),
            last_heard=sighting.last_heard,
            updated_at=max(found.changed_at, lapsed_at or found.changed_at),
            is_lapsed=lapsed_at is not None,
        )

    def _lapsed_at(self, owner: str | None) -> datetime | None:
        """When a key was revoked or expired; None if it is good, or there is none."""
        key = None if owner is None else self.keys.get(owner)
        return None if key is None else key.lapsed_at(self.now)

    def _lapsed_since(self, since: datetime) -> list[str]:
        """The ids of the keys that were revoked or have expired since a time."""
        times = {key.id: key.lapsed_at(self.now) for key in self.keys}
        return [key_id for key_id, at in times.items() if at is not None and at >= since]


_EARLIEST = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MOST_READ = 1000
_READ_AT_ONCE = 100

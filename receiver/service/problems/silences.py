"""Which servers are silenced now: nobody is told of their alarms, which are kept and shown."""

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from attrs import frozen

from contract import ServerRecord
from receiver.domain.alerts.values import Silence
from receiver.domain.alerts.windows import active
from receiver.domain.databases import NOTHING_NOTED, Noted
from receiver.domain.filter_text import FilterText
from receiver.domain.grouping.problems import is_production
from receiver.domain.queries import Rank, rank_of
from receiver.store import SqlStore

__all__ = ["Silenced", "Window", "open_silences", "urgency"]


class Window(NamedTuple):
    """
    A silence that is open now.

    Attributes:
        silence: The silence.
        servers: The filter that says which servers it is about; None if it names a single server.
        until: When it ends. Of a silence that begins again and again, the end of the time that is
            open now.
    """

    silence: Silence
    servers: FilterText | None
    until: datetime

    def covers(self, record: ServerRecord, noted: Noted = NOTHING_NOTED) -> bool:
        """
        Whether the alarms of a server are silenced.

        A silence that names a single server also covers the nodes for which that server stands in
        lists: the other servers of its database.

        The filter of a silence may ask for words that people have written in a note on a database.
        The record does not hold such notes: `noted` tells which words the note on its database has.
        """
        if self.servers is None:
            return self.silence.server_id in {record.server_id, record.node_of}
        return self.servers.matches(record, noted.words_of(record))


@frozen
class Silenced:
    """
    The silences that are open now.

    Attributes:
        windows: The silences.
        noted: Which of the words of their filters the labels and notes of databases contain.
    """

    windows: tuple[Window, ...]
    noted: Noted = NOTHING_NOTED

    def of(self, record: ServerRecord) -> list[Window]:
        """The silences that a server is in, the one that ends last first."""
        found = [window for window in self.windows if window.covers(record, self.noted)]
        return sorted(found, key=lambda window: window.until, reverse=True)

    def until(self, records: Iterable[ServerRecord]) -> dict[str, datetime]:
        """By the ids of servers, until when they are silenced; without those that are not."""
        found = {record.server_id: self.of(record) for record in records}
        return {server_id: windows[0].until for server_id, windows in found.items() if windows}


def open_silences(store: SqlStore, now: datetime) -> Silenced:
    """Read the silences that are open now. Blocks, and raises StoreUnavailable."""
    each = [(silence, active(silence, now)) for silence in store.alerts.silences(now)]
    windows = tuple(
        Window(silence, _servers_of(silence), until) for silence, until in each if until is not None
    )
    words = {
        word for window in windows if window.servers is not None for word in window.servers.words
    }
    return Silenced(windows, store.labels.noted(sorted(words)))


def urgency(record: ServerRecord, *, is_silenced: bool) -> tuple[int, int, bool]:
    """
    A sort key for servers in a part of a list that begins with trouble.

    Servers that nobody has to look at now, because they are silenced, come after the others with a
    trouble. Of those with the same trouble, the ones in production come first. Servers without a
    trouble come last, and are equal.
    """
    rank = rank_of(record)
    if rank not in _TROUBLED:
        return 2, 0, False
    return int(is_silenced), rank.value, not is_production(record)


def _servers_of(silence: Silence) -> FilterText | None:
    return None if silence.server_id is not None else FilterText.parse(silence.query)


_TROUBLED = (Rank.DOWN, Rank.LATE, Rank.STRANGE_NEW, Rank.STRANGE)

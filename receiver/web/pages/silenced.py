"""Which servers are silenced: nobody is told of their alarms, which are kept and shown."""

import logging
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from attrs import frozen

from contract import ServerRecord
from receiver.domain.alerts.values import Silence
from receiver.domain.alerts.windows import active
from receiver.domain.databases import NOTHING_NOTED, Noted
from receiver.domain.errors import StoreUnavailable
from receiver.domain.filter_text import FilterText
from receiver.web.context import Services
from receiver.web.cookies import Notice
from receiver.web.pages.wording import brief, duration, exactly

__all__ = ["Silenced", "Window", "silence_notice", "silenced_now", "silences_notice"]

_log = logging.getLogger(__name__)


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


async def silenced_now(found: Services) -> Silenced:
    """Read the silences that are open now. Raises StoreUnavailable."""
    return await found.calls.read(_read, found)


async def silence_notice(found: Services, silence: Silence) -> Notice:
    """
    What a page says after a silence by a filter was made: of which servers, and until when.

    If the database does not answer by now, it does not say how many servers these are.
    """
    which = f" that match {brief(silence.query, _LONGEST_QUERY)}" if silence.query else ""
    matching = FilterText.parse(silence.query).to_filter()
    try:
        number = await found.calls.read(found.store.servers.count, matching)
        whom = f"All servers{which}, {number:,} now,"
    except StoreUnavailable as error:
        _log.warning("The servers of a silence that was made are not counted: %s", error)
        whom = f"All servers{which}"
    if silence.cron is not None and silence.duration is not None:
        lasts = duration(silence.duration.total_seconds())
        says = f"{whom} will be silenced again and again, each time for {lasts}"
        return silences_notice([silence], says if silence.ends_at is not None else f"{says}.")
    if silence.begins_at > found.clock():
        return silences_notice(
            [silence], f"{whom} will be silenced from {exactly(silence.begins_at)}"
        )
    return silences_notice([silence], f"{whom} are silenced")


def silences_notice(silences: Sequence[Silence], text: str) -> Notice:
    """
    What a page says after silences were made that end together.

    `text` begins the sentence, and the page ends it with the time at which the silences end.
    """
    is_one = len(silences) == 1
    return Notice(
        text=text,
        until=silences[0].ends_at,
        link=f"alerts#silence-{silences[0].id}" if is_one else "alerts#silences",
        label="Show the silence" if is_one else "Show the silences",
    )


def _servers_of(silence: Silence) -> FilterText | None:
    return None if silence.server_id is not None else FilterText.parse(silence.query)


def _read(found: Services) -> Silenced:
    now = found.clock()
    each = [(silence, active(silence, now)) for silence in found.store.alerts.silences(now)]
    windows = tuple(
        Window(silence, _servers_of(silence), until) for silence, until in each if until is not None
    )
    words = {
        word for window in windows if window.servers is not None for word in window.servers.words
    }
    return Silenced(windows, found.store.labels.noted(sorted(words)))


_LONGEST_QUERY = 100  # a cookie holds it

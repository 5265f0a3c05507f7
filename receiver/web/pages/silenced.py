"""Which servers are silenced: nobody is told of their alarms, which are kept and shown."""

import logging
from collections.abc import Sequence

from receiver.domain.alerts.values import Silence
from receiver.domain.errors import StoreUnavailable
from receiver.domain.filter_text import FilterText
from receiver.service.problems.silences import Silenced, Window, open_silences
from receiver.web.context import Services
from receiver.web.cookies import Notice
from receiver.web.pages.wording import brief, duration, exactly

__all__ = ["Silenced", "Window", "silence_notice", "silenced_now", "silences_notice"]

_log = logging.getLogger(__name__)


async def silenced_now(found: Services) -> Silenced:
    """Read the silences that are open now. Raises StoreUnavailable."""
    return await found.calls.read(open_silences, found.store, found.clock())


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


_LONGEST_QUERY = 100  # a cookie holds it

"""Looks at a database without changing it, whatever tables it has."""

from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy import URL, select, text

from receiver.domain.copying.examining import Examined
from receiver.store import migrations
from receiver.store.copying.place import Place
from receiver.store.tables import watches

__all__ = ["examine"]


def examine(url: URL, clock: Callable[[], datetime]) -> Examined:
    """
    Find out of which version a database's tables are, and whether a receiver can be started on it.

    Changes nothing. Raises StoreUnavailable if the database does not answer.

    Args:
        url: The URL of the database.
        clock: Returns the time of this machine's clock.
    """
    place = Place(url)
    try:
        with place.reading() as connection:
            versions = migrations.applied(connection)
            is_newest = versions == [migrations.NEWEST]
            damage = None
            if url.get_backend_name() == "sqlite":
                (found,) = connection.execute(text("PRAGMA quick_check(1)")).one()
                damage = None if found == "ok" else str(found)
            asked = clock()
            time = place.dialect.database_time(connection)
            answered = clock()
            return Examined(
                versions=versions,
                trouble=migrations.trouble(versions, is_start=True),
                is_newest=is_newest,
                damage=damage,
                clock=time,
                ahead=None if time is None else _ahead(time, asked=asked, answered=answered),
                seen_at=connection.scalar(select(watches.c.seen_at)) if is_newest else None,
            )
    finally:
        place.close()


def _ahead(time: datetime, *, asked: datetime, answered: datetime) -> timedelta:
    """
    By how much a clock is at least ahead of another one, which has answered with `time`.

    The other clock was read at some moment between those at which this one showed `asked` and
    `answered`.
    """
    return max(asked - time, min(answered - time, timedelta(0)))

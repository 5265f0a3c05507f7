"""Uses PostgreSQL's LISTEN to notify a receiver when other receivers have written events."""

import asyncio
import logging
from collections.abc import Callable

from sqlalchemy import URL

from receiver.store.dialects.pooler import ASK, is_pooled

__all__ = ["CHANNEL", "listen"]

CHANNEL = "fleet_events"
"""The PostgreSQL channel that every transaction with new events notifies (NOTIFY)."""

_log = logging.getLogger(__name__)


async def listen(
    url: URL, wake: Callable[[], None], *, first_pause: float = 0.5, longest_pause: float = 15.0
) -> None:
    """
    Call `wake` whenever a receiver has committed events, until this task is cancelled.

    Returns at once for SQLite, which has no notifications, and behind a pooler (such as pgbouncer),
    which does not pass them on: then the caller must poll for events of other receivers.

    Args:
        url: The URL of the database.
        wake: Called without arguments in the event loop. It is also called whenever a connection
            is made, because events may have been committed before.
        first_pause: After how many seconds to reconnect when the connection breaks. Each further
            failure in a row doubles this time.
        longest_pause: The longest time between two attempts, in seconds.
    """
    if url.get_backend_name() == "sqlite":
        return
    import psycopg  # noqa: PLC0415 - only PostgreSQL needs it

    _, arguments = url.get_dialect()().create_connect_args(url)
    pause = 0.0
    while True:
        try:
            async with await psycopg.AsyncConnection.connect(
                **{**_KEEPALIVE, **arguments}, autocommit=True
            ) as connection:
                [(backend_pid,)] = await (await connection.execute(ASK)).fetchall()
                if is_pooled(connection, backend_pid):
                    _log.info(
                        "PostgreSQL is behind a pooler; events of other receivers arrive later"
                    )
                    return
                await connection.execute(f"LISTEN {CHANNEL}".encode())
                pause = 0.0
                wake()  # for what was written before the LISTEN
                async for _ in connection.notifies():  # pragma: no cover - it never ends by itself
                    wake()
        except psycopg.Error as error:
            if not pause:
                _log.warning("Events of other receivers arrive later: %s", error)
        pause = min(2 * pause or first_pause, longest_pause)
        await asyncio.sleep(pause)


_KEEPALIVE = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
}
"""Parameters of libpq with which a dead connection is noticed after 11 s instead of hours."""

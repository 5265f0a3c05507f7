"""Replaces pooled connections that PostgreSQL has closed since they were last used."""

from select import POLLIN, poll
from time import monotonic
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.exc import InvalidatePoolError

__all__ = ["replace_closed_connections"]

_SURELY_OPEN_SECONDS = 1.0


def replace_closed_connections(engine: Engine) -> None:
    """
    Make the pool of an engine check each connection before it is used, and replace a closed one.

    To ask PostgreSQL takes a round trip, as long as a short query takes. So it is not asked if the
    connection was used a moment ago and nothing has come over it since: had PostgreSQL closed it,
    the end of the stream would have come.
    """

    @event.listens_for(engine, "connect")
    @event.listens_for(engine, "checkin")
    def note_use(_: Any, record: Any) -> None:
        record.info["used_at"] = monotonic()

    @event.listens_for(engine, "checkout")
    def check(connection: Any, record: Any, _: Any) -> None:
        idle_seconds = monotonic() - record.info["used_at"]
        if idle_seconds < _SURELY_OPEN_SECONDS and not _has_something_come(connection):
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            raise InvalidatePoolError from error


def _has_something_come(connection: Any) -> bool:
    """Whether PostgreSQL has sent something since the last answer, or has closed the connection."""
    arrivals = poll()
    arrivals.register(connection.fileno(), POLLIN)
    return bool(arrivals.poll(0))

"""Test helper: the steps by which alarms follow the events, and what they left."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from sqlalchemy import Engine, func, select, update

from receiver.domain.alerts.values import Alarm
from receiver.store import SqlStore
from receiver.store.alerts.tables import alarms, alert_progress
from watched import Watched

__all__ = [
    "AWAY_SECONDS",
    "HALF_A_MINUTE",
    "MINUTE",
    "advance",
    "kept",
    "numbers_of_alarms",
    "progress",
    "set_progress",
    "silence_servers",
    "tell",
    "told",
]

HALF_A_MINUTE = 30
MINUTE = timedelta(minutes=1)

AWAY_SECONDS = 300
"""After so many seconds without a message a server is down."""


def advance(fleet: Watched, *, by: SqlStore | None = None) -> None:
    """Take steps until there are no more events."""
    store = by or fleet.store
    while store.alerts.advance(fleet.now, None):
        pass


def tell(fleet: Watched, seconds: float = HALF_A_MINUTE) -> None:
    """Let half a minute pass, after which what is due is told."""
    advance(fleet)
    fleet.clock.advance(seconds)
    advance(fleet)


def silence_servers(fleet: Watched, *ids: str, alive: tuple[str, ...] = ("alive",)) -> None:
    """Register servers that send nothing any more, until they are down; `alive` go on sending."""
    fleet.beat(*ids, *alive)
    fleet.go_on(AWAY_SECONDS, *alive)


def kept(store: SqlStore) -> list[Alarm]:
    """All alarms, oldest first."""
    return store.alerts.alarms(limit=100_000)[::-1]


def told(store: SqlStore) -> list[str]:
    """The kinds of all messages, oldest first."""
    return [each.kind.value for each in store.alerts.deliveries(limit=1000)[::-1]]


def numbers_of_alarms(fleet: Watched, engine: Engine) -> Iterator[int]:
    """Take steps until there are no more events; yields how many alarms there are after each."""
    counted = select(func.count()).select_from(alarms)
    is_more = True
    while is_more:
        with engine.connect() as connection:
            yield connection.execute(counted).scalar_one()
        is_more = fleet.store.alerts.advance(fleet.now, None)
    with engine.connect() as connection:
        yield connection.execute(counted).scalar_one()


def progress(engine: Engine) -> Any:
    with engine.connect() as connection:
        return connection.execute(alert_progress.select()).one()


def set_progress(engine: Engine, **values: Any) -> None:
    with engine.begin() as connection:
        connection.execute(update(alert_progress).values(values))

"""Test helper: what a receiver needs to tell people of alarms, and keys of each scope."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple

from attrs import asdict
from sqlalchemy import Engine, insert
from starlette.applications import Starlette

from alert_values import channel, rule, silence
from receiver.app import Tuning, create_app
from receiver.service.alerts.secret_box import SecretBox
from receiver.store.alerts.tables import channels, rules, silences
from servers import ANY_PAUSE_SECONDS

__all__ = ["SECRET_KEY", "Keys", "alerting_app", "alerting_settings", "fill"]

SECRET_KEY = SecretBox.new_key()
"""A value of FLEET_SECRET_KEY."""


def alerting_settings(database_url: str) -> dict[str, str]:
    """The environment of a receiver that may send messages to this machine."""
    return {
        "FLEET_DATABASE_URL": database_url,
        "FLEET_SECRET_KEY": SECRET_KEY,
        "FLEET_ALERT_ADDRESSES": "127.0.0.0/8",
    }


def alerting_app(
    database_url: str, clock: Callable[[], datetime], *, alert_seconds: float = 0.05
) -> Starlette:
    """A receiver that may send messages to this machine, and looks for alarms that often."""
    tuning = Tuning(
        absence_seconds=ANY_PAUSE_SECONDS, look_seconds=0.05, alert_seconds=alert_seconds
    )
    return create_app(environ=alerting_settings(database_url), clock=clock, tuning=tuning)


class Keys(NamedTuple):
    """The tokens of the keys of a receiver."""

    admin: str
    viewer: str
    agent: str
    other: str
    badge: str


def fill(engine: Engine, what: str, count: int) -> None:
    """Put channels, rules or silences into a database, in one transaction."""
    table, row = {
        "channels": (channels, asdict(channel())),
        "rules": (rules, _with_seconds(asdict(rule()), after="after", remind_every="remind")),
        "silences": (silences, _with_seconds(asdict(silence()), duration="duration")),
    }[what]
    rows = [{**row, "id": f"{what}-{number}"} for number in range(count)]
    with engine.begin() as connection:
        connection.execute(insert(table), rows)


def _with_seconds(row: dict[str, Any], **names: str) -> dict[str, Any]:
    """A row with whole seconds in place of durations, and a list in place of a set."""
    columns: dict[str, Any] = {**row, **({"kinds": [*row["kinds"]]} if "kinds" in row else {})}
    for name, column in names.items():
        duration = columns.pop(name)
        columns[f"{column}_seconds"] = None if duration is None else duration.total_seconds()
    return columns

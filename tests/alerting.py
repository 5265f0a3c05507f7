"""Test helper: what a receiver needs to tell people of alarms, and keys of each scope."""

from typing import Any, NamedTuple

from attrs import asdict
from sqlalchemy import Engine, insert

from alert_values import channel, rule, silence
from receiver.service.alerts.secret_box import SecretBox
from receiver.store.alerts.tables import channels, rules, silences

__all__ = ["SECRET_KEY", "Keys", "fill"]

SECRET_KEY = SecretBox.new_key()
"""A value of FLEET_SECRET_KEY."""


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

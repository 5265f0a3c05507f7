"""Test helper: Odoo servers of one database that number their messages."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from random import Random
from typing import Any

import pytest

from watched import Watched

__all__ = ["DATABASE", "NUMBERED", "Odoo", "beat_all", "by_turns", "minutes", "together"]

DATABASE: dict[str, Any] = {
    "database_uuid": "u-1",
    "database": "acme",
    "odoo_stage": "production",
}


class Odoo:
    """
    A database whose servers number their messages in one sequence, on the clock of a fleet.

    Without `numbered`, its servers are of an older version, which sends no numbers.
    """

    def __init__(self, fleet: Watched, *, numbered: bool = True, sequence: int = 0) -> None:
        self.fleet = fleet
        self.sequence = sequence
        self._numbered = numbered

    def copy(self) -> "Odoo":
        return Odoo(self.fleet, numbered=self._numbered, sequence=self.sequence)

    def beat(self, server_id: str, **said: Any) -> None:
        self.sequence += 1
        number = self.sequence if self._numbered else None
        self.fleet.beat(server_id, **{**DATABASE, "sequence": number, **said})

    def register(self, server_id: str) -> None:
        self.sequence += 1
        number = self.sequence if self._numbered else None
        self.fleet.register(server_id, **DATABASE, sequence=number)


def minutes(fleet: Watched, turns: Iterable[Callable[[], object]]) -> None:
    """In each minute one turn, and three sweeps."""
    for turn in turns:
        for _ in range(3):
            fleet.clock.advance(20)
            fleet.sweep()
        turn()


def by_turns(odoo: Odoo, *ids: str, count: int, seed: int = 1) -> Iterator[Callable[[], object]]:
    """One heartbeat for each turn, each of a server chosen at random."""
    chance = Random(seed)
    for _ in range(count):
        yield partial(odoo.beat, chance.choice(ids))


def together(*odoos: tuple[Odoo, str], count: int) -> Iterator[Callable[[], object]]:
    """Heartbeats of all databases in each turn."""
    for _ in range(count):
        yield partial(beat_all, odoos)


def beat_all(odoos: Iterable[tuple[Odoo, str]]) -> None:
    for odoo, server_id in odoos:
        odoo.beat(server_id)


NUMBERED = pytest.mark.parametrize("numbered", [True, False])

"""Stories: what happens to a made-up fleet, chosen at random by a seed."""

from collections.abc import Sequence
from random import Random
from typing import NamedTuple

__all__ = ["BLACKOUT", "INTERVAL", "QUIET", "SETTLING", "TROUBLES", "Deed", "Story", "told_by"]

INTERVAL = 10.0
"""Seconds between two heartbeats of a database, as all of them declare."""

QUIET = 45 * INTERVAL
"""How long nothing happens at the end of a story."""

SETTLING = 30 * INTERVAL
"""How long a family is left alone after a deed, so that what became of it can be found out."""


class Deed(NamedTuple):
    """
    One thing that happens.

    Attributes:
        at: When, in seconds since the begin.
        what: The name of a method of `World`.
        database: The number of the database that it happens to; of no one where it is -1.
        number: A parameter: of hosts, or of seconds.
    """

    at: float
    what: str
    database: int = -1
    number: float = 0.0


class Story(NamedTuple):
    """
    A story.

    Attributes:
        seed: From which everything random in it follows.
        numbered: Whether the senders number their messages, as newer ones do.
        hosts: How many hosts each database has at the begin.
        receivers: How many receivers share the database of the fleet.
        deeds: What happens, in the order of time.
    """

    seed: int
    numbered: bool
    hosts: Sequence[int]
    receivers: int
    deeds: Sequence[Deed]

    @property
    def end(self) -> float:
        return max((deed.at + deed.number for deed in self.deeds), default=0.0) + QUIET

    def without(self, n: int) -> "Story":
        """The story without one of its deeds."""
        return self._replace(deeds=[*self.deeds[:n], *self.deeds[n + 1 :]])


DEEDS = {
    "restart": 3,
    "rebuild": 3,
    "roll": 2,
    "stop": 3,
    "start": 3,
    "copy": 2,
    "clone": 1,
    "uninstall": 1,
    "add_host": 2,
    "remove_host": 2,
}
"""What can happen to a database, and how often it does beside the others."""

TROUBLES = {"pause": 3, "restart_receiver": 2, "lose": 2, "step_clock": 2, "step_sender": 1}
"""What can happen to the receivers, the network and the clocks."""

BLACKOUT = "blackout"
BLACKOUT_SECONDS = 70.0
"""So long that every server is told to be late."""


def told_by(seed: int, *, databases: int = 4, deeds: int = 5, troubles: int = 4) -> Story:
    """The story of a seed."""
    chance = Random(seed)
    hosts = [chance.choice([1, 1, 1, 2, 3]) for _ in range(databases)]
    found: list[Deed] = []
    free_at = [SETTLING + 10 * INTERVAL] * databases
    for _ in range(deeds):
        database = chance.randrange(databases)
        begin = free_at[database] + chance.random() * 10 * INTERVAL
        what = chance.choices([*DEEDS], [*DEEDS.values()])[0]
        found.append(Deed(begin, what, database, float(chance.randrange(1, 4))))
        free_at[database] = begin + SETTLING
    last = max(free_at)
    for _ in range(troubles):
        what = chance.choices([*TROUBLES], [*TROUBLES.values()])[0]
        seconds = chance.choice([1.0, 4.0, 8.0, 21.0, 90.0])
        found.append(Deed(chance.random() * last, what, chance.randrange(databases), seconds))
    numbered = chance.random() < 0.6
    receivers = chance.choice([1, 1, 2])
    if chance.random() < 0.3:
        found.append(Deed(chance.random() * last, BLACKOUT, number=BLACKOUT_SECONDS))
    return Story(seed, numbered, hosts, receivers, sorted(found))

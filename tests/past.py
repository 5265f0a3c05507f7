"""Test helper: a fleet with a week of events, for screenshots and tests of the timeline."""

from collections.abc import Iterable
from datetime import timedelta

from attrs import evolve

from client.made_up import made_up_fleet, rebuilt
from contract import Heartbeat, Registration
from receiver.domain.databases.silence import SweepOptions
from receiver.domain.outcomes import Incoming
from receiver.store import SqlStore
from servers import Clock

__all__ = ["Past"]


class Past:
    """
    Writes what a made-up fleet does in a week to a store; the week ends at the clock's time.

    The messages are applied and the sweeps (looks for servers that have fallen silent) are run
    with the times at which they would have happened.
    """

    def __init__(self, store: SqlStore, clock: Clock) -> None:
        self._store = store
        self._end = clock.now
        self._begin = self._end - timedelta(days=8)
        self._silent: set[int] = set()
        fleet = made_up_fleet(26)
        self._fleet = dict(enumerate(fleet[:22]))
        self._late_comers = dict(enumerate(fleet[22:], 22))

    def happen(self) -> None:
        for index in self._fleet:
            self._join(index, 8 * 86400)
        for seconds_ago, index, what in self._plan():
            self._do(index, what, seconds_ago)
            self._beat(seconds_ago, self._fleet)
            self._sweep(seconds_ago)
        for group in range(5):
            self._beat(24 - 5 * group, [index for index in self._fleet if index % 5 == group])
        self._join(25, 19, beats=False)

    def _plan(self) -> list[tuple[float, int, str]]:
        plan = [(hours * 3600.0, index, what) for hours, index, what in _HAPPENINGS]
        plan += [(170, 11, "silence"), *((60.0 * minutes, 0, "look") for minutes in range(1, 90))]
        looks = [
            (seconds - wait, index, "look")
            for seconds, index, what in plan
            if what == "silence"
            for wait in (60.0, 125.0, 245.0)
            if seconds > wait
        ]
        return sorted([*plan, *looks], key=lambda each: -each[0])

    def _do(self, index: int, what: str, seconds_ago: float) -> None:
        match what:
            case "join":
                self._fleet[index] = self._late_comers[index]
                self._join(index, seconds_ago)
            case "silence":
                self._beat(seconds_ago, [index])
                self._silent.add(index)
            case "return":
                self._silent.discard(index)
            case "rebuild":
                self._fleet[index] = rebuilt(self._fleet[index])
                self._join(index, seconds_ago)
            case "upgrade":
                self._fleet[index] = evolve(self._fleet[index], odoo_version="19.0")
            case "tools":
                tools = (*self._fleet[index].capabilities[1:], "send_quotation")
                self._fleet[index] = evolve(self._fleet[index], capabilities=tools)
            case "copy":
                old = self._fleet[4]
                self._fleet[index] = evolve(
                    self._late_comers[index],
                    database_uuid=old.database_uuid,
                    odoo_stage=old.odoo_stage,
                )
                self._join(index, seconds_ago)

    def _join(self, index: int, seconds_ago: float, *, beats: bool = True) -> None:
        payload = self._fleet.get(index) or self._late_comers[index]
        now = self._end - timedelta(seconds=seconds_ago)
        message = Registration.from_payload(payload, started_at=now - timedelta(seconds=4))
        self._store.servers.apply([Incoming(message, now)])
        if beats:
            self._beat(seconds_ago, [index])

    def _beat(self, seconds_ago: float, those: Iterable[int]) -> None:
        now = self._end - timedelta(seconds=seconds_ago)
        heard = [self._fleet[index] for index in those if index not in self._silent]
        uptime = (now - self._begin).total_seconds()
        self._store.servers.apply(
            [
                Incoming(Heartbeat.from_payload(payload, timestamp=now, uptime_seconds=uptime), now)
                for payload in heard
            ]
        )

    def _sweep(self, seconds_ago: float) -> None:
        now = self._end - timedelta(seconds=seconds_ago)
        while self._store.watch.sweep(SweepOptions(now=now, heard_since=self._begin)):
            pass


_HAPPENINGS = [
    (170, 3, "silence"),
    (168.5, 3, "return"),
    (150, 7, "silence"),
    (139, 7, "return"),
    (101, 1, "silence"),
    (100, 1, "return"),
    (75, 1, "silence"),
    (70, 1, "return"),
    (52, 14, "silence"),
    (51.8, 14, "return"),
    (31, 9, "silence"),
    (29, 9, "return"),
    (26, 1, "upgrade"),
    (21.5, 1, "silence"),
    (20.9, 1, "return"),
    (19, 22, "join"),
    (14, 17, "silence"),
    (13.93, 17, "return"),
    (11, 6, "upgrade"),
    (9.2, 23, "join"),
    (7.5, 0, "rebuild"),
    (6, 1, "silence"),
    (5.2, 1, "return"),
    (4.1, 12, "tools"),
    (3.2, 2, "silence"),
    (1.4, 19, "silence"),
    (0.9, 24, "copy"),
    (0.5, 19, "return"),
]
"""Hours before the end, index of the server, and what happens to it."""

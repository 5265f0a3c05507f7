"""A fleet of simulated servers, or this host alone, that reports to a receiver."""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timezone
from itertools import count

from attrs import evolve, frozen

from client.answers import HeartbeatReceipt
from client.api import PhoneHomeClient
from client.errors import CallFailed, Refused
from client.host import HostFacts
from client.made_up import made_up_fleet, rebuilt
from contract import Heartbeat, Registration, ServerPayload, Want

__all__ = ["Fleet", "Member", "Round", "demo_fleet", "this_host"]


@frozen(kw_only=True)
class Member:
    """
    A simulated server, and when what happens to it, in seconds since its fleet was created.

    Attributes:
        payload: The description of the server as long as it has not been rebuilt.
        rebuilt_after_seconds: When the server is rebuilt, which changes its hostname and so its
            `server_id`; None for never.
        silent_after_seconds: When the server stops sending; None for never.
        back_after_seconds: When the server sends again after its silence; None for never.
    """

    payload: ServerPayload
    rebuilt_after_seconds: float | None = None
    silent_after_seconds: float | None = None
    back_after_seconds: float | None = None

    def at(self, seconds: float) -> ServerPayload | None:
        """
        Return the description of the server at a time, `seconds` after the fleet was created.

        None while the server sends nothing. After the rebuild it is that of the rebuilt server.
        """
        silent = _is_past(self.silent_after_seconds, seconds)
        if silent and not _is_past(self.back_after_seconds, seconds):
            return None
        is_rebuilt = _is_past(self.rebuilt_after_seconds, seconds)
        return rebuilt(self.payload) if is_rebuilt else self.payload


@frozen(kw_only=True)
class Round:
    """
    The outcome of one round of heartbeats.

    Attributes:
        accepted: Number of heartbeats that the receiver accepted.
        sent: Number of heartbeats that were sent.
        silent: Number of servers that sent no heartbeat, as their `Member` says.
    """

    accepted: int
    sent: int
    silent: int

    def __str__(self) -> str:
        silent = f", {self.silent} silent" if self.silent else ""
        return f"{self.accepted} of {self.sent} heartbeats accepted{silent}"


def this_host(facts: HostFacts, *, interval_seconds: float) -> ServerPayload:
    """
    Describe this host as if it were a server, with a database `no-odoo` and without MCP tools.

    `interval_seconds` is the interval between heartbeats that the server declares.
    """
    database = "no-odoo"
    return ServerPayload(
        server_id=f"{database}_{facts.hostname}",
        hostname=facts.hostname,
        ip_addresses=facts.ip_addresses,
        port=8768,
        transport="http/sse",
        version="1.0.0",
        odoo_version="",
        database=database,
        capabilities=(),
        odoo_stage="",
        heartbeat_interval_seconds=interval_seconds,
    )


def demo_fleet(size: int, *, seed: int = 0, interval_seconds: float = 5.0) -> list[Member]:
    """
    Make up `size` servers, at least 3, to three of which something happens.

    The first is rebuilt after 4 intervals. The second stops sending after 6 intervals. The third
    sends nothing from 6 to 13 intervals, which is so long that a receiver reports it as down.

    Args:
        size: How many servers there are.
        seed: The same seed makes the same servers.
        interval_seconds: The interval between heartbeats that the servers declare.
    """
    members = [
        Member(payload=payload)
        for payload in made_up_fleet(size, seed=seed, interval_seconds=interval_seconds)
    ]
    first, second, third, *others = members
    return [
        evolve(first, rebuilt_after_seconds=4 * interval_seconds),
        evolve(second, silent_after_seconds=6 * interval_seconds),
        evolve(
            third,
            silent_after_seconds=6 * interval_seconds,
            back_after_seconds=13 * interval_seconds,
        ),
        *others,
    ]


class Fleet:
    """
    Servers that report to one receiver through one client.

    A failed request raises nothing; `say` reports it, and the next round tries again.

    Args:
        client: Sends the messages. Its `attempts` should be 1, because each round is a retry.
        members: The servers.
        clock: Returns seconds since 1970.
        say: Prints one line: an event, a failure or the outcome of a round.
    """

    def __init__(
        self,
        client: PhoneHomeClient,
        members: Iterable[Member],
        *,
        clock: Callable[[], float] = time.time,
        say: Callable[[str], None] = print,
    ) -> None:
        self._client = client
        self._members = tuple(members)
        self._clock = clock
        self._say = say
        self._created = clock()
        self._latest: list[ServerPayload | None] = [each.payload for each in self._members]
        self._started: dict[str, float] = {}
        self._registered: set[str] = set()
        self._asked: dict[str, float] = {}
        """When the receiver last made each server register again, in seconds, by `server_id`."""
        self._paces: list[float] = []
        self._pace: float | None = None

    def run(
        self,
        *,
        interval_seconds: float,
        longest_interval_seconds: float | None = None,
        beats: int | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> int:
        """
        Run one round of heartbeats each interval, until there have been `beats` rounds.

        The receiver may ask for a longer interval. Then the interval grows, to at most twice its
        length from one round to the next, and the heartbeats declare it.

        Returns the number of heartbeats that the receiver accepted in all rounds.

        Args:
            interval_seconds: The seconds from one round to the next.
            longest_interval_seconds: The longest interval that the receiver is granted; None if it
                is granted none that is longer than `interval_seconds`.
            beats: The number of rounds; None to go on for ever.
            sleep: Waits for a number of seconds.
        """
        due = self._clock()
        accepted = self.round().accepted
        for _ in count() if beats is None else range(beats - 1):
            now = self._clock()
            pause = self._pause(interval_seconds, longest_interval_seconds)
            # Start at once when a round took longer than the interval, and wait one interval
            # at most when the clock was set back.
            due = min(max(due + pause, now), now + pause)
            sleep(due - now)
            accepted += self.round().accepted
        return accepted

    def _pause(self, usual: float, longest: float | None) -> float:
        """
        Return the seconds to the next round: `usual`, or up to `longest` if the receiver asks so.

        If they are more than `usual`, the next heartbeats declare them as their interval.
        """
        asked = min(max(self._paces, default=usual), longest or usual)
        # Twice the interval at most: after a longer silence, the servers would be late.
        pause = max(usual, min(asked, 2 * (self._pace or usual)))
        self._pace = pause if pause > usual else None
        return pause

    def round(self) -> Round:
        """
        Send a heartbeat of each member that is not silent now, and return the outcome.

        Members that are not registered yet are registered first. Prints the outcome, and what has
        happened to members since the last round, by `say`.
        """
        seconds = self._clock() - self._created
        now = [each.at(seconds) for each in self._members]
        for before, after in zip(self._latest, now, strict=True):
            self._say_event(before, after)
        self._latest = now
        payloads = [each for each in now if each is not None]
        self._register(payloads)
        outcome = Round(
            accepted=self._beat(payloads), sent=len(payloads), silent=len(now) - len(payloads)
        )
        self._say(str(outcome))
        return outcome

    def _say_event(self, before: ServerPayload | None, after: ServerPayload | None) -> None:
        if before is not None and after is None:
            self._say(f"{before.server_id} falls silent")
        if before is None and after is not None:
            self._say(f"{after.server_id} is heard again")
        if before is not None and after is not None and before.server_id != after.server_id:
            self._say(f"{before.server_id} is rebuilt as {after.server_id}")

    def _register(self, payloads: Iterable[ServerPayload]) -> None:
        """
        Register the servers that are not registered yet.

        If a registration fails temporarily, the servers after it are left to the next round.
        """
        for payload in payloads:
            if payload.server_id not in self._registered:
                try:
                    self._register_one(payload)
                except CallFailed as error:
                    self._say(f"{payload.server_id} is not registered: {error}")
                    if error.temporary:
                        return
                # Also after a permanent refusal, which a retry would not change.
                self._registered.add(payload.server_id)

    def _register_again(self, payloads: Iterable[ServerPayload]) -> None:
        """
        Register servers once more because the receiver wants it, each at most every ten minutes.

        A receiver goes on asking if it, or a proxy before it, refuses the registration.
        """
        now = self._clock()
        for payload in payloads:
            asked = self._asked.get(payload.server_id, -math.inf)
            if not 0 <= now - asked < _PAUSE_SECONDS:
                self._asked[payload.server_id] = now
                self._registered.discard(payload.server_id)
                self._register([payload])

    def _register_one(self, payload: ServerPayload) -> None:
        started_at = _moment(self._start_of(payload))
        receipt = self._client.register(Registration.from_payload(payload, started_at=started_at))
        known = "as a new server" if receipt.created else "again"
        self._say(f"{payload.server_id} is registered {known}")

    def _beat(self, payloads: Sequence[ServerPayload]) -> int:
        """Send a heartbeat of each server; returns how many the receiver accepted."""
        try:
            results = self._send([self._heartbeat(each) for each in payloads])
        except CallFailed as error:
            self._say(str(error))
            return 0
        pairs = [*zip(payloads, results, strict=True)]
        refusals = {
            payload.server_id: result for payload, result in pairs if isinstance(result, Refused)
        }
        receipts = [
            (payload, each) for payload, each in pairs if isinstance(each, HeartbeatReceipt)
        ]
        wanted = [each for each, receipt in receipts if Want.REGISTRATION in receipt.wants]
        self._register_again(wanted)
        paces = [receipt.next_heartbeat_seconds for _, receipt in receipts]
        self._paces = [each for each in paces if each is not None]
        for server_id, refusal in refusals.items():
            self._say(f"{server_id} is not heard: {refusal}")
        return len(results) - len(refusals)

    def _send(self, heartbeats: list[Heartbeat]) -> Sequence[HeartbeatReceipt | Refused]:
        if len(heartbeats) == 1:
            return [self._client.heartbeat(heartbeats[0])]
        return self._client.heartbeats(heartbeats)

    def _heartbeat(self, payload: ServerPayload) -> Heartbeat:
        now, start = self._clock(), self._start_of(payload)
        declared = payload.heartbeat_interval_seconds or 0.0
        if self._pace is not None and self._pace > declared:
            payload = evolve(payload, heartbeat_interval_seconds=self._pace)
        return Heartbeat.from_payload(
            payload,
            timestamp=_moment(now),
            uptime_seconds=max(0.0, now - start),
            started_at=_moment(start),
        )

    def _start_of(self, payload: ServerPayload) -> float:
        return self._started.setdefault(payload.server_id, self._clock())


_PAUSE_SECONDS = 600.0


def _is_past(when: float | None, seconds: float) -> bool:
    return when is not None and seconds >= when


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, timezone.utc)

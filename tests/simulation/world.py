"""
A made-up world on a virtual clock: databases, their hosts, the network, and the receivers.

The senders, the network and the clocks are made up; the contract, the store and the watchdog are
the real ones. The world knows what really happened, so it can tell what the fleet should say.
"""

import heapq
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from functools import partial
from itertools import count
from random import Random
from typing import Any

from attrs import define, field
from sqlalchemy import URL

from contract import FAREWELL, Event, Heartbeat, Registration
from receiver.domain.databases.silence import Rules
from receiver.domain.outcomes import Applied, Incoming
from receiver.service.watchdog import Timing, Watchdog
from receiver.store import SqlStore
from simulation.story import BLACKOUT, INTERVAL, TROUBLES, Deed, Story

__all__ = ["BEGIN", "Database", "Host", "World"]

BEGIN = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
_LOOK_SECONDS = 4.0  # a real receiver looks each second
_TIMEOUT = 5.0  # how long a sender waits for an answer
_RULES = Rules(servers=3)  # a made-up fleet is small


@define
class Host:
    """
    A machine on which Odoo runs for one database.

    Attributes:
        name: Its hostname, from which the `server_id` is made.
        started: When Odoo was started on it, in true seconds since the begin.
        clock_error: By how many seconds its clock is wrong.
        started_at: When Odoo was started, by that clock as it was then.
    """

    name: str
    started: float
    clock_error: float
    started_at: datetime


@define
class Database:
    """
    A real database.

    Attributes:
        number: Its number in the world; a copy has that of its original.
        uuid: Its uuid, which its copies have, too.
        hosts: The hosts on which Odoo runs for it; none while it is stopped.
        sequence: How many messages were sent for it.
        committed: When its messages were committed.
        servers: Every `server_id` under which it ever sent.
        has_left: Whether the addon was uninstalled.
        is_cloned: Whether another machine has the same hostname and sends for a copy of it.
        deeds: What happened to it, and when.
    """

    number: int
    uuid: str
    hosts: list[Host] = field(factory=list)
    sequence: int = 0
    committed: list[float] = field(factory=list)
    servers: set[str] = field(factory=set)
    has_left: bool = False
    is_cloned: bool = False
    deeds: list[tuple[float, str]] = field(factory=list)

    @property
    def is_alive(self) -> bool:
        return bool(self.hosts) and not self.has_left


@define
class Receiver:
    """
    One of the receivers that share the database of the fleet.

    Attributes:
        store: Its store.
        watchdog: What looks for silent servers.
        paused_until: Until when it does nothing: a lock, a full disk, a failover, a frozen process.
    """

    store: SqlStore
    watchdog: Watchdog
    paused_until: float = 0.0

    def close(self) -> None:
        self.watchdog.close()
        self.store.close()


class World:
    """
    A world in which a story happens.

    Attributes:
        databases: The databases; copies are added at the end.
        heartbeats: How many heartbeats of each `server_id` were committed.
        told: The events, each with the true time at which it was committed.
        blackouts: The spans of time in which the network lost every message.
        disturbed: The spans of time in which something else happened to receivers or the network.
    """

    def __init__(self, story: Story, url: URL) -> None:
        self.story = story
        self.chance = Random(story.seed)
        self.now = 0.0
        self.databases: list[Database] = []
        self.heartbeats: dict[str, int] = {}
        self.told: list[tuple[float, Event]] = []
        self.blackouts: list[tuple[float, float]] = []
        self.disturbed: list[tuple[float, float]] = []
        self._order = count()
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._names = count(1)
        self._clock_error = 0.0
        self._loses_until = 0.0
        self._is_black_until = 0.0
        self._url = url
        self.receivers = [self._new_receiver() for _ in range(story.receivers)]

    @property
    def store(self) -> SqlStore:
        """A store of the fleet."""
        return self.receivers[0].store

    def happen(self) -> None:
        """Let the whole story happen."""
        for number, hosts in enumerate(self.story.hosts):
            database = Database(number, f"uuid-{number}")
            self.databases.append(database)
            if hosts > 1:
                database.deeds.append((0.0, "hosts"))
            for _ in range(hosts):
                self._start(database)
            self._later(self.chance.random() * INTERVAL, partial(self._cron, database))
        for deed in self.story.deeds:
            self._at(deed.at, partial(self._do, deed))
        for n in range(len(self.receivers)):
            self._at(1.0 + n / 2, partial(self._look, n))
        while self._agenda and self._agenda[0][0] <= self.story.end:
            self.now, _, do = heapq.heappop(self._agenda)
            do()

    def _do(self, deed: Deed) -> None:
        # What two machines of one name are can be told, but not which of them did what.
        if deed.what in {*TROUBLES, BLACKOUT} or not self.databases[deed.database].is_cloned:
            getattr(self, deed.what)(deed)

    def close(self) -> None:
        for receiver in self.receivers:
            receiver.close()

    # What happens to databases

    def restart(self, deed: Deed) -> None:
        for host in self._family(deed, "restart").hosts:
            host.started, host.started_at = self.now, self._moment(self.now, host.clock_error)

    def rebuild(self, deed: Deed) -> None:
        """Odoo is stopped, and a while later started on another host."""
        database = self._family(deed, "rebuild")
        if not database.is_alive:
            return
        hosts = len(database.hosts)
        database.hosts.clear()
        self._later(self.chance.choice([1.0, 15.0, 40.0]), lambda: self._start_all(database, hosts))

    def roll(self, deed: Deed) -> None:
        """Odoo is started on another host, and a while later stopped on the old one."""
        database = self._family(deed, "roll")
        if not database.is_alive:
            return
        old = database.hosts[0]
        self._start(database)
        self._later(self.chance.choice([5.0, 15.0]), lambda: self._stop_host(database, old))

    def stop(self, deed: Deed) -> None:
        self._family(deed, "stop").hosts.clear()

    def start(self, deed: Deed) -> None:
        """A stopped Odoo is started again, on the host that it had."""
        database = self._family(deed, "start")
        if database.hosts or database.has_left:
            return
        server_id = min(database.servers)
        database.hosts.append(self._host(server_id.partition("_")[2]))
        self._register(database, database.hosts[0])

    def copy(self, deed: Deed) -> None:
        """The database is copied with its uuid, and the copy runs on a host of its own."""
        database = self._family(deed, "copy")
        if not database.is_alive or self._has_copy(database):
            return
        copy = Database(database.number, database.uuid, sequence=database.sequence)
        self.databases.append(copy)
        copy.deeds.append((self.now, "copied"))
        self._start(copy)
        self._later(self.chance.random() * INTERVAL, lambda: self._cron(copy))

    def clone(self, deed: Deed) -> None:
        """The machine is copied with its hostname and database, and both run."""
        database = self._family(deed, "clone")
        if len(database.hosts) != 1 or not database.is_alive or self._has_copy(database):
            return
        clone = Database(database.number, database.uuid, sequence=database.sequence)
        clone.deeds.append((self.now, "cloned"))
        self.databases.append(clone)
        clone.hosts.append(self._host(database.hosts[0].name))
        database.is_cloned = clone.is_cloned = True
        clone.servers = database.servers
        clone.committed = database.committed
        self._later(self.chance.random() * INTERVAL, lambda: self._cron(clone))

    def uninstall(self, deed: Deed) -> None:
        database = self._family(deed, "uninstall")
        if not database.is_alive or self._has_copy(database):
            return
        self._beat(database, self.chance.choice(database.hosts), status=FAREWELL)
        database.hosts.clear()  # it has left once the farewell is committed

    def add_host(self, deed: Deed) -> None:
        database = self._family(deed, "add_host")
        if database.is_alive and len(database.hosts) < 4:
            self._start(database)

    def remove_host(self, deed: Deed) -> None:
        database = self._family(deed, "remove_host")
        if len(database.hosts) > 1:
            database.hosts.pop(self.chance.randrange(len(database.hosts)))

    # What happens to the receivers, the network and the clocks

    def pause(self, deed: Deed) -> None:
        """Nothing is committed for a while, by one receiver or by all."""
        is_alone = len(self.receivers) > 1 and self.chance.random() < 0.5
        self._pause([self.receivers[self._any()]] if is_alone else self.receivers, deed)

    def restart_receiver(self, deed: Deed) -> None:
        n = self._any()
        self.receivers[n].close()
        self.receivers[n] = self._new_receiver()
        self._pause([self.receivers[n]], deed)

    def lose(self, deed: Deed) -> None:
        """The network loses each tenth message, or the answer to it, for a while."""
        self._loses_until = self.now + deed.number
        self.disturbed.append((self.now, self._loses_until))

    def blackout(self, deed: Deed) -> None:
        """The network loses every message for a while."""
        self._is_black_until = self.now + deed.number
        self.blackouts.append((self.now, self._is_black_until))

    def step_clock(self, deed: Deed) -> None:
        """The clock of the receivers is set, back or forward."""
        self._clock_error += self.chance.choice([-1, 1, -60, 60]) * deed.number
        self.disturbed.append((self.now, self.now))

    def step_sender(self, deed: Deed) -> None:
        for host in self.databases[deed.database].hosts:
            host.clock_error += self.chance.choice([-60, 60]) * deed.number

    # Senders

    def _family(self, deed: Deed, what: str) -> Database:
        database = self.databases[deed.database]
        database.deeds.append((self.now, what))
        return database

    def _has_copy(self, database: Database) -> bool:
        return any(each.uuid == database.uuid and each is not database for each in self.databases)

    def _host(self, name: str) -> Host:
        error = self.chance.choice([0.0, 0.0, 0.3, -2.0, 45.0, -4000.0])
        return Host(name, self.now, error, self._moment(self.now, error))

    def _start(self, database: Database) -> None:
        host = self._host(f"host-{next(self._names)}")
        database.hosts.append(host)
        self._register(database, host)

    def _start_all(self, database: Database, hosts: int) -> None:
        for _ in range(hosts):
            self._start(database)

    def _stop_host(self, database: Database, host: Host) -> None:
        if host in database.hosts:
            database.hosts.remove(host)

    def _register(self, database: Database, host: Host) -> None:
        database.sequence += 1
        said = self._said(database, host)
        registration = Registration(**said, started_at=host.started_at)
        self._send(database, registration, self.chance.random(), tries=3)

    def _cron(self, database: Database) -> None:
        """Odoo's scheduled action: runs on any one of the hosts, and later than it should."""
        if database.hosts:
            self._beat(database, self.chance.choice(database.hosts))
        skipped = INTERVAL if self.chance.random() < 0.02 else 0.0
        self._later(
            INTERVAL * (1.02 + 0.03 * self.chance.random()) + skipped, lambda: self._cron(database)
        )

    def _beat(self, database: Database, host: Host, *, status: str = "healthy") -> None:
        database.sequence += 1
        heartbeat = Heartbeat(
            **self._said(database, host),
            status=status,
            timestamp=self._moment(self.now, host.clock_error),
            uptime_seconds=self.now - host.started,
            started_at=host.started_at if self.story.numbered else None,
        )
        self._send(database, heartbeat, self.chance.random() * 0.5, tries=1)

    def _said(self, database: Database, host: Host) -> dict[str, Any]:
        name = f"db{database.number}"
        return {
            "server_id": f"{name}_{host.name}",
            "hostname": host.name,
            "database": name,
            "database_uuid": database.uuid,
            "heartbeat_interval_seconds": INTERVAL,
            "endpoint_url": f"https://{name}.example",
            "sequence": database.sequence if self.story.numbered else None,
        }

    def _moment(self, at: float, clock_error: float) -> datetime:
        return BEGIN + timedelta(seconds=at + clock_error)

    # The network, and the receivers

    def _send(
        self, database: Database, message: Heartbeat | Registration, delay: float, *, tries: int
    ) -> None:
        is_black = self.now < self._is_black_until
        is_lost = is_black or (self.now < self._loses_until and self.chance.random() < 0.1)
        is_answer_lost = is_lost and not is_black and self.chance.random() < 0.5
        if not is_lost or is_answer_lost:
            self._later(delay, lambda: self._arrive(database, message, self.now + _TIMEOUT))
        if is_lost and tries > 1:
            self._later(_TIMEOUT, lambda: self._send(database, message, delay, tries=tries - 1))

    def _arrive(
        self, database: Database, message: Heartbeat | Registration, deadline: float
    ) -> None:
        awake = [each for each in self.receivers if each.paused_until <= self.now]
        if not awake:  # what waits is committed after the pause, or given up
            until = min(each.paused_until for each in self.receivers)
            if until < deadline:
                self._at(until, lambda: self._arrive(database, message, deadline))
            return
        receiver = awake[0] if len(awake) == 1 else self.chance.choice(awake)
        (outcome,) = receiver.store.servers.apply([Incoming(message, self.clock())])
        assert isinstance(outcome, Applied)
        database.committed.append(self.now)
        database.servers.add(message.server_id)
        if isinstance(message, Heartbeat):
            database.has_left = message.status == FAREWELL
            self.heartbeats[message.server_id] = self.heartbeats.get(message.server_id, 0) + 1

    def _any(self) -> int:
        """The number of a receiver."""
        return self.chance.randrange(len(self.receivers)) if len(self.receivers) > 1 else 0

    def _pause(self, receivers: Sequence[Receiver], deed: Deed) -> None:
        for receiver in receivers:
            receiver.paused_until = max(receiver.paused_until, self.now + deed.number)
        self.disturbed.append((self.now, self.now + deed.number))

    def _look(self, n: int) -> None:
        receiver = self.receivers[n]
        if self.now >= receiver.paused_until:
            while receiver.watchdog.look():
                pass
        self._later(_LOOK_SECONDS, partial(self._look, n))

    def _hear(self, events: Sequence[Event]) -> None:
        self.told += [(self.now, event) for event in events]

    def clock(self) -> datetime:
        return BEGIN + timedelta(seconds=self.now + self._clock_error)

    def _new_receiver(self) -> Receiver:
        store = SqlStore(self._url, on_events=self._hear)
        timing = Timing(rules=_RULES)
        watchdog = Watchdog(store, timing, clock=self.clock, elapsed=lambda: self.now)
        return Receiver(store, watchdog)

    def _later(self, seconds: float, do: Callable[[], None]) -> None:
        self._at(self.now + seconds, do)

    def _at(self, at: float, do: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (at, next(self._order), do))

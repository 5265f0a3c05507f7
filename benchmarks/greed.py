"""What a key can do within its limits: what others notice of it, and what it costs."""

import itertools
import json
import re
import string
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from threading import Event
from typing import Any

import httpx
from attrs import field, frozen

from laboratory import DATABASES, Laboratory
from processes import Server

__all__ = ["LONGEST_MS", "MOST_ON_DISK", "Greed", "measure"]

LONGEST_MS = 100.0
"""How long the heartbeat of another key may wait, as a median."""
MOST_ON_DISK = 4.0
"""How many times its bytes what a key sent may take on the disk."""

_SENDERS = 4
_SECONDS = 10.0
_PAUSE_SECONDS = 0.02  # between two heartbeats of the neighbour
_SETTLE_SECONDS = 3.0  # until the silence of servers with the shortest interval is checked
_TOOLS = 1_000
_NAMES = ["".join(each) for each in itertools.product(string.ascii_lowercase, repeat=3)]

Json = dict[str, Any]
Attack = Callable[[int, int], "tuple[str, object]"]
"""The path and the JSON body of a request, for the number of a sender and of its request."""


@frozen(kw_only=True)
class Greed:
    """
    What a key did within its limits, and what came of it.

    Attributes:
        what: What it sent, over and over, on four connections.
        database: `SQLite` or `PostgreSQL`.
        statuses: How many of its requests were answered with each status.
        sent_bytes: How many bytes the bodies have that were answered with 200.
        disk_bytes: By how many bytes the database grew.
        p50_ms: Median latency of the heartbeats of another key meanwhile.
        longest_ms: The longest of them.
        refused: How many heartbeats of the other key were not answered with 200.
        events: How many events of each kind it caused.
    """

    what: str
    database: str
    statuses: Mapping[int, int]
    sent_bytes: int
    disk_bytes: int
    p50_ms: float
    longest_ms: float
    refused: int
    events: Mapping[str, int]
    on_disk: float = field(init=False)

    @on_disk.default
    def _ratio(self) -> float:
        return self.disk_bytes / max(self.sent_bytes, 1)


def measure(lab: Laboratory, say: Callable[[str], None]) -> list[Greed]:
    """Let a key do each of its worst for some seconds, on each database, an empty one each."""
    return [
        _greed(lab, database, number, what, attack, say)
        for number, (what, attack) in enumerate(_ATTACKS.items())
        for database in DATABASES
    ]


def _greed(  # noqa: PLR0913, PLR0917 - what `measure` was given
    lab: Laboratory,
    database: str,
    number: int,
    what: str,
    attack: Attack,
    say: Callable[[str], None],
) -> Greed:
    say(f"greed: {what}, {database}")
    name = f"greed_{number}"
    server = lab.receiver(database, name, keys=True, has_limits=True)
    with _client(server, "neighbour") as neighbour:
        for first in range(0, _FOREIGN, 500):
            body = [_slim(f"foreign-{n}") for n in range(first, first + 500)]
            neighbour.post("/heartbeats", json=body).raise_for_status()
        size_before, events_before = lab.size(database, name), _events(server)
        is_over = Event()
        with ThreadPoolExecutor(_SENDERS + 1) as threads:
            probe = threads.submit(_probe, neighbour, is_over)
            senders = [
                threads.submit(_send, server, attack, sender, is_over) for sender in range(_SENDERS)
            ]
            time.sleep(_SECONDS)
            is_over.set()
            waits, refused = probe.result()
            sent = [each.result() for each in senders]
    time.sleep(_SETTLE_SECONDS)
    events = Counter(_events(server))
    events.subtract(events_before)
    return Greed(
        what=what,
        database=database,
        statuses=dict(sorted(sum((statuses for statuses, _ in sent), Counter()).items())),
        sent_bytes=sum(size for _, size in sent),
        disk_bytes=lab.size(database, name) - size_before,
        p50_ms=median(waits),
        longest_ms=max(waits),
        refused=refused,
        events={kind: count for kind, count in sorted(events.items()) if count},
    )


def _send(server: Server, attack: Attack, sender: int, is_over: Event) -> tuple[Counter[int], int]:
    """Attack until it is over; how often each status was answered, and how many bytes counted."""
    statuses: Counter[int] = Counter()
    size = 0
    with _client(server, "agent") as client:
        for turn in itertools.count():
            if is_over.is_set():
                return statuses, size
            path, content = attack(sender, turn)
            body = json.dumps(content, separators=(",", ":")).encode()
            answer = client.post(path, content=body, headers={"Content-Type": "application/json"})
            statuses[answer.status_code] += 1
            size += len(body) if answer.status_code == 200 else 0
            if answer.status_code != 200:
                time.sleep(0.01)
    raise AssertionError("it counts for ever")


def _probe(client: httpx.Client, is_over: Event) -> tuple[list[float], int]:
    """Send a heartbeat again and again; the waits in ms, and how many were refused."""
    waits: list[float] = []
    refused = 0
    while not is_over.wait(_PAUSE_SECONDS):
        begun = time.perf_counter()
        answer = client.post("/heartbeat", json=_slim("foreign-0"))
        waits.append((time.perf_counter() - begun) * 1e3)
        refused += answer.status_code != 200
    return waits, refused


def _events(server: Server) -> dict[str, int]:
    """How many events of each kind were committed, as the metrics say."""
    with _client(server, "admin") as client:
        text = client.get("/metrics").raise_for_status().text
    found = re.findall(r'^fleet_events_total\{kind="(\w+)"\} (\S+)$', text, re.MULTILINE)
    return {kind: int(float(count)) for kind, count in found}


def _client(server: Server, key: str) -> httpx.Client:
    headers = {"Authorization": f"Bearer {server.keys[key]}"}
    return httpx.Client(base_url=server.url, headers=headers, timeout=60, trust_env=False)


def _slim(server_id: str, **said: object) -> Json:
    return {"server_id": server_id, "heartbeat_interval_seconds": 3600, **said}


_FOREIGN = 1_000
"""How many servers belong to the other key."""


def _tools(turn: int) -> Sequence[str]:
    """As many tools as a message may name, none of which is among those of the turn before."""
    first = turn % 2 * _TOOLS
    return _NAMES[first : first + _TOOLS]


def _change_tools(sender: int, turn: int) -> tuple[str, object]:
    ids = (f"greedy-{sender}-{n}" for n in range(100))
    return "/heartbeats", [_slim(each, capabilities=_tools(turn)) for each in ids]


def _bring_servers(sender: int, turn: int) -> tuple[str, object]:
    return "/heartbeat", _slim(f"new-{sender}-{turn}", capabilities=_tools(turn))


def _move(sender: int, turn: int) -> tuple[str, object]:
    return "/heartbeats", [
        _slim(
            f"moving-{sender}-{n}",
            endpoint_url=f"https://host-{turn}.example/mcp",
            version=f"1.{turn}",
            odoo_stage=("staging", "production")[turn % 2],
            capabilities=[f"tool_{turn}"],
        )
        for n in range(100)
    ]


def _fall_silent(sender: int, _: int) -> tuple[str, object]:
    ids = (f"brief-{sender}-{n}" for n in range(200))
    beats = [_slim(each) | {"heartbeat_interval_seconds": 1e-9} for each in ids]
    return "/heartbeats", beats


def _write_foreign(_: int, __: int) -> tuple[str, object]:
    return "/heartbeats", [_slim(f"foreign-{n}") for n in range(_FOREIGN)]


def _never_be_silent(sender: int, _: int) -> tuple[str, object]:
    ids = (f"eternal-{sender}-{n}" for n in range(250))
    return "/heartbeats", [_slim(each) | {"heartbeat_interval_seconds": 3e9} for each in ids]


_ATTACKS: Mapping[str, Attack] = {
    "batches in which 100 servers change a thousand tools each": _change_tools,
    "new servers with a thousand tools of three letters each": _bring_servers,
    "batches in which 100 servers move, are upgraded and change their stage": _move,
    "batches of 200 servers with an interval of a thousand millionth of a second": _fall_silent,
    "batches of 1,000 servers that belong to another key": _write_foreign,
    "batches of 250 servers with an interval of a century": _never_be_silent,
}

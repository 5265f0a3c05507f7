"""What heartbeats notice of a receiver that has many rules and silences to decide by."""

import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from os import urandom
from statistics import median
from threading import Event, Thread
from typing import Any

import httpx
from attrs import field, frozen

import stored
from laboratory import DATABASES, Laboratory
from processes import BenchmarkFailed, Server
from traffic import RARE_TOOL, Load, Traffic
from wrk import Run, run

__all__ = ["LEAST_RATE", "MOST_P99", "RULES", "SILENCES", "Alerting", "measure"]

LEAST_RATE = 0.95
"""How many heartbeats per second a receiver must take with rules and silences; without them 1."""
MOST_P99 = 1.5
"""How long the 99th percentile of their latency may be; without rules and silences it is 1."""

RULES, SILENCES = 100, 50
_SIZE = 10_000
_ABOUT_ALL = 10
"""How many of the rules are about all servers; each other one is about some."""
_PAUSE_SECONDS = 0.5  # between two changes of a server, each of which these rules tell
_TOLD_WITHIN_SECONDS = 90.0
_KINDS = ("down", "late", "twin", "conflict", "flapping", "capabilities_changed", "moved")


@frozen(kw_only=True)
class Alerting:
    """
    What heartbeats notice of 100 rules with a channel, and 50 silences.

    Meanwhile a server changes its tools twice a second, which ten of the rules tell.

    Attributes:
        database: `SQLite` or `PostgreSQL`.
        heartbeats_per_second: Heartbeats per second with them; median over the rounds.
        rate_to_without: Ratio to those of a receiver without any, in the same round; median.
        p99_ms: 99th percentile of the latency with them; median over the rounds.
        p99_to_without: Ratio to that of a receiver without any, in the same round; median.
        alarms: How many alarms began meanwhile.
        messages: How many messages reached the channel until soon afterwards.
    """

    database: str
    heartbeats_per_second: float
    rate_to_without: float
    p99_ms: float
    p99_to_without: float
    alarms: int
    messages: int


def measure(
    lab: Laboratory, *, rounds: int, seconds: int, say: Callable[[str], None]
) -> list[Alerting]:
    """Load a receiver with rules and silences, and one without, in turn; for both databases."""
    traffic = Traffic(_SIZE, lab.folder)
    heartbeats = traffic.heartbeats()
    found = []
    for database in DATABASES:
        with _sink() as sink:
            plain = lab.receiver(database, "without_alerts")
            telling = lab.receiver(database, "with_alerts", settings=_settings())
            for server in (plain, telling):
                stored.fill(server, traffic)
                lab.settle(database, "with_alerts" if server is telling else "without_alerts")
            _set_up(telling, sink.url)
            pairs = []
            for number in range(rounds + 1):
                named = f"round {number} of {rounds}" if number else "warming up"
                say(f"{named}: {database}, with and without {RULES} rules, {SILENCES} silences")
                pairs.append(
                    (_loaded(telling, heartbeats, seconds), _loaded(plain, heartbeats, seconds))
                )
            found.append(_result(database, telling, pairs[1:], sink))
    return found


@frozen
class _Sink:
    """A web server to which messages are sent, and how many it has received."""

    url: str
    received: list[None] = field(factory=list)

    def wait(self) -> int:
        """Wait for the first message, and return how many there are. Raises BenchmarkFailed."""
        deadline = time.monotonic() + _TOLD_WITHIN_SECONDS
        while not self.received:
            if time.monotonic() > deadline:
                raise BenchmarkFailed("No message of an alarm was sent, so nothing was measured.")
            time.sleep(0.1)
        return len(self.received)


@contextmanager
def _sink() -> Iterator[_Sink]:
    received: list[None] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            received.append(None)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield _Sink(f"http://127.0.0.1:{server.server_port}/", received)
        finally:
            server.shutdown()
            thread.join()


def _set_up(server: Server, url: str) -> None:
    """Make a channel, 100 rules and 50 silences, none of which is about the changing server."""
    with httpx.Client(base_url=server.url, timeout=60, trust_env=False) as client:
        channel = {"name": "sink", "kind": "webhook", "address": {"url": url}, "per_hour": 1000}
        channel_id = _made(client, "/channels", channel)["channel"]["id"]
        queries = ["" if n < _ABOUT_ALL else _query(n) for n in range(RULES - 1)]
        for number, query in enumerate(queries):  # the first channel has come with a rule
            rule = {"name": f"rule {number}", "query": query, "kinds": _KINDS}
            _made(client, "/rules", {**rule, "channel_id": channel_id, "after_seconds": 60})
        for number in range(SILENCES):
            again = {"cron": "0 22 * * 6", "time_zone": "Europe/Vienna"} if number % 2 else {}
            silence = {"query": _query(number), "duration_seconds": 7200, "reason": "upgrade"}
            _made(client, "/silences", {**silence, **again})


def _query(number: int) -> str:
    """The text of a filter that some of the servers match."""
    return (
        f"stage:production database:acme-{number:06}",
        f"stage:production,none tool:{RARE_TOOL} -odoo:17.0",
        f"network:10.0.{number}.0/24 version:1.0.0",
        f"web-00{number:04}",
    )[number % 4]


def _made(client: httpx.Client, path: str, asked: object) -> Any:
    answer = client.post(path, json=asked)
    if answer.status_code != 201:
        raise BenchmarkFailed(f"POST {path} was answered with: {answer.text[:500]}")
    return answer.json()


def _loaded(server: Server, heartbeats: Load, seconds: int) -> Run:
    """Send heartbeats for some seconds, while a server changes all the time."""
    is_over = Event()
    with ThreadPoolExecutor(1) as thread:
        changing = thread.submit(_change, server, is_over)
        try:
            return run(heartbeats, server, seconds=seconds)
        finally:
            is_over.set()
            changing.result()


def _change(server: Server, is_over: Event) -> None:
    with httpx.Client(base_url=server.url, timeout=60, trust_env=False) as client:
        number = time.monotonic_ns()
        while not is_over.wait(_PAUSE_SECONDS):
            number += 1
            body = {"server_id": "changing", "capabilities": [f"tool_{number}"]}
            answer = client.post("/heartbeat", json=body)
            if answer.status_code != 200:
                raise BenchmarkFailed(f"A heartbeat was answered with: {answer.text[:500]}")


def _result(database: str, server: Server, pairs: list[tuple[Run, Run]], sink: _Sink) -> Alerting:
    messages = sink.wait()
    with httpx.Client(base_url=server.url, timeout=60, trust_env=False) as client:
        alarms = client.get("/alarms?limit=1").json()["alarms"]
    return Alerting(
        database=database,
        heartbeats_per_second=median(having.per_second for having, _ in pairs),
        rate_to_without=median(having.per_second / lacking.per_second for having, lacking in pairs),
        p99_ms=median(having.p99_ms for having, _ in pairs),
        p99_to_without=median(having.p99_ms / lacking.p99_ms for having, lacking in pairs),
        alarms=alarms[0]["id"],
        messages=messages,
    )


def _settings() -> dict[str, str]:
    """The environment variables of a receiver that may send messages to this machine."""
    return {
        "FLEET_SECRET_KEY": urlsafe_b64encode(urandom(32)).decode(),
        "FLEET_ALERT_ADDRESSES": "127.0.0.0/8",
    }

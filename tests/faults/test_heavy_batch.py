"""Valid messages that cost the receiver as much as possible."""

import itertools
import json
import string
import threading
import time
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from statistics import median

import httpx
import psutil
import pytest
from sqlalchemy import make_url

import messages
from contract import MOST_TOOLS
from keyring import bearer, keep, made
from receiver.service.decoding import MAX_BATCH_BYTES, MAX_MESSAGE_BYTES
from servers import receiver_process

SERVERS = 16
TOOLS = ["".join(letters) * 20 for letters in itertools.product(string.ascii_letters, repeat=3)][
    :MOST_TOOLS
]
OTHER_TOOLS = [name[::-1] + "!" for name in TOOLS]

PATIENCE_SECONDS = 4.0
"""How long a transaction may take until the receiver refuses other messages with 503."""

COST_SECONDS = 6.0
"""The most CPU time that a heavy batch may cost, in seconds of one core.

It is not elapsed time, which depends on the other load of the machine."""


def beats(tools: list[str]) -> list[messages.Json]:
    return [messages.slim(server_id=f"heavy-{n}", capabilities=tools) for n in range(SERVERS)]


def short_tools(turn: int) -> list[str]:
    """As many tools as a message may name, none of which is among those of the turn before."""
    names = ["".join(pair) for pair in itertools.product(string.ascii_letters, repeat=2)]
    return [f"{name}{turn % 2}" for name in names[:MOST_TOOLS]]


def compact(content: object) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode()


def seconds_of_a_core(*marks: str) -> float:
    """The CPU time, in seconds, of the processes whose command line has one of the marks."""
    seconds = 0.0
    for process in psutil.process_iter(["cmdline", "cpu_times"]):
        if any(mark in " ".join(process.info["cmdline"] or ()) for mark in marks):
            used = process.info["cpu_times"]
            seconds += used.user + used.system
    return seconds


def test_a_heavy_batch_is_just_below_what_may_be_sent() -> None:
    """A longer message would be refused, and so cost nothing."""
    heavy = beats(OTHER_TOOLS)

    assert 0.9 < len(compact(heavy[0])) / MAX_MESSAGE_BYTES < 1
    assert 0.9 < len(compact(heavy)) / MAX_BATCH_BYTES < 1


def test_heartbeats_beside_a_heavy_batch_are_accepted(database_url: str, tmp_path: Path) -> None:
    """Others may get a 503 only where a busy machine makes the batch outlast the patience."""
    begun, over = threading.Event(), threading.Event()
    neighbours: list[int] = []
    answers: list[messages.Json] = []
    lasted: list[float] = []
    costs: list[float] = []

    def phone_home(url: str) -> None:
        with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
            while not over.wait(0.02):
                answer = client.post("/heartbeat", json=messages.slim())
                neighbours.append(answer.status_code)
                begun.set()

    with (
        receiver_process(tmp_path, FLEET_DATABASE_URL=database_url) as receiver,
        httpx.Client(base_url=receiver.url, timeout=60, trust_env=False) as client,
    ):
        marks = f"--port={receiver.port}", str(make_url(database_url).database)
        neighbour = threading.Thread(target=phone_home, args=(receiver.url,))
        neighbour.start()
        assert begun.wait(20)
        for tools in (TOOLS, OTHER_TOOLS, TOOLS):
            heavy = compact(beats(tools))
            time_before, cost_before = time.monotonic(), seconds_of_a_core(*marks)
            answer = client.post(
                "/heartbeats", content=heavy, headers={"Content-Type": "application/json"}
            )
            lasted.append(time.monotonic() - time_before)
            costs.append(seconds_of_a_core(*marks) - cost_before)
            answers.append(answer.json())
        over.set()
        neighbour.join()
        counted = client.get("/servers/acme_web-1").json()["heartbeat_count"]
        found = client.get("/servers", params={"capability": TOOLS[-1]}).json()["count"]
        lost = client.get("/servers", params={"capability": OTHER_TOOLS[-1]}).json()["count"]

    assert [(SERVERS, 0)] * 3 == [(each["accepted"], each["rejected"]) for each in answers]
    assert [] == [cost for cost in costs if cost > COST_SECONDS]
    assert {200} == set(neighbours) - ({503} if max(lasted) > PATIENCE_SECONDS else set())
    assert (neighbours.count(200), SERVERS, 0) == (counted, found, lost)


LONGEST_WAIT_SECONDS = 2.0
"""Far more than two transactions take, and far less than the batch of a greedy key takes."""


@pytest.mark.serial
def test_greedy_key_keeps_the_messages_of_another_key_waiting_for_a_transaction_at_most(
    database_url: str, tmp_path: Path
) -> None:
    """
    A key sends its worst within its limits, without a pause: each batch changes all tools of each
    server, which takes many seconds. The heartbeat of another key waits for the transaction under
    way, which is meant to take 100 ms at most on a machine of its own, and for its own.
    """
    greedy, quiet = (made("agent", name=each, now=datetime.now(timezone.utc)) for each in "gq")
    keep(database_url, greedy[0], quiet[0])
    over, begun = threading.Event(), threading.Event()
    heard: list[int] = []

    def be_greedy(url: str, sender: int) -> None:
        header = {**bearer(greedy[1]), "Content-Type": "application/json"}
        with suppress(httpx.TransportError), httpx.Client(timeout=60, trust_env=False) as client:
            for turn in itertools.count():
                heavy = [
                    {"server_id": f"greedy-{sender}-{n}", "capabilities": short_tools(turn)}
                    for n in range(100)
                ]
                begun.set()
                answer = client.post(f"{url}/heartbeats", content=compact(heavy), headers=header)
                heard.append(answer.status_code)

    waits: list[float] = []
    statuses: list[int] = []
    with receiver_process(tmp_path, FLEET_DATABASE_URL=database_url) as receiver:
        senders = [
            threading.Thread(target=be_greedy, args=(receiver.url, n), daemon=True)
            for n in range(3)
        ]
        for each in senders:
            each.start()
        assert begun.wait(20)
        with httpx.Client(base_url=receiver.url, timeout=60, trust_env=False) as client:
            for _ in range(60):
                began = time.perf_counter()
                answer = client.post("/heartbeat", json=messages.slim(), headers=bearer(quiet[1]))
                waits.append(time.perf_counter() - began)
                statuses.append(answer.status_code)
                over.wait(0.02)
    for each in senders:
        each.join()
    print(  # noqa: T201 - for whoever asks how far from the bound it is
        f"waits: median {1000 * median(waits):.0f} ms, longest {1000 * max(waits):.0f} ms"
    )

    assert {200} == {*statuses, *heard, 200}
    assert max(waits) < LONGEST_WAIT_SECONDS

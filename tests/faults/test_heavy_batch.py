"""Messages that are right, and as dear as messages can be."""

import itertools
import json
import string
import threading
from pathlib import Path

import httpx

import messages
from servers import receiver_process

TOOLS = ["".join(letters) for letters in itertools.product(string.ascii_letters, repeat=3)][:14_000]


def batch(tools: list[str]) -> bytes:
    """Just below what a batch may have."""
    beats = [messages.slim(server_id=f"heavy-{n}", capabilities=tools) for n in range(10)]
    return json.dumps(beats, separators=(",", ":")).encode()


def test_neighbours_of_a_heavy_batch_are_taken_in(database_url: str, tmp_path: Path) -> None:
    over = threading.Event()
    neighbours: list[int] = []

    def phone_home(url: str) -> None:
        with httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
            while not over.wait(0.02):
                answer = client.post("/heartbeat", json=messages.slim())
                neighbours.append(answer.status_code)

    with (
        receiver_process(tmp_path, FLEET_DATABASE_URL=database_url) as receiver,
        httpx.Client(base_url=receiver.url, timeout=30, trust_env=False) as client,
    ):
        neighbour = threading.Thread(target=phone_home, args=(receiver.url,))
        neighbour.start()
        answers = [
            client.post(
                "/heartbeats", content=batch(tools), headers={"Content-Type": "application/json"}
            )
            for tools in (TOOLS, [name[::-1] + "!" for name in TOOLS], TOOLS)
        ]
        over.set()
        neighbour.join()
        counted = client.get("/servers/acme_web-1").json()["heartbeat_count"]
        found = client.get("/servers", params={"capability": TOOLS[-1]}).json()["count"]
        lost = client.get("/servers", params={"capability": TOOLS[-1][::-1] + "!"}).json()["count"]

    assert [200] * 3 == [answer.status_code for answer in answers]
    assert {200} == set(neighbours)
    assert (len(neighbours), 10, 0) == (counted, found, lost)

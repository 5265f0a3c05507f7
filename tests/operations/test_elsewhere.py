"""Access from another machine, simulated by a network namespace and a virtual cable."""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from typing import NamedTuple

import pytest

from keyring import keep, made
from servers import PATIENCE_SECONDS, wait_until

# Addresses of the network reserved for benchmarks, 198.18.0.0/15.
HERE, THERE = "198.18.7.1", "198.18.7.2"
PORT = 8000
URL = f"http://{HERE}:{PORT}"


class Cable(NamedTuple):
    """The names of the two network namespaces that the virtual cable connects."""

    here: str
    there: str


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


def inside(namespace: str, *command: str) -> list[str]:
    return ["ip", "netns", "exec", namespace, *command]


@pytest.fixture(scope="module")
def cable() -> Iterator[Cable]:
    name = uuid.uuid4().hex[:8]
    cable = Cable(f"fleet-{name}-a", f"fleet-{name}-b")
    with ExitStack() as ends:
        for namespace in cable:
            ip("netns", "add", namespace)
            ends.callback(ip, "netns", "delete", namespace)
        peer = ("peer", "name", "cable", "netns", cable.there)
        ip("link", "add", "cable", "netns", cable.here, "type", "veth", *peer)
        for namespace, address in zip(cable, (HERE, THERE), strict=True):
            ip("-n", namespace, "address", "add", f"{address}/24", "dev", "cable")
            for device in ("lo", "cable"):
                ip("-n", namespace, "link", "set", device, "up")
        yield cable


@pytest.fixture(scope="module")
def database_url(cable: Cable, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a receiver that listens on every address; yields its database URL."""
    folder = tmp_path_factory.mktemp("receiver")
    url = f"sqlite:///{folder}/fleet.db"
    process = subprocess.Popen(
        inside(
            cable.here,
            *(sys.executable, "-m", "uvicorn", "receiver.app:app"),
            *("--host=0.0.0.0", f"--port={PORT}", "--log-level=warning"),
        ),
        cwd=folder,
        env={**os.environ, "FLEET_DATABASE_URL": url},
    )
    try:
        wait_until(lambda: status(cable.here, "/health", host="127.0.0.1") == 200)
        yield url
    finally:
        process.terminate()
        process.wait(PATIENCE_SECONDS)


def status(namespace: str, path: str, *options: str, host: str = HERE) -> int:
    """The status that curl gets from the receiver in a namespace; 0 without an answer."""
    said = subprocess.run(
        inside(
            namespace,
            *("curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}"),
            *("--max-time", f"{PATIENCE_SECONDS}", *options, f"http://{host}:{PORT}{path}"),
        ),
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    return int(said.stdout)


BEAT = (
    *("--header", "Content-Type: application/json"),
    *("--data", json.dumps({"server_id": "acme_web-1"})),
)


@pytest.fixture(scope="module")
def tokens(cable: Cable, database_url: str) -> dict[str, str]:
    """The tokens of a key of each scope, which the receiver knows; until then it had no key."""
    keys = {scope: made(scope) for scope in ("agent", "viewer", "admin")}
    keep(database_url, *(key for key, _ in keys.values()))
    wait_until(lambda: status(cable.there, "/servers") == 401)  # it knows all of them at once
    return {scope: token for scope, (_, token) in keys.items()}


@pytest.mark.usefixtures("database_url")
def test_receiver_without_keys_refuses_other_machines(cable: Cable) -> None:
    paths = ("/servers", "/health", "/", "/metrics", "/nothing")
    lies = ("--header", "Host: localhost"), ("--header", "X-Forwarded-For: 127.0.0.1")

    # Whoever looks whether it is well, such as an orchestrator, need not be on its machine.
    assert [403, 200, 403, 403, 403] == [status(cable.there, path) for path in paths]
    assert [403] * 2 == [status(cable.there, "/servers", *lie) for lie in lies]
    assert 403 == status(cable.there, "/heartbeat", *BEAT)
    # A request from the receiver's own machine by that address counts as a remote one, too.
    assert 403 == status(cable.here, "/servers")
    assert 200 == status(cable.here, "/servers", host="127.0.0.1")


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        (None, [401, 401, 401, 401, 200]),
        ("agent", [200, 403, 403, 403, 200]),
        ("viewer", [403, 200, 403, 403, 200]),
        ("admin", [200, 200, 200, 404, 200]),
    ],
)
def test_key_gives_access_from_another_machine(
    scope: str | None, expected: list[int], cable: Cable, tokens: dict[str, str]
) -> None:
    header = () if scope is None else ("--header", f"Authorization: Bearer {tokens[scope]}")

    assert expected == [
        status(cable.there, "/heartbeat", *BEAT, *header),
        status(cable.there, "/servers", *header),
        status(cable.there, "/keys", *header),
        status(cable.there, "/servers/unknown", "--request", "DELETE", *header),
        status(cable.there, "/health", *header),
    ]

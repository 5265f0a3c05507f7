"""The backup and restore commands of docs/operations.md restore a fleet completely."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from attrs import frozen

import messages
from operations.machine import Machine, commands
from servers import wait_until

SERVERS = [f"acme_web-{number}" for number in range(20)]
EXAMPLE = {"SQLite": "fleet-2026-01-31-030000.db", "PostgreSQL": "fleet-2026-01-31-030000.dump"}
"""The file name of the backup in the page's restore commands."""


@frozen
class Place:
    """A machine, and whether its receiver is on SQLite or PostgreSQL."""

    machine: Machine
    kind: str

    def back_up(self) -> Path:
        before = {*self.machine.backups.glob("*")}
        self.machine.do(commands(f"Back up {self.kind}"))
        (backup,) = {*self.machine.backups.glob("*")} - before
        return backup

    def restore(self, backup: Path) -> None:
        script = commands(f"Restore {self.kind}")
        assert 1 == script.count(EXAMPLE[self.kind])
        self.machine.do(script.replace(EXAMPLE[self.kind], backup.name))


@pytest.fixture(params=["SQLite", "PostgreSQL"])
def place(request: pytest.FixtureRequest) -> Place:
    name = {"SQLite": "installed", "PostgreSQL": "installed_with_postgres"}[request.param]
    return Place(request.getfixturevalue(name), request.param)


@pytest.fixture
def admin(place: Place) -> str:
    """The token of the first admin key, created before the first start as the page says."""
    key = place.machine.do("fleet keys create --name 'Ada Lovelace' --scope admin").strip()
    place.machine.start()
    return key


@contextmanager
def heartbeats(client: httpx.Client) -> Iterator[Counter[str]]:
    """Send heartbeats in the background; yields the number acknowledged for each server."""
    acknowledged: Counter[str] = Counter()
    enough = threading.Event()

    def send() -> None:
        while not enough.is_set():
            for name in SERVERS:
                beat = messages.heartbeat(server_id=name, hostname=f"{name}.example.com")
                client.post("/heartbeat", json=beat).raise_for_status()
                acknowledged[name] += 1

    sending = threading.Thread(target=send)
    sending.start()
    try:
        yield acknowledged
    finally:
        enough.set()
        sending.join()


def fleet(client: httpx.Client) -> dict[str, dict[str, Any]]:
    """The record of each server, by `server_id`."""
    found = client.get("/servers").raise_for_status().json()["servers"]
    return {each["server_id"]: each for each in found}


def events(client: httpx.Client) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get("/events").raise_for_status().json()["events"]
    return found


def test_backup_under_load_holds_every_heartbeat_acknowledged_before(
    place: Place, admin: str
) -> None:
    with place.machine.client(admin) as client:
        with heartbeats(client) as acknowledged:
            wait_until(lambda: len(acknowledged) == len(SERVERS))
            before = acknowledged.copy()
            backup = place.back_up()
            after = acknowledged.copy()
        assert 0o700 == backup.parent.stat().st_mode & 0o777
        counted = {name: each["heartbeat_count"] for name, each in fleet(client).items()}
        assert acknowledged == counted

    place.restore(backup)

    with place.machine.client(admin) as client:
        restored = fleet(client)
        assert {*SERVERS} == {*restored}
        for name, each in restored.items():
            # One more may have been in flight when the acknowledged ones were counted.
            assert before[name] <= each["heartbeat_count"] <= after[name] + 1
        assert "acme_web-3.example.com" == restored["acme_web-3"]["hostname"]
        beat = client.post("/heartbeat", json=messages.slim(server_id="acme_web-3")).json()
        assert restored["acme_web-3"]["heartbeat_count"] + 1 == beat["heartbeat_count"]


def test_restore_brings_back_exactly_the_backup(place: Place, admin: str) -> None:
    do = place.machine.do
    agent = do("fleet keys create --name acme --scope agent --servers 'acme_*'").strip()
    lost = do("fleet keys create --name lost --scope viewer").strip()
    lost_id = lost.split("_")[1]
    with place.machine.client(agent) as client:
        wait_until_known(place.machine, agent, lost)
        client.post("/register", json=messages.registration()).raise_for_status()
        client.post("/heartbeat", json=messages.heartbeat(hostname="moved")).raise_for_status()
    with place.machine.client(admin) as client:
        servers, happened = fleet(client), events(client)
        backup = place.back_up()
        client.post("/heartbeat", json=messages.heartbeat(server_id="later")).raise_for_status()
        client.delete("/servers/acme_web-1").raise_for_status()
    do(f"fleet keys revoke {lost_id}")
    young = do("fleet keys create --name young --scope viewer").strip()

    place.restore(backup)

    with place.machine.client(admin) as client:
        assert without_times(servers) == without_times(fleet(client))
        assert happened == events(client)
    with place.machine.client(agent) as client:
        beat = client.post("/heartbeat", json=messages.heartbeat()).json()
    assert servers["acme_web-1"]["heartbeat_count"] + 1 == beat["heartbeat_count"]
    # As the page warns, changes of keys since the backup are lost.
    assert 200 == status(place.machine, lost)
    assert 401 == status(place.machine, young)
    do(f"fleet keys revoke {lost_id}")
    wait_until(lambda: status(place.machine, lost) == 401)


def test_older_version_does_not_start_on_a_newer_schema(installed: Machine) -> None:
    installed.start()
    installed.stop()
    installed.do(
        "sqlite3 /var/lib/odoo-mcp-fleet/fleet.db \"UPDATE alembic_version SET version_num = '9'\""
    )

    with pytest.raises(AssertionError, match="are of version 9, and this receiver knows"):
        installed.start()


def wait_until_known(machine: Machine, *keys: str) -> None:
    """Wait until the running receiver accepts these new keys, which takes seconds."""
    wait_until(lambda: all(status(machine, key) != 401 for key in keys))


def status(machine: Machine, key: str) -> int:
    with machine.client(key) as client:
        return client.get("/servers").status_code


def without_times(servers: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The records without the fields that change with time."""
    return {
        name: {key: value for key, value in each.items() if key not in {"state", "stale"}}
        for name, each in servers.items()
    }

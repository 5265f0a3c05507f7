"""
The MCP registry, read by a client that others wrote: `mcp-registry-sdk`.

The SDK checks each answer by its own models of the MCP Registry API. It needs Python 3.13.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
from sqlalchemy import make_url

import messages
from keyring import bearer, keep, made
from receiver.app import Tuning, create_app
from receiver.store import SqlStore
from servers import ANY_PAUSE_SECONDS, Clock, serve

T = TypeVar("T")
Read = Callable[[Callable[[Any], Coroutine[Any, Any, T]]], T]

sdk: Any = import_module("mcpreg")
sync: Any = import_module("mcpreg.sync")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tokens(tmp_path: Path) -> dict[str, str]:
    """The token of a key of each scope that the test needs, which the database has."""
    url = f"sqlite:///{tmp_path / 'fleet.db'}"
    SqlStore(make_url(url)).close()
    keys = {scope: made(scope) for scope in ("agent", "registry")}
    keep(url, *(key for key, _ in keys.values()))
    return {scope: token for scope, (_, token) in keys.items()}


@pytest.fixture
def receiver(tmp_path: Path, clock: Clock, tokens: dict[str, str]) -> Iterator[httpx.Client]:
    """A receiver that hears of five servers."""
    environ = {"FLEET_DATABASE_URL": f"sqlite:///{tmp_path / 'fleet.db'}"}
    tuning = Tuning(absence_seconds=ANY_PAUSE_SECONDS)
    with serve(create_app(environ=environ, clock=clock, tuning=tuning)) as client:
        client.headers = bearer(tokens["agent"])
        for number in range(5):
            send(client, number)
        yield client


@pytest.fixture
def read(receiver: httpx.Client, tokens: dict[str, str]) -> Read[Any]:
    """Runs a coroutine function with a client of the SDK, which sends no key."""

    def run(act: Callable[[Any], Coroutine[Any, Any, Any]]) -> Any:
        async def with_client() -> Any:
            url = f"{str(receiver.base_url).rstrip('/')}/registry/{tokens['registry']}"
            async with sdk.RegistryClient(sdk.RegistrySettings(base_url=url)) as client:
                return await act(client)

        return asyncio.run(with_client())

    return run


def send(receiver: httpx.Client, number: int, **said: Any) -> None:
    given = {"server_id": f"acme{number}_web", "database": f"acme{number}"}
    given |= {"database_uuid": f"u{number}", "endpoint_url": "https://acme.example/mcp", **said}
    receiver.post("/heartbeat", json=messages.heartbeat(**given)).raise_for_status()


def called(entries: list[Any]) -> list[str]:
    return [each.server.title for each in entries]


def test_sdk_walks_through_all_pages(read: Read[Any]) -> None:
    async def walk(client: Any) -> list[Any]:
        return [each async for each in client.iter_servers(limit=2, version="latest")]

    entries = read(walk)

    assert [f"acme{n} (production)" for n in range(5)] == called(entries)
    assert {"active"} == {each.status.value for each in entries}
    for each in entries:
        assert "https://acme.example/mcp" == each.server.remotes[0].url
        assert each.server.remotes[0].headers[0].variables


def test_sdk_finds_an_entry_by_its_name(read: Read[Any]) -> None:
    async def look(client: Any) -> tuple[Any, Any, Any]:
        (found,) = (await client.list_servers(search="acme3")).servers
        name = found.server.name
        return found, await client.get_version(name), await client.list_versions(name)

    found, latest, versions = read(look)

    assert found == latest
    assert [found] == versions.servers


def test_sdk_is_told_that_there_is_no_such_entry(read: Read[Any]) -> None:
    async def look(client: Any) -> None:
        await client.get_version("local.fleet/nobody-aaaaaaaaaaaaaaaa")

    with pytest.raises(sdk.NotFoundError):
        read(look)


def test_sdk_keeps_an_index_up_to_date(
    read: Read[Any], receiver: httpx.Client, clock: Clock
) -> None:
    store = sync.InMemorySyncStateStore()

    async def scrape(client: Any) -> list[str]:
        pages = sync.resumable_scrape(client, store, limit=2)
        return called([each async for page in pages for each in page.upserts])

    async def pull(client: Any) -> tuple[list[str], list[str]]:
        pages = [page async for page in sync.incremental_pull(client, store, limit=1)]
        return (
            called([each for page in pages for each in page.upserts]),
            called([each for page in pages for each in page.removals]),
        )

    assert 5 == len(read(scrape))
    clock.advance(60)
    for number in range(5):
        send(receiver, number)
    send(receiver, 1, version="2.0.0")
    send(receiver, 3, status="uninstalled")

    # The servers that were updated last are told again, as the time is that of their update.
    clock.advance(60)
    send(receiver, 4, version="2.0.0")
    upserts, removals = read(pull)
    assert {"acme1 (production)", "acme4 (production)"} <= {*upserts}
    assert ["acme3 (production)"] == removals
    assert (["acme4 (production)"], []) == read(pull)

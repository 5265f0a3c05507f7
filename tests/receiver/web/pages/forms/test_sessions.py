"""The end of a session on all receivers of a database, and the secret that they share."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import httpx
import pytest
from sqlalchemy import Engine, make_url, text

from form_filling import (
    KeyOfEachScope,
    cookies,
    fault,
    new_browser,
    notice,
    receiver_on,
    rows,
    signed_in,
    signs_out,
    title,
)
from keyring import bearer
from receiver.store import SqlStore
from servers import Clock, wait_until


@pytest.fixture
def other(database_url: str, clock: Clock, receiver: httpx.Client) -> Iterator[httpx.Client]:
    """A second receiver on the same database."""
    with receiver_on(database_url, clock) as client:
        yield client


@pytest.mark.both_databases
def test_sign_out_ends_the_session(
    receiver: httpx.Client, held: KeyOfEachScope, engine: Engine
) -> None:
    signed_in(receiver, held.tokens["viewer"])
    stolen = receiver.cookies["fleet_session"]

    signed_out = signs_out(receiver)

    assert (303, "./sign-in") == (signed_out.status_code, signed_out.headers["location"])
    assert "Max-Age=0" in cookies(signed_out)["fleet_session"][1]
    assert [] == rows(engine)
    page = receiver.get("/sign-in")
    assert (200, "Sign in", "You are signed out.") == (page.status_code, title(page), notice(page))
    assert None is notice(receiver.get("/sign-in"))
    thief = new_browser(receiver)
    thief.cookies.set("fleet_session", stolen)
    assert 401 == thief.get("/").status_code


@pytest.mark.both_databases
def test_session_is_shared_by_receivers_of_one_database(
    receiver: httpx.Client, other: httpx.Client, held: KeyOfEachScope
) -> None:
    signed_in(receiver, held.tokens["viewer"])
    other.cookies.set("fleet_session", receiver.cookies["fleet_session"])

    assert 200 == other.get("/").status_code
    signs_out(receiver)
    assert 401 == other.get("/").status_code


@pytest.mark.both_databases
@pytest.mark.parametrize("change", ["revoke", "rotate"])
def test_revoked_or_rotated_key_ends_its_sessions_on_all_receivers(
    receiver: httpx.Client, other: httpx.Client, held: KeyOfEachScope, change: str
) -> None:
    signed_in(receiver, held.tokens["viewer"])
    other.cookies.set("fleet_session", receiver.cookies["fleet_session"])
    path = f"/keys/{held.keys['viewer'].id}"
    method, path = ("DELETE", path) if change == "revoke" else ("POST", f"{path}/rotate")

    receiver.request(method, path, headers=bearer(held.tokens["admin"])).raise_for_status()

    refused = receiver.get("/")
    assert 401 == refused.status_code
    assert "Sign out" not in refused.text
    wait_until(lambda: other.get("/").status_code == 401)


@pytest.mark.both_databases
def test_expired_key_ends_its_sessions(
    receiver: httpx.Client, held: KeyOfEachScope, clock: Clock
) -> None:
    asked = {"name": "short", "scope": "viewer", "expires_at": "2026-01-31T13:00:00Z"}
    short = receiver.post("/keys", json=asked, headers=bearer(held.tokens["admin"])).json()
    signed_in(receiver, short["token"])
    clock.advance(3600)

    refused = receiver.get("/")

    assert 401 == refused.status_code
    assert "This key has expired." in fault(refused)


@pytest.mark.both_databases
def test_session_of_an_unknown_key_is_refused(
    receiver: httpx.Client, held: KeyOfEachScope, engine: Engine
) -> None:
    signed_in(receiver, held.tokens["viewer"])
    with engine.begin() as connection:
        connection.execute(text("UPDATE sessions SET key_id = 'gone'"))

    assert 401 == receiver.get("/").status_code


@pytest.fixture
def neighbour(database_url: str, store: SqlStore) -> Iterator[SqlStore]:
    """A second receiver's store in the same database."""
    with closing(SqlStore(make_url(database_url))) as neighbour:
        yield neighbour


@pytest.mark.both_databases
def test_session_secret_is_made_once_and_shared(store: SqlStore, neighbour: SqlStore) -> None:
    secret = store.sessions.secret("a")

    assert 32 == len(secret)
    assert secret == store.sessions.secret("a") == neighbour.sessions.secret("a")
    assert secret != store.sessions.secret("b")


@pytest.mark.both_databases
def test_concurrent_receivers_share_one_session_secret(database_url: str) -> None:
    for n in range(5):
        stores = [SqlStore(make_url(database_url)) for _ in range(4)]
        with ThreadPoolExecutor(4) as pool:
            found = {*pool.map(lambda store, name=f"{n}": store.sessions.secret(name), stores)}
        for store in stores:
            store.close()
        assert 1 == len(found)

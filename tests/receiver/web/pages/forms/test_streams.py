"""Event streams end with the key or the session that opened them."""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import timedelta
from functools import partial
from pathlib import Path

import httpx
import pytest
from attrs import evolve
from sqlalchemy import make_url

from form_filling import new_browser, signed_in, signs_out
from keyring import bearer, keep, made
from receiver.app import Tuning, create_app
from receiver.domain.keys import Power
from receiver.store import SqlStore
from receiver.web.routing import Guarded
from receiver.web.sse import event_stream
from servers import ANY_PAUSE_SECONDS, Clock, serve, wait_until


@contextmanager
def streaming(
    database_url: str, clock: Clock, *, session_seconds: float = 60.0
) -> Iterator[tuple[httpx.Client, SqlStore]]:
    """A receiver whose event streams check key and session often, and a store of its database."""
    app = create_app(
        environ={"FLEET_DATABASE_URL": database_url},
        clock=clock,
        tuning=Tuning(absence_seconds=ANY_PAUSE_SECONDS, look_seconds=0.05),
    )
    endpoint = partial(event_stream, look_seconds=0.05, session_seconds=session_seconds)
    route = Guarded("/events/stream", endpoint, methods=["GET"], needs=Power.READ)
    app.router.routes.insert(0, route)
    with serve(app) as client, closing(SqlStore(make_url(database_url))) as store:
        yield client, store


@contextmanager
def followed(client: httpx.Client, **headers: str) -> Iterator[Callable[[], bool]]:
    """Read a stream in a thread; yields a function that says whether the stream has ended."""
    with new_browser(client).stream("GET", "/events/stream", headers=headers) as answer:
        assert 200 == answer.status_code
        pieces = answer.iter_text()
        assert "retry" in next(pieces)

        def read() -> None:
            with suppress(httpx.TransportError):
                for _ in pieces:
                    pass

        reading = threading.Thread(target=read)
        reading.start()
        yield lambda: not reading.is_alive()
        wait_until(lambda: not reading.is_alive())


@pytest.mark.both_databases
@pytest.mark.parametrize("by", ["key", "session"])
@pytest.mark.parametrize("change", ["revoked", "rotated", "expired"])
def test_stream_ends_with_its_key(database_url: str, clock: Clock, by: str, change: str) -> None:
    key, token = made("viewer")
    key = evolve(key, expires_at=clock.now + timedelta(hours=1))
    keep(database_url, key)
    with streaming(database_url, clock) as (client, store):
        headers = bearer(token) if by == "key" else session_of(client, token)
        with followed(client, **headers) as has_ended:
            time.sleep(0.3)  # the stream looks at its key several times meanwhile
            assert not has_ended()
            if change == "revoked":
                store.keys.revoke(key.id, clock.now)
            elif change == "rotated":
                store.keys.rotate(key.id, bytes(32), key.expires_at)
            else:
                clock.advance(3600)
            wait_until(has_ended)
        assert 401 == new_browser(client).get("/events/stream", headers=headers).status_code


def session_of(client: httpx.Client, token: str) -> dict[str, str]:
    """Sign in; the Cookie header that a browser would send then."""
    browser = signed_in(new_browser(client), token)
    return {"Cookie": f"fleet_session={browser.cookies['fleet_session']}"}


def test_keyless_stream_ends_when_the_first_key_is_made(database_url: str, clock: Clock) -> None:
    with streaming(database_url, clock) as (client, store), followed(client) as has_ended:
        time.sleep(0.3)  # the stream looks at its key several times meanwhile
        assert not has_ended()
        store.keys.add(made("viewer")[0])


@pytest.mark.both_databases
def test_stream_of_a_session_ends_at_sign_out(database_url: str, clock: Clock) -> None:
    viewer, token = made("viewer")
    keep(database_url, viewer)
    with streaming(database_url, clock, session_seconds=0.2) as (client, store):
        browser = signed_in(new_browser(client), token)
        cookie = {"Cookie": f"fleet_session={browser.cookies['fleet_session']}"}
        with followed(client, **cookie) as stays, followed(client, **bearer(token)) as goes_on:
            time.sleep(0.5)  # it looks at its session several times meanwhile
            assert (False, False) == (stays(), goes_on())
            signs_out(browser)
            wait_until(stays)
            assert not goes_on()
            store.keys.revoke(viewer.id, clock.now)


def test_stream_of_a_session_ends_with_the_session(sqlite_url: str, clock: Clock) -> None:
    viewer, token = made("viewer")
    keep(sqlite_url, viewer)
    with streaming(sqlite_url, clock) as (client, _):
        headers = session_of(client, token)
        with followed(client, **headers):
            clock.advance(12 * 3600)


def test_stream_of_a_session_survives_a_database_failure(
    sqlite_url: str, clock: Clock, tmp_path: Path
) -> None:
    viewer, token = made("viewer")
    keep(sqlite_url, viewer)
    with (
        streaming(sqlite_url, clock, session_seconds=0.1) as (client, store),
        followed(client, **session_of(client, token)) as has_ended,
        closing(sqlite3.connect(tmp_path / "fleet.db")) as database,
    ):
        database.execute("ALTER TABLE sessions RENAME TO gone")
        time.sleep(0.5)  # it looks at its session several times meanwhile
        assert not has_ended()
        database.execute("ALTER TABLE gone RENAME TO sessions")
        store.keys.revoke(viewer.id, clock.now)

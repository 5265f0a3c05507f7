"""
The receivers to attack: one without keys and with default connections, and one with keys and
with `receiver.connections:Careful`, which bounds slow and oversized requests.
"""

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime, timezone
from pathlib import Path

import pytest

import receiver
from attacks.law import Target
from commanding import Command
from postgres import Postgres, running_postgres
from receiver.app import Tuning, create_app
from receiver.connections import Careful
from servers import ANY_PAUSE_SECONDS, Clock, serve

KEEP_ALIVE_SECONDS = 1
"""
How long a receiver keeps a connection on which nothing happens.

Some tests wait for the end of a connection, to see all that a receiver makes of their bytes.
"""


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with running_postgres() as postgres:
        yield postgres


@pytest.fixture(scope="module", params=["keyless on SQLite", "keyed on PostgreSQL"])
def running(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Target]:
    """Each of the two receivers; all tests share it, with everything that they store in it."""
    folder = tmp_path_factory.mktemp("receiver")
    with ExitStack() as stack:
        if request.param == "keyless on SQLite":
            url = f"sqlite:///{folder / 'fleet.db'}"
        else:
            postgres: Postgres = request.getfixturevalue("postgres")
            url = postgres.url(stack.enter_context(postgres.new_database()))
        # Open, because a receiver for its own machine refuses who lets each connection close.
        environ = {
            "FLEET_DATABASE_URL": url,
            "FLEET_MESSAGES_PER_MINUTE": "1000000",
            "FLEET_OPEN": "1",
        }
        key = None if "keyless" in request.param else make_key(environ)
        app = create_app(
            environ=environ, clock=Clock(), tuning=Tuning(absence_seconds=ANY_PAUSE_SECONDS)
        )
        http = "auto" if key is None else Careful
        client = stack.enter_context(serve(app, http=http, timeout_keep_alive=KEEP_ALIVE_SECONDS))
        hidden = [url, folder, Path(receiver.__file__).parent, sys.prefix, *([key] if key else [])]
        assert client.base_url.port is not None
        yield Target(
            host=client.base_url.host,
            port=client.base_url.port,
            key=key,
            hidden=tuple(str(each).encode() for each in hidden),
        )


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A receiver without keys that serves only direct clients of its own machine."""
    folder = tmp_path_factory.mktemp("closed")
    url = f"sqlite:///{folder / 'fleet.db'}"
    app = create_app(environ={"FLEET_DATABASE_URL": url}, clock=Clock())
    with serve(app, http="auto") as client:
        assert client.base_url.port is not None
        yield Target(
            host=client.base_url.host,
            port=client.base_url.port,
            key=None,
            hidden=(str(folder).encode(),),
            is_closed=True,
        )


@pytest.fixture
def target(running: Target) -> Iterator[Target]:
    """The receiver; asserts after the test that it is healthy and accepts a heartbeat."""
    with running.kept_alive():
        yield running


def make_key(environ: dict[str, str]) -> str:
    """Create an admin key; returns the token."""
    create = ("keys", "create", "--name", "attacker", "--scope", "admin")
    (key,) = Command(environ, lambda: datetime.now(timezone.utc))(*create).said
    return key

"""Stores whose connections to PostgreSQL go through a proxy."""

from collections.abc import Iterator

import pytest
from sqlalchemy import make_url

from cut_connections import ask_for_long
from postgres import Postgres
from proxy import Proxy
from receiver.store import SqlStore
from watched import beats, have_patience


@pytest.fixture
def proxy(postgres: Postgres) -> Iterator[Proxy]:
    proxy = Proxy(postgres)
    yield proxy
    proxy.close()


@pytest.fixture
def store(postgres: Postgres, postgresql_url: str, proxy: Proxy) -> Iterator[SqlStore]:
    """A store with one server, connected through the proxy."""
    url = postgresql_url.replace(str(postgres.socket_folder), str(proxy.folder))
    store = SqlStore(make_url(url))
    store.servers.apply(beats("a"))
    yield store
    store.close()


@pytest.fixture
def truth(store: SqlStore, postgresql_url: str) -> Iterator[SqlStore]:
    """A store of the same database that bypasses the proxy, to read what was committed."""
    truth = SqlStore(make_url(postgresql_url))
    yield truth
    truth.close()


@pytest.fixture
def direct(postgresql_url: str) -> Iterator[SqlStore]:
    """A store without a proxy."""
    direct = SqlStore(make_url(postgresql_url))
    yield direct
    direct.close()


@pytest.fixture
def patience(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Let the store wait half a minute for locks, and ask for a minute what became of a commit.

    A broken connection leaves a lock until PostgreSQL notices. On a busy machine that may take
    longer than the two seconds after which a receiver refuses the message, or does not know.
    """
    have_patience(store)
    ask_for_long(monkeypatch)

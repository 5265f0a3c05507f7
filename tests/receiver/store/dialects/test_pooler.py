"""
A store behind a pooler puts nothing into its connection that outlives a transaction.

The pooler is a proxy that gives each connection another process id, as pgbouncer does; the
session `faults` runs receivers behind pgbouncer itself.
"""

import asyncio
from collections.abc import Iterator
from contextlib import closing

import pytest
from sqlalchemy import make_url

from postgres import Postgres
from proxy import Proxy
from receiver.store import SqlStore, listen
from servers import PATIENCE_SECONDS
from watched import beats

PROCESS_ID = b"K\x00\x00\x00\x0c"  # the beginning of BackendKeyData, which the id follows


@pytest.fixture
def pooled_url(postgres: Postgres, postgresql_url: str) -> Iterator[str]:
    proxy = Proxy(postgres)

    def renamed(data: bytes) -> bytes:
        before, found, rest = data.partition(PROCESS_ID)
        return before + found + b"\x7f\xff\xff\xff" + rest[4:] if found else data

    proxy.changed = renamed
    yield postgresql_url.replace(str(postgres.socket_folder), str(proxy.folder))
    proxy.close()


def prepared(url: str) -> int:
    """How many statements a store has prepared after some transactions."""
    with closing(SqlStore(make_url(url))) as store:
        for _ in range(10):
            store.servers.apply(beats("a"))
        return store.transactions.write(
            lambda connection: int(
                connection.exec_driver_sql("SELECT count(*) FROM pg_prepared_statements").scalar()
                or 0
            )
        )


def test_statements_are_prepared_without_a_pooler_only(
    pooled_url: str, postgresql_url: str
) -> None:
    assert 0 == prepared(pooled_url)
    assert prepared(postgresql_url) > 0


def test_settings_end_with_each_transaction(
    postgres: Postgres, pooled_url: str, postgresql_url: str
) -> None:
    name = make_url(postgresql_url).database
    postgres.sql(f"ALTER DATABASE {name} SET synchronous_commit = off")
    settings = ("lock_timeout", "statement_timeout", "synchronous_commit")
    store = SqlStore(make_url(pooled_url))
    with closing(store), store.transactions.read() as connection:
        inside = [connection.exec_driver_sql(f"SHOW {each}").scalar_one() for each in settings]
        driver = connection.connection.dbapi_connection
        assert driver is not None
        driver.commit()  # a rollback would undo also what was set for the whole connection
        outside = [driver.execute(f"SHOW {each}").fetchone()[0] for each in settings]

    assert ["2s", "30s", "on"] == inside
    assert ["0", "0", "off"] == outside


def test_listening_behind_a_pooler_returns_at_once(pooled_url: str) -> None:
    heard: list[bool] = []

    async def scenario() -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await listen(make_url(pooled_url), lambda: heard.append(True))

    asyncio.run(scenario())

    assert [] == heard

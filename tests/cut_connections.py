"""Test helper: the bytes by which a proxy knows what it cuts, and what PostgreSQL does then."""

import psycopg
import pytest

from receiver.store import SqlStore, transactions

__all__ = ["COMMIT", "PING", "TIMELY_SECONDS", "ask_for_long", "is_waiting_for_a_lock", "terminate"]

COMMIT = b"COMMIT\0"  # in the client's request and in the server's answer
PING = b";\0"  # the empty statement by which SQLAlchemy asks whether a connection works

TIMELY_SECONDS = 9.5
"""
In less than this a call fails that waits for two seconds in all, also on a busy machine.

Five attempts, of two seconds each, would take longer.
"""

TERMINATE = """
    SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


def ask_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transactions, "LOCK_SECONDS", 60.0)


def is_waiting_for_a_lock(store: SqlStore) -> bool:
    with store.transactions.read() as connection:
        waiting = connection.exec_driver_sql(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        return bool(waiting.scalar_one())


def terminate(url: str) -> None:
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as administrator:
        administrator.execute(TERMINATE)

"""
Finds out whether a pooler, such as pgbouncer, stands between a receiver and PostgreSQL.

In its transaction mode a pooler gives each transaction whichever connection to PostgreSQL is free.
So what belongs to a connection is lost or reaches others: prepared statements, settings, and
LISTEN. Nothing tells the mode of a pooler, and what works in that mode works in all of them.
"""

from typing import Any

__all__ = ["ASK", "is_pooled"]

ASK = b"SELECT pg_backend_pid()"
"""The statement whose answer `is_pooled` needs."""


def is_pooled(connection: Any, backend_pid: int) -> bool:
    """
    Whether a pooler has answered when psycopg made a connection.

    It then gave a process id of its own, as the process that serves the connection changes.

    Args:
        connection: The connection.
        backend_pid: The process id that PostgreSQL itself has answered.
    """
    return bool(connection.info.backend_pid != backend_pid)

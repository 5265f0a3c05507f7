"""
Finds out whether a pooler, such as pgbouncer, stands between a receiver and PostgreSQL.

In its transaction mode a pooler runs each transaction on whichever connection to PostgreSQL is
free. So prepared statements, settings and LISTEN, which belong to a connection, are lost or affect
other clients. A client cannot find out the mode of a pooler; what works in the transaction mode
works in all modes.
"""

from typing import Any

__all__ = ["ASK", "is_pooled"]

ASK = b"SELECT pg_backend_pid()"
"""The statement that returns the `backend_pid` for `is_pooled`."""


def is_pooled(connection: Any, backend_pid: int) -> bool:
    """
    Whether a connection of psycopg leads to a pooler, and not to PostgreSQL directly.

    A pooler tells each new client a process id of its own, because the process of PostgreSQL that
    serves the client changes.

    Args:
        connection: The connection, which holds the process id that it was told.
        backend_pid: The process id that PostgreSQL has returned for the statement `ASK`.
    """
    return bool(connection.info.backend_pid != backend_pid)

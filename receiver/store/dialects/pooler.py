"""
Finds out whether a pooler, such as pgbouncer, stands between a receiver and PostgreSQL.

In its transaction mode a pooler runs each transaction on whichever connection to PostgreSQL is
free. So prepared statements, settings and LISTEN, which belong to a connection, are lost or affect
other clients. A client cannot find out the mode of a pooler, so a receiver assumes the transaction
mode: what works in it works in all modes.
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
        connection: The connection. It knows the process id that it was told when it was made.
        backend_pid: The process id that the statement `ASK` has returned over this connection.
    """
    return bool(connection.info.backend_pid != backend_pid)

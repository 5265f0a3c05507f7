"""Test helper: a port for a program that a test starts."""

import secrets
import socket
from contextlib import suppress

__all__ = ["free_port"]

_FIRST, _LAST = 20_000, 32_767


def free_port() -> int:
    """
    A port at which nobody listens, and which no other program gets by chance.

    It is below those that the system gives to whoever asks for any, as thousands of connections
    and servers of other tests do between this call and the start of a slow program.
    """
    while True:
        port = _FIRST + secrets.randbelow(_LAST - _FIRST + 1)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port

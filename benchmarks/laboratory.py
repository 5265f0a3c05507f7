"""Starting the server processes that are measured; they all run until the benchmarks end."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

from attrs import evolve, frozen

from postgres import Postgres
from processes import Server, running

__all__ = ["DATABASES", "Laboratory", "laboratory"]

DATABASES = ("SQLite", "PostgreSQL")


@frozen(kw_only=True)
class Laboratory:
    """
    Starts server processes, which run until the context manager `laboratory` exits.

    Attributes:
        folder: A temporary folder for files and SQLite databases.
    """

    folder: Path
    _postgres: Postgres
    _running: ExitStack

    def plain_handler(self) -> Server:
        return self.run(running("plain:app", folder=self.folder))

    def receiver(self, database: str, name: str, *, keys: bool = False) -> Server:
        """Start a receiver with an empty database; `keys` creates one agent and one admin key."""
        if database == "SQLite":
            url = f"sqlite:///{self.folder / name}.db"
        else:
            self._postgres.create_database(name)
            url = self._postgres.url(name)
        settings = {"FLEET_DATABASE_URL": url, **_UNLIMITED}
        made = {scope: _key(scope, settings) for scope in ("agent", "admin") if keys}
        server = running("receiver.app:app", folder=self.folder, **settings)
        return evolve(self.run(server), keys=made)

    def run(self, server: AbstractContextManager[Server]) -> Server:
        """Start a server that is no receiver."""
        return self._running.enter_context(server)

    def settle(self, database: str, name: str) -> None:
        """Vacuum and analyze a PostgreSQL database now, not minutes later as autovacuum would."""
        if database == "PostgreSQL":
            self._postgres.sql("VACUUM ANALYZE", database=name)


def _key(scope: str, settings: Mapping[str, str]) -> str:
    """Create a key by the receiver's command line; returns the token."""
    made = subprocess.run(
        [
            *(sys.executable, "-m", "receiver", "keys", "create"),
            *("--name", scope, "--scope", scope),
        ],
        env={**os.environ, **settings},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return made.stdout.strip()


_UNLIMITED = {
    f"FLEET_{name}": "999999999"
    for name in ("MESSAGES_PER_MINUTE", "CHANGES_PER_HOUR", "SERVERS_PER_KEY")
}


@contextmanager
def laboratory(postgres: Postgres) -> Iterator[Laboratory]:
    with tempfile.TemporaryDirectory(prefix="fleet-bench-") as folder, ExitStack() as stack:
        yield Laboratory(folder=Path(folder), postgres=postgres, running=stack)

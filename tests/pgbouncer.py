"""Test helper: a real pgbouncer, which must be installed, in front of a PostgreSQL."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from postgres import Postgres
from servers import wait_until

CONFIGURATION = """\
[databases]
* = host={socket_folder} user=postgres

[pgbouncer]
listen_port = 6432
unix_socket_dir = {folder}
auth_type = any
pool_mode = {mode}
max_client_conn = 500
default_pool_size = {size}
logfile = {folder}/log
"""


@contextmanager
def running_pgbouncer(postgres: Postgres, *, mode: str, size: int) -> Iterator[Path]:
    """
    Start pgbouncer with default settings; yields the folder of its Unix socket for port 6432.

    Args:
        postgres: The database server.
        mode: `transaction` or `session`.
        size: How many connections pgbouncer makes to each database.
    """
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        pytest.fail("This test needs pgbouncer: apt-get install pgbouncer")
    # It refuses to run as root; only PostgreSQL's user has access to the folder of its socket.
    user = postgres.system_user
    folder = Path(tempfile.mkdtemp(prefix="fleet-pgbouncer-"))
    if user is not None:
        shutil.chown(folder, user)
    settings = folder / "pgbouncer.ini"
    settings.write_text(
        CONFIGURATION.format(
            folder=folder, socket_folder=postgres.socket_folder, mode=mode, size=size
        )
    )
    settings.chmod(0o644)
    process = subprocess.Popen([program, "-q", settings], user=user)
    try:
        wait_until(lambda: (folder / ".s.PGSQL.6432").exists() or process.poll() is not None)
        assert process.poll() is None, (folder / "log").read_text()
        yield folder
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(folder)


def url(folder: Path, database: str) -> str:
    """The URL of a database behind pgbouncer, for a receiver."""
    return f"postgresql+psycopg://postgres@/{database}?host={folder}&port=6432"

"""Where servers run side by side until the measuring is over."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from attrs import frozen

from postgres import Postgres
from processes import Server, running

__all__ = ["DATABASES", "Laboratory", "laboratory"]

DATABASES = ("SQLite", "PostgreSQL")


@frozen(kw_only=True)
class Laboratory:
    """
    Starts servers; leaving it ends them.

    Attributes:
        folder: For files; it is deleted in the end.
    """

    folder: Path
    _postgres: Postgres
    _running: ExitStack

    def plain_handler(self) -> Server:
        return self._running.enter_context(running("plain:app", folder=self.folder))

    def receiver(self, database: str, name: str) -> Server:
        """A receiver with an empty database of its own."""
        if database == "SQLite":
            url = f"sqlite:///{self.folder / name}.db"
        else:
            self._postgres.create_database(name)
            url = self._postgres.url(name)
        return self._running.enter_context(
            running("receiver.app:app", folder=self.folder, FLEET_DATABASE_URL=url)
        )

    def settle(self, database: str, name: str) -> None:
        """Do at once what PostgreSQL does by itself within minutes after a table was filled."""
        if database == "PostgreSQL":
            self._postgres.sql("VACUUM ANALYZE", database=name)


@contextmanager
def laboratory(postgres: Postgres) -> Iterator[Laboratory]:
    with tempfile.TemporaryDirectory(prefix="fleet-bench-") as folder, ExitStack() as stack:
        yield Laboratory(folder=Path(folder), postgres=postgres, running=stack)

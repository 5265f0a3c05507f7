"""The versions of the tables. Opening a store upgrades its database to the newest one."""

from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import Connection, column, inspect, select, table

__all__ = [
    "COMING",
    "MOVED",
    "NEWEST",
    "applied",
    "is_known",
    "is_upgradable",
    "trouble",
    "upgrade",
]

NEWEST = "0023"
"""The revision of the newest file in `versions`."""

MOVED = "moved-"
"""What stands before the version of the tables of a fleet that was moved to another database."""

COMING = "coming-"
"""What stands before the version of tables into which a fleet is being moved, or imported."""

_MARKS = {
    MOVED: "the fleet was moved to another database; set FLEET_DATABASE_URL to that one and "
    "restart the receiver, or bring the fleet back with: odoo-mcp-fleet move --cancel",
    COMING: "a fleet is being moved or imported into the database, which has only a part of it so "
    "far; run the command that does it again, to its end",
}

_APPLIED = table("alembic_version", column("version_num"))


def applied(connection: Connection) -> list[str]:
    """The versions of the tables of a database: usually one, or none when there are no tables."""
    if not inspect(connection).has_table(_APPLIED.name):
        return []
    return sorted(connection.scalars(select(_APPLIED.c.version_num)))


def trouble(versions: Sequence[str], *, is_start: bool = False) -> str | None:
    """
    Why a receiver of this version cannot use tables of these versions, in words; None when it can.

    When a receiver starts (`is_start`), it upgrades older tables and creates missing ones. Later it
    does neither, because a database that was removed must not be replaced by an empty one
    unnoticed, and tables that are being restored may not be complete yet.
    """
    if versions == [NEWEST]:
        return None
    found = ", ".join(versions)
    marked = [trouble for mark, trouble in _MARKS.items() if found.startswith(mark)]
    if marked:
        return marked[0]
    if not {*versions} <= _known():
        return (
            f"the tables of the database are of version {found}, and this receiver knows versions "
            f"up to {NEWEST}; install the version of the receiver that upgraded them, or restore "
            "the backup from before the upgrade"
        )
    if is_start:
        return None
    if not versions:
        return (
            "the database has no tables of a fleet any more; put the database back, or restart "
            "the receiver to begin with an empty fleet"
        )
    return (
        f"the tables of the database are of version {found}, older than {NEWEST}, which this "
        "receiver uses; restart the receiver, which brings them up to date"
    )


def is_upgradable(versions: Sequence[str]) -> bool:
    """Whether a start upgrades tables of these versions, or creates them if there are none."""
    return versions != [NEWEST] and trouble(versions, is_start=True) is None


def is_known(version: str) -> bool:
    """Whether this receiver, or an earlier one, has tables of this version."""
    return version in _known()


def upgrade(connection: Connection, version: str = "head") -> None:
    """
    Run the migrations that a database lacks, in the transaction of the connection.

    Args:
        connection: The transaction.
        version: The version of the tables to which to bring them; the newest one by default.
    """
    # Not at the top: importing Alembic is a sixth of a start, and few starts upgrade anything.
    from alembic import command  # noqa: PLC0415 - see above
    from alembic.config import Config  # noqa: PLC0415 - see above

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connection"] = connection
    command.upgrade(config, version)


def _known() -> set[str]:
    """The versions whose migrations this receiver has: a file's name begins with its version."""
    files = (Path(__file__).parent / "versions").glob("[0-9]*_*.py")
    return {file.name.partition("_")[0] for file in files}

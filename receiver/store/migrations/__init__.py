"""The versions of the tables. Opening a store upgrades its database to the newest one."""

from pathlib import Path

from sqlalchemy import Connection, column, inspect, select, table

__all__ = ["NEWEST", "is_newest", "upgrade"]

NEWEST = "0007"
"""The revision of the newest file in `versions`."""

_APPLIED = table("alembic_version", column("version_num"))


def is_newest(connection: Connection) -> bool:
    """Whether the tables of a database are those that this version of the receiver uses."""
    if not inspect(connection).has_table(_APPLIED.name):
        return False
    return [NEWEST] == connection.scalars(select(_APPLIED.c.version_num)).all()


def upgrade(connection: Connection) -> None:
    """Run the migrations that a database lacks, in the transaction of the connection."""
    # Not at the top: importing Alembic is a sixth of a start, and few starts upgrade anything.
    from alembic import command  # noqa: PLC0415 - see above
    from alembic.config import Config  # noqa: PLC0415 - see above

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")

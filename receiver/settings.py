"""The settings of the receiver: environment variables that begin with `FLEET_`, read once."""

from collections.abc import Mapping
from importlib.util import find_spec

from attrs import frozen
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError
from starlette.config import Config

from receiver.errors import InvalidSetting

__all__ = ["Settings", "read_settings"]


@frozen(kw_only=True)
class Settings:
    """
    How a receiver runs.

    Attributes:
        database_url: Where the fleet is kept; its password is masked when shown.
    """

    database_url: URL


def read_settings(environ: Mapping[str, str]) -> Settings:
    """Read the settings. Raises InvalidSetting with a sentence that names the variable."""
    config = Config(environ=environ, env_prefix="FLEET_")

    return Settings(
        database_url=config("DATABASE_URL", cast=_database_url, default="sqlite:///fleet.db"),
    )


def _database_url(text: str) -> URL:
    try:
        url = make_url(text)
    except ArgumentError:
        url = None
    if url is not None and url.drivername == "sqlite" and _is_file(url):
        return url
    if url is not None and url.drivername == "postgresql+psycopg":
        if find_spec("psycopg") is None:
            raise InvalidSetting(
                "FLEET_DATABASE_URL: PostgreSQL needs a driver; "
                "install it with: pip install 'odoo-mcp-fleet[receiver,postgres]'"
            )
        return url
    raise InvalidSetting(
        "FLEET_DATABASE_URL: expected the address of a database, "
        "such as sqlite:///fleet.db, sqlite:////var/lib/fleet/fleet.db "
        "or postgresql+psycopg://user:password@host/fleet"
    )


def _is_file(url: URL) -> bool:
    # What is only in memory is another database on each connection, and lost with it.
    return url.database not in (None, "", ":memory:") and url.query.get("mode") != "memory"

"""The settings of the receiver: environment variables that begin with `FLEET_`, read once."""

from collections.abc import Mapping
from datetime import timedelta
from importlib.util import find_spec

from attrs import frozen
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError
from starlette.config import Config

from receiver.errors import InvalidSetting

__all__ = ["Settings", "read_settings"]

MOST_DAYS = 36_500
LEAST_SHARE = 0.5


@frozen(kw_only=True)
class Settings:
    """
    How a receiver runs.

    Attributes:
        database_url: Where the fleet is kept; its password is masked when shown.
        event_retention: How long events are kept.
        silent_share: Which part of the fleet falls silent at once for it to be an event.
    """

    database_url: URL
    event_retention: timedelta
    silent_share: float


def read_settings(environ: Mapping[str, str]) -> Settings:
    """Read the settings. Raises InvalidSetting with a sentence that names the variable."""
    config = Config(environ=environ, env_prefix="FLEET_")

    return Settings(
        database_url=config("DATABASE_URL", cast=_database_url, default="sqlite:///fleet.db"),
        event_retention=config("EVENT_RETENTION_DAYS", cast=_days, default="90"),
        silent_share=config("SILENT_SHARE", cast=_share, default="0.5"),
    )


def _days(text: str) -> timedelta:
    if not (text.isascii() and text.isdigit() and len(text) <= 6 and 1 <= int(text) <= MOST_DAYS):
        raise InvalidSetting(
            f"FLEET_EVENT_RETENTION_DAYS: expected a whole number of days from 1 to {MOST_DAYS}"
        )
    return timedelta(days=int(text))


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not LEAST_SHARE <= share <= 1:
        raise InvalidSetting(f"FLEET_SILENT_SHARE: expected a number from {LEAST_SHARE} to 1")
    return share


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

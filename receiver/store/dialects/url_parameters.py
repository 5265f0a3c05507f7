"""Parses a database URL, and checks its query parameters before the URL is used."""

from collections.abc import Mapping

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from receiver.domain.errors import InvalidSetting

__all__ = ["check_url", "parse_url"]


def parse_url(text: str) -> URL | None:
    """The parts of a database URL, of any kind of database; None for another text."""
    try:
        return make_url(text)
    except (ArgumentError, ValueError):  # ValueError: the port is no number
        return None


def check_url(url: URL) -> None:
    """Raise InvalidSetting, with the reason, if a database URL or a parameter in it is wrong."""
    if url.get_backend_name() == "sqlite":
        _check_sqlite(url.query)
        url = url.set(query={})
    else:
        _check_postgresql(url.query)
    try:
        url.get_dialect()().create_connect_args(url)
    except (ArgumentError, ValueError) as error:
        raise _invalid(str(error).partition("\n")[0]) from error


def _check_sqlite(query: Mapping[str, object]) -> None:
    for name, value in query.items():
        if name != "mode":
            raise _invalid(f"the parameter {name} cannot be used; SQLite has only mode")
        if value not in {"rw", "rwc"}:
            raise _invalid("the parameter mode: expected rw or rwc")


def _check_postgresql(query: Mapping[str, object]) -> None:
    from psycopg.pq import Conninfo  # noqa: PLC0415 - only PostgreSQL needs it

    known = {option.keyword.decode() for option in Conninfo.get_defaults()} - _NOT_FREE.keys()
    for name, value in query.items():
        if name not in known:
            reason = _NOT_FREE.get(name, "PostgreSQL's libpq has no such parameter")
            raise _invalid(f"the parameter {name} cannot be used: {reason}")
        if not isinstance(value, str) and name not in {"host", "port"}:
            raise _invalid(f"the parameter {name} is given more than once")
        if name in _WHOLE_NUMBERS and not (str(value).isascii() and str(value).isdigit()):
            raise _invalid(f"the parameter {name}: expected a whole number")


def _invalid(reason: str) -> InvalidSetting:
    return InvalidSetting(f"FLEET_DATABASE_URL: {reason}")


_NOT_FREE = {
    "client_encoding": "it is always UTF-8",
    "prepare_threshold": "a receiver prepares statements unless it is behind a pooler, which it "
    "notices",
    "replication": "such a connection takes no ordinary statements",
}
"""Parameters of a PostgreSQL URL that the user must not set, and the reason for each."""

_WHOLE_NUMBERS = {
    "connect_timeout",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "tcp_user_timeout",
}

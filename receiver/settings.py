"""The settings of the receiver: environment variables that begin with `FLEET_`, read once."""

from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from importlib.util import find_spec
from urllib.parse import SplitResult, urlsplit

from attrs import field, frozen
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError
from starlette.config import Config
from starlette.datastructures import Secret

from receiver.domain.agents.registry import DEFAULT_NAMESPACE, is_namespace
from receiver.domain.endpoints import DEFAULT_ENDPOINTS, Endpoints
from receiver.domain.errors import InvalidSetting
from receiver.logs import FORMATS
from receiver.service.alerts.secret_box import InvalidKey, SecretBox, read_key_file
from receiver.store import SERVERS_PER_KEY, check_url

__all__ = ["Settings", "read_settings"]

MAX_DAYS = 36_500
MAX_HOURS = 8_760
MIN_SHARE = 0.5


@frozen(kw_only=True)
class Settings:
    """
    The settings of a receiver.

    Attributes:
        database_url: Where the servers, events and keys are stored; `repr` masks its password.
        endpoints: Which addresses of servers may be given to programs that connect to them, such
            as Prometheus.
        event_retention: How long events are kept before they are deleted.
        forget_after: How long servers that are down, have left (were uninstalled) or are
            superseded (replaced by another server of their database) are kept before they are
            deleted; None for ever.
        silent_share: The share of all servers, 0.5 to 1, that must stop sending at the same time to
            cause an event `fleet_silent`.
        log_format: `text` or `json`.
        open: Whether everybody is served as long as no key has been made. If not, only direct
            requests from the receiver's own machine are served without a key.
        messages_per_minute: Rate limit: how many messages a key may send.
        changes_per_hour: Rate limit: how many events the servers of a key may cause.
        servers_per_key: How many servers may belong to a key that is not an administrator's.
        failures_per_minute: Rate limit: how many wrong keys an IP address may send.
        session: How long somebody who has signed in on the pages stays signed in.
        registry_is_open: Whether everybody may read the MCP registry, without a key.
        registry_namespace: The first part of the names in the MCP registry.
        alert_addresses: The hosts to which messages of alerts may be sent.
        secret_box: Encrypts the addresses of channels; it may have no key.
        public_url: The URL of the pages as people reach them, without a slash at its end, for links
            in messages; None for messages without links.
        ping_url: A URL that gets a request every minute while the receiver works; None for none. It
            may hold a secret, so `repr` leaves it out.
    """

    database_url: URL
    endpoints: Endpoints
    event_retention: timedelta
    forget_after: timedelta | None
    silent_share: float
    log_format: str
    open: bool
    messages_per_minute: int
    changes_per_hour: int
    servers_per_key: int
    failures_per_minute: int
    session: timedelta
    registry_is_open: bool
    registry_namespace: str
    alert_addresses: Endpoints
    secret_box: SecretBox
    public_url: str | None
    ping_url: str | None = field(repr=False)


def read_settings(environ: Mapping[str, str]) -> Settings:
    """Read the settings; raises InvalidSetting, whose message names the wrong variable."""
    config = Config(environ=environ, env_prefix="FLEET_")

    return Settings(
        database_url=config("DATABASE_URL", cast=_database_url, default="sqlite:///fleet.db"),
        endpoints=config(
            "ENDPOINTS", cast=partial(_endpoints, "ENDPOINTS"), default=DEFAULT_ENDPOINTS
        ),
        event_retention=config(
            "EVENT_RETENTION_DAYS", cast=partial(_days, "EVENT_RETENTION_DAYS"), default="90"
        ),
        forget_after=config(
            "FORGET_AFTER_DAYS", cast=partial(_days, "FORGET_AFTER_DAYS"), default=None
        ),
        silent_share=config("SILENT_SHARE", cast=_share, default="0.5"),
        log_format=config("LOG_FORMAT", cast=_log_format, default="text"),
        open=config("OPEN", cast=_flag, default="0"),
        session=config("SESSION_HOURS", cast=_hours, default="12"),
        registry_is_open=config("REGISTRY", cast=_registry, default="key"),
        registry_namespace=config("REGISTRY_NAMESPACE", cast=_namespace, default=DEFAULT_NAMESPACE),
        alert_addresses=config(
            "ALERT_ADDRESSES",
            cast=partial(_endpoints, "ALERT_ADDRESSES"),
            default=DEFAULT_ENDPOINTS,
        ),
        secret_box=_secret_box(
            config("SECRET_KEY", cast=Secret, default=None),
            config("SECRET_KEY_FILE", default=None),
        ),
        public_url=config("PUBLIC_URL", cast=_public_url, default=None),
        ping_url=config("PING_URL", cast=_ping_url, default=None),
        **{
            name.lower(): config(name, cast=partial(_number, name), default=default)
            for name, default in _NUMBERS.items()
        },
    )


_NUMBERS = {
    "MESSAGES_PER_MINUTE": "10000",
    "CHANGES_PER_HOUR": "10000",
    "SERVERS_PER_KEY": str(SERVERS_PER_KEY),
    "FAILURES_PER_MINUTE": "60",
}


def _log_format(text: str) -> str:
    if text not in FORMATS:
        raise InvalidSetting(f"FLEET_LOG_FORMAT: expected one of {', '.join(FORMATS)}")
    return text


def _endpoints(name: str, text: str) -> Endpoints:
    try:
        return Endpoints.of(text)
    except ValueError as error:
        raise InvalidSetting(
            f"FLEET_{name}: expected names, which may hold *, and addresses or networks, "
            f"separated by commas, such as *.example.com,10.0.0.0/8; got {error.args[0]!r}"
        ) from None


def _flag(text: str) -> bool:
    if text not in {"0", "1"}:
        raise InvalidSetting("FLEET_OPEN: expected 1 or 0")
    return text == "1"


def _registry(text: str) -> bool:
    if text not in {"key", "open"}:
        raise InvalidSetting("FLEET_REGISTRY: expected key or open")
    return text == "open"


def _namespace(text: str) -> str:
    if not is_namespace(text):
        raise InvalidSetting(
            "FLEET_REGISTRY_NAMESPACE: expected a domain in reverse order, of at most 60 "
            "characters, such as com.example.fleet"
        )
    return text


def _secret_box(key: Secret | None, file: str | None) -> SecretBox:
    if key is None and file is None:
        return SecretBox()
    if key is not None and file is not None:
        raise InvalidSetting("FLEET_SECRET_KEY, FLEET_SECRET_KEY_FILE: expected one of them")
    name = "FLEET_SECRET_KEY" if file is None else "FLEET_SECRET_KEY_FILE"
    try:
        return SecretBox.of(str(key) if file is None else read_key_file(file))
    except InvalidKey:
        raise InvalidSetting(
            f"{name}: expected a key that `python -m receiver secret-key` has made, or several, "
            "separated by commas"
        ) from None
    except (OSError, ValueError) as error:
        raise InvalidSetting(f"{name}: {error}") from None


def _public_url(text: str) -> str:
    parts = _http_url(text)
    if parts is None or parts.query or parts.fragment or "@" in parts.netloc:
        raise InvalidSetting(
            "FLEET_PUBLIC_URL: expected the URL at which people reach the pages, such as "
            "https://fleet.example.com"
        )
    return text.rstrip("/")


def _ping_url(text: str) -> str:
    if _http_url(text) is None:
        raise InvalidSetting("FLEET_PING_URL: expected an http or https URL")
    return text


def _http_url(text: str) -> SplitResult | None:
    """The parts of an http or https URL; None for another text."""
    try:
        parts = urlsplit(text)
        has_host = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return None
    is_plain = text.isascii() and text.isprintable() and " " not in text
    return parts if parts.scheme in {"http", "https"} and has_host and is_plain else None


def _number(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and int(text) >= 1):
        raise InvalidSetting(f"FLEET_{name}: expected a whole number from 1 to 999999999")
    return int(text)


def _days(name: str, text: str) -> timedelta:
    if not (text.isascii() and text.isdigit() and len(text) <= 6 and 1 <= int(text) <= MAX_DAYS):
        raise InvalidSetting(f"FLEET_{name}: expected a whole number of days from 1 to {MAX_DAYS}")
    return timedelta(days=int(text))


def _hours(text: str) -> timedelta:
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= MAX_HOURS):
        raise InvalidSetting(
            f"FLEET_SESSION_HOURS: expected a whole number of hours from 1 to {MAX_HOURS}"
        )
    return timedelta(hours=int(text))


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not MIN_SHARE <= share <= 1:
        raise InvalidSetting(f"FLEET_SILENT_SHARE: expected a number from {MIN_SHARE} to 1")
    return share


def _database_url(text: str) -> URL:
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):  # ValueError: the port is no number
        url = None
    if url is not None and url.drivername == "sqlite" and _is_in_file(url):
        check_url(url)
        return url
    if url is not None and url.drivername == "postgresql+psycopg":
        if find_spec("psycopg") is None:
            raise InvalidSetting(
                "FLEET_DATABASE_URL: PostgreSQL needs a driver; "
                "install it with: pip install 'odoo-mcp-fleet[receiver,postgres]'"
            )
        check_url(url)
        return url
    raise InvalidSetting(
        "FLEET_DATABASE_URL: expected the address of a database, "
        "such as sqlite:///fleet.db, sqlite:////var/lib/fleet/fleet.db "
        "or postgresql+psycopg://user:password@host:5432/fleet; several hosts are written "
        "postgresql+psycopg://user:password@/fleet?host=a:5432&host=b:5432"
    )


def _is_in_file(url: URL) -> bool:
    # A database in memory belongs to one connection, and is lost when that is closed.
    name = url.database
    if name is None or "\x00" in name:
        return False
    return name not in {"", ":memory:"} and url.query.get("mode") != "memory"

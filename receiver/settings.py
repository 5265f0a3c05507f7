"""The settings of the receiver: environment variables that begin with `FLEET_`, read once."""

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from difflib import get_close_matches
from importlib.util import find_spec
from typing import Any
from urllib.parse import SplitResult, urlsplit

from attrs import field, frozen

from receiver.domain.agents.registry import DEFAULT_NAMESPACE, is_namespace
from receiver.domain.endpoints import DEFAULT_ENDPOINTS, Endpoints
from receiver.domain.errors import InvalidSetting
from receiver.logs import FORMATS
from receiver.service.alerts.secret_box import InvalidKey, SecretBox, read_key_file
from receiver.store import SERVERS_PER_KEY, URL, check_url, parse_url

__all__ = [
    "MAX_DAYS",
    "SECRET_KEYS",
    "SETTINGS",
    "Setting",
    "Settings",
    "misspelt",
    "read_settings",
]

MAX_DAYS = 36_500
MAX_HOURS = 8_760
MAX_DRAIN = 600
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
            deleted; None to keep them for ever.
        silent_share: The share of all servers, 0.5 to 1, that must stop sending at the same time to
            cause an event `fleet_silent`.
        log_format: `text` or `json`.
        open: Whether everybody is served as long as no key has been made. If not, only direct
            requests from the receiver's own machine are served without a key.
        messages_per_minute: Rate limit: how many messages a key may send in a minute.
        changes_per_hour: Rate limit: how many events the servers of a key may cause in an hour.
        servers_per_key: How many servers may belong to a key that is not an administrator's.
        failures_per_minute: Rate limit: how many wrong keys an IP address may send in a minute.
        session: How long somebody who has signed in on the pages stays signed in.
        registry_is_open: Whether everybody may read the MCP registry, without a key: the list at
            `/v0.1/servers` from which MCP clients install servers.
        registry_namespace: The first part of the names in the MCP registry.
        alert_addresses: The hosts to which messages of alerts may be sent.
        secret_box: Encrypts the addresses of channels, to which messages of alerts are sent. It has
            no key if the settings name none.
        public_url: The URL of the pages as people reach them, without a slash at its end, for links
            in messages; None for messages without links.
        ping_url: A URL that gets a request every minute while the receiver works; None to send no
            such requests. It may hold a secret, so `repr` leaves it out.
        drain: How long a receiver that was asked to stop goes on, while `/health` says that it is
            about to stop; zero to stop at once.
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
    drain: timedelta


@frozen
class Setting:
    """
    How an environment variable becomes an attribute of `Settings`.

    Attributes:
        attribute: The name of the attribute.
        read: Returns the value of the attribute for the text of the variable. Raises ValueError,
            which says what was expected, or InvalidSetting, whose sentence names the variable, too.
        default: The text that is read if the variable is not set. None if the attribute is then
            None.
        is_quoted: Whether a text that cannot be used is quoted in the error; false where it may
            hold a secret, and where the ValueError quotes the part that is wrong.
        meaning: What the variable decides, in Markdown, for the manual.
    """

    attribute: str
    read: Callable[[str], Any]
    default: str | None
    is_quoted: bool = True
    meaning: str = field(kw_only=True)


def read_settings(environ: Mapping[str, str]) -> Settings:
    """
    Read the settings from environment variables.

    Raises InvalidSetting, which has a sentence for each variable that is wrong.
    """
    values: dict[str, Any] = {}
    problems: list[str] = []
    for name, setting in SETTINGS.items():
        try:
            values[setting.attribute] = _value(name, setting, environ.get(name))
        except InvalidSetting as error:
            problems.extend(error.problems)
    try:
        values["secret_box"] = _secret_box(environ.get(_SECRET_KEY), environ.get(_SECRET_KEY_FILE))
    except InvalidSetting as error:
        problems.extend(error.problems)
    if problems:
        raise InvalidSetting(*problems)
    return Settings(**values)


def misspelt(environ: Mapping[str, str]) -> list[str]:
    """
    A sentence about each variable that begins with `FLEET_` and is no setting, sorted by name.

    A receiver ignores such a variable, and whoever has misspelt a name would not notice that
    otherwise. No value is quoted. There is no sentence about `FLEET_KEY`, `FLEET_TOKEN` and
    `FLEET_URL`, which commands and senders read, and about variables such as `FLEET_SERVICE_HOST`,
    which Kubernetes sets for a service that is called `fleet`.
    """
    known = [*SETTINGS, *SECRET_KEYS, *_NO_SETTINGS]
    return [
        _about_unknown(name, known)
        for name in sorted(environ)
        if name.startswith(_PREFIX)
        and name not in known
        and not _is_of_kubernetes(name, environ[name])
    ]


def _about_unknown(name: str, known: list[str]) -> str:
    says = f"{name} is no setting, so it is ignored"
    option = _OPTIONS.get(name)
    if option is not None:
        return f"{says}; it is an option of the command: odoo-mcp-fleet serve {option}"
    short = [each.removeprefix(_PREFIX) for each in known]
    near = get_close_matches(name.removeprefix(_PREFIX), short, n=1, cutoff=_NEARNESS)
    return f"{says}; did you mean {_PREFIX}{near[0]}?" if near else f"{says}."


def _is_of_kubernetes(name: str, value: str) -> bool:
    has_address = value.startswith(("tcp://", "udp://", "sctp://"))
    return _OF_A_SERVICE.fullmatch(name) is not None or (name.endswith("_PORT") and has_address)


def _value(name: str, setting: Setting, text: str | None) -> Any:
    text = setting.default if text is None else text
    if text is None:
        return None
    try:
        return setting.read(text)
    except ValueError as error:
        found = f", got {_quoted(text)}" if setting.is_quoted else ""
        raise InvalidSetting(f"{name}: {error}{found}") from None


def _quoted(text: str) -> str:
    return repr(text if len(text) <= _MOST_QUOTED else f"{text[:_MOST_QUOTED]}…")


def _log_format(text: str) -> str:
    if text not in FORMATS:
        raise ValueError(f"expected one of {', '.join(FORMATS)}")
    return text


def _endpoints(text: str) -> Endpoints:
    try:
        return Endpoints.of(text)
    except ValueError as error:
        raise ValueError(
            "expected names, which may hold *, and addresses or networks, separated by commas, "
            f"such as *.example.com,10.0.0.0/8; got {_quoted(error.args[0])}"
        ) from None


def _flag(text: str) -> bool:
    if text not in {"0", "1"}:
        raise ValueError("expected 1 or 0")
    return text == "1"


def _registry(text: str) -> bool:
    if text not in {"key", "open"}:
        raise ValueError("expected key or open")
    return text == "open"


def _namespace(text: str) -> str:
    if not is_namespace(text):
        raise ValueError(
            "expected a domain in reverse order, of at most 60 characters, such as "
            "com.example.fleet"
        )
    return text


def _secret_box(key: str | None, file: str | None) -> SecretBox:
    if key is None and file is None:
        return SecretBox()
    if key is not None and file is not None:
        raise InvalidSetting(f"{_SECRET_KEY}, {_SECRET_KEY_FILE}: expected one of them")
    name = _SECRET_KEY if file is None else _SECRET_KEY_FILE
    if file is not None and _is_key(file):
        raise InvalidSetting(
            f"{name}: expected the path of a file, got a key, which belongs in {_SECRET_KEY}"
        )
    try:
        return SecretBox.of(str(key) if file is None else read_key_file(file))
    except InvalidKey:
        raise InvalidSetting(
            f"{name}: expected a key that `odoo-mcp-fleet secret-key` has made, or several, "
            "separated by commas"
        ) from None
    except (OSError, ValueError) as error:
        raise InvalidSetting(f"{name}: {error}") from None


def _is_key(text: str) -> bool:
    """Whether a text holds a key, which no error may quote."""
    with suppress(InvalidKey):
        return SecretBox.of(text).has_key
    return False


def _public_url(text: str) -> str:
    parts = _http_url(text)
    if parts is None or parts.query or parts.fragment or "@" in parts.netloc:
        # What stands before an @ may be a password.
        found = "" if "@" in text else f", got {_quoted(text)}"
        raise ValueError(
            "expected the URL at which people reach the pages, such as "
            f"https://fleet.example.com{found}"
        )
    return text.rstrip("/")


def _ping_url(text: str) -> str:
    if _http_url(text) is None:
        raise ValueError("expected an http or https URL")
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


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and int(text) >= 1):
        raise ValueError("expected a whole number from 1 to 999999999")
    return int(text)


def _days(text: str) -> timedelta:
    if not (text.isascii() and text.isdigit() and len(text) <= 6 and 1 <= int(text) <= MAX_DAYS):
        raise ValueError(f"expected a whole number of days from 1 to {MAX_DAYS}")
    return timedelta(days=int(text))


def _hours(text: str) -> timedelta:
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= MAX_HOURS):
        raise ValueError(f"expected a whole number of hours from 1 to {MAX_HOURS}")
    return timedelta(hours=int(text))


def _seconds(text: str) -> timedelta:
    if not (text.isascii() and text.isdigit() and len(text) <= 3 and int(text) <= MAX_DRAIN):
        raise ValueError(f"expected a whole number of seconds from 0 to {MAX_DRAIN}")
    return timedelta(seconds=int(text))


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not MIN_SHARE <= share <= 1:
        raise ValueError(f"expected a number from {MIN_SHARE} to 1")
    return share


def _database_url(text: str) -> URL:
    url = parse_url(text)
    if url is not None and url.drivername == "sqlite" and _is_in_file(url):
        check_url(url)
        return url
    if url is not None and url.drivername == "postgresql+psycopg":
        if find_spec("psycopg") is None:
            raise ValueError(
                "PostgreSQL needs a driver; "
                "install it with: pip install 'odoo-mcp-fleet[receiver,postgres]'"
            )
        check_url(url)
        return url
    raise ValueError(
        "expected the address of a database, "
        "such as sqlite:///fleet.db, sqlite:////var/lib/fleet/fleet.db "
        "or postgresql+psycopg://user:password@host:5432/fleet; several hosts are written "
        "postgresql+psycopg://user:password@/fleet?host=a:5432&host=b:5432"
        f"{_beginning(text)}"
    )


def _beginning(text: str) -> str:
    """What may be quoted of a wrong address of a database, which may have a password anywhere."""
    scheme = _SCHEME.match(text)
    return "" if scheme is None else f"; got one that begins with {scheme[0]}"


def _is_in_file(url: URL) -> bool:
    # A database in memory belongs to one connection, and is lost when that is closed.
    name = url.database
    if name is None or "\x00" in name:
        return False
    return name not in {"", ":memory:"} and url.query.get("mode") != "memory"


SETTINGS: Mapping[str, Setting] = {
    "FLEET_DATABASE_URL": Setting(
        "database_url",
        _database_url,
        "sqlite:///fleet.db",
        is_quoted=False,
        meaning=(
            "Where the fleet is kept: `sqlite:///` and the path of a file, which is absolute after"
            " a fourth slash, or `postgresql+psycopg://user:password@host/database`, whose "
            "encoding is UTF-8."
        ),
    ),
    "FLEET_ENDPOINTS": Setting(
        "endpoints",
        _endpoints,
        DEFAULT_ENDPOINTS,
        is_quoted=False,
        meaning=(
            "Which addresses of servers `/sd/prometheus`, the files for MCP clients and the MCP "
            "registry hand on: names, which may hold `*`, and addresses and networks, separated by"
            " commas. An address of the machine itself (loopback), of its link (169.254.0.0/16, "
            "fe80::/10), of the metadata of its cloud, of many machines at once or of none is "
            "handed on only if a name or network lists it that holds nothing else; loopback also "
            "before there is a key."
        ),
    ),
    "FLEET_EVENT_RETENTION_DAYS": Setting(
        "event_retention",
        _days,
        "90",
        meaning=(
            "How many days events are kept, and the MCP registry tells that a server was "
            "forgotten, counted while a receiver runs."
        ),
    ),
    "FLEET_FORGET_AFTER_DAYS": Setting(
        "forget_after",
        _days,
        None,
        meaning=(
            "After how many days servers that are down, have left or are superseded are forgotten."
            " Only time counts in which a receiver was there to hear them, and none is forgotten "
            "while no server is heard at all."
        ),
    ),
    "FLEET_SILENT_SHARE": Setting(
        "silent_share",
        _share,
        "0.5",
        meaning=(
            "Which part of the fleet, from 0.5 to 1, falls silent at once for it to be an event of"
            " its own, if it is at least five servers."
        ),
    ),
    "FLEET_LOG_FORMAT": Setting(
        "log_format",
        _log_format,
        "text",
        meaning="What the log is written in: `text`, or `json`, an object a line.",
    ),
    "FLEET_OPEN": Setting(
        "open",
        _flag,
        "0",
        meaning="1 serves everybody as long as no key was made.",
    ),
    "FLEET_MESSAGES_PER_MINUTE": Setting(
        "messages_per_minute",
        _number,
        "10000",
        meaning=(
            "How many messages a key may send; a long one counts for each 4 KiB, and one that "
            "changes much for each 100 rows of the database. 429 with `Retry-After` after that. "
            "Receivers of one database know of each other's after some seconds."
        ),
    ),
    "FLEET_CHANGES_PER_HOUR": Setting(
        "changes_per_hour",
        _number,
        "10000",
        meaning=(
            "How many events a key may cause: by what its servers say, by their silence, and by "
            "writes that it is refused; a long event counts for each KiB. After that the timeline "
            "tells only who is new, late, down, back or flapping, and a server is flapping with "
            "half as many turns."
        ),
    ),
    "FLEET_SERVERS_PER_KEY": Setting(
        "servers_per_key",
        _number,
        str(SERVERS_PER_KEY),
        meaning=(
            "How many servers may belong to an agent's key; of those that others have superseded "
            "ten times as many."
        ),
    ),
    "FLEET_FAILURES_PER_MINUTE": Setting(
        "failures_per_minute",
        _number,
        "60",
        meaning=(
            "After how many wrong keys from one address, or IPv6 network of 64 bits, the answer is"
            " 429; a right one is let in."
        ),
    ),
    "FLEET_SESSION_HOURS": Setting(
        "session",
        _hours,
        "12",
        meaning="How long somebody stays signed in on the pages.",
    ),
    "FLEET_REGISTRY": Setting(
        "registry_is_open",
        _registry,
        "key",
        meaning=(
            "Who may read the MCP registry at `/v0.1/servers`: `key` asks for a key, in the header"
            " or in the path; `open` lets in everybody, which shows the address, the tools and the"
            " state of each server to whoever reaches the receiver."
        ),
    ),
    "FLEET_REGISTRY_NAMESPACE": Setting(
        "registry_namespace",
        _namespace,
        DEFAULT_NAMESPACE,
        meaning=(
            "The first part of all names in the MCP registry: a domain of yours in reverse order, "
            "such as `com.example.fleet`. Clients keep names: change it before they do."
        ),
    ),
    "FLEET_ALERT_ADDRESSES": Setting(
        "alert_addresses",
        _endpoints,
        DEFAULT_ENDPOINTS,
        is_quoted=False,
        meaning=(
            "To which hosts messages of alerts may be sent, as `FLEET_ENDPOINTS` lists them; a "
            "host is one of these if its name or its address is listed. Loopback, the link and the"
            " metadata of clouds only if they are listed expressly by their addresses, whatever "
            "name leads there."
        ),
    ),
    "FLEET_PUBLIC_URL": Setting(
        "public_url",
        _public_url,
        None,
        is_quoted=False,
        meaning=(
            "The URL at which people reach the pages, such as `https://fleet.example.com`, for "
            "links in messages of alerts."
        ),
    ),
    "FLEET_PING_URL": Setting(
        "ping_url",
        _ping_url,
        None,
        is_quoted=False,
        meaning=(
            "A dead man's switch: a URL, as of Healthchecks, that gets a GET request every minute "
            "while the receiver can write what it hears. When these cease, whoever expects them "
            "tells you."
        ),
    ),
    "FLEET_DRAIN_SECONDS": Setting(
        "drain",
        _seconds,
        "0",
        meaning=(
            "How many seconds a receiver that was asked to stop goes on, while `/health` says that"
            " it is about to. A load balancer loses no request if these are more than the interval"
            " and two timeouts of its health check."
        ),
    ),
}
"""
The settings by the names of their variables, except for two.

`FLEET_SECRET_KEY` and `FLEET_SECRET_KEY_FILE` are not among them, because both set the attribute
`secret_box`. What these two mean is in `SECRET_KEYS`.
"""


_SECRET_KEY = "FLEET_SECRET_KEY"  # noqa: S105 - the name of a variable
_SECRET_KEY_FILE = "FLEET_SECRET_KEY_FILE"  # noqa: S105 - the name of a variable

SECRET_KEYS: Mapping[str, str] = {
    _SECRET_KEY: (
        "The key with which the addresses of channels are encrypted, made by `odoo-mcp-fleet "
        "secret-key`; or several, separated by commas, of which the first encrypts and all "
        "decrypt. Without one there are no channels."
    ),
    _SECRET_KEY_FILE: "A file that holds this instead, and that nobody but its owner may read.",
}
"""
The other two settings, by the names of their variables: what each decides, in Markdown.

Neither has a default.
"""

_PREFIX = "FLEET_"
_NO_SETTINGS = ("FLEET_KEY", "FLEET_TOKEN", "FLEET_URL")
"""Variables that commands and senders read, and receivers do not."""

_OPTIONS = {f"FLEET_{name.upper()}": f"--{name}" for name in ("host", "port", "workers")}
_NEARNESS = 0.7
_MOST_QUOTED = 60
_OF_A_SERVICE = re.compile(
    r"FLEET_(?:\w+_)?(?:SERVICE_(?:HOST|PORT(?:_\w+)?)|PORT_[0-9]+_(?:TCP|UDP|SCTP)(?:_\w+)?)"
)
_SCHEME = re.compile(r"[a-z][a-z0-9+]{0,30}://")

"""
API keys: who may do what, and to which servers.

A key is written `fleetkey_<id>_<secret>`; the id has 10 letters and digits, the secret 43. The
database stores a SHA-256 digest of the whole text, so that only the holder knows the secret. A
slow password hash would add no protection, because nobody can guess the 256 random bits of the
secret, and would take thousands of times as long.
"""

import re
import secrets
import string
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from enum import Enum
from fnmatch import translate
from functools import cached_property
from hashlib import sha256
from hmac import compare_digest
from typing import Annotated, Any

from attrs import field, fields, frozen

from contract import InvalidMessage, Problem, structure
from contract.fields import Moment, Rule, format_moment

__all__ = [
    "DATABASE",
    "Key",
    "KeyScope",
    "Keyring",
    "NewKey",
    "Power",
    "digest",
    "id_of",
    "new_token",
    "path_of",
    "warning_about",
]

DATABASE = "database:"
"""The prefix of the attribute `Key.servers` of a key that covers the servers of one database."""


class KeyScope(str, Enum):
    """
    The scope (role) of a key, which says what its holder may do.

    `agent`: send messages of servers. `viewer`: read. `admin`: everything. `registry`: read the MCP
    registry only. `badge`: read badges only. A `registry` or `badge` key may also be part of the
    path of a URL, for clients that send no header.
    """

    AGENT = "agent"
    VIEWER = "viewer"
    REGISTRY = "registry"
    BADGE = "badge"
    ADMIN = "admin"


class Power(Enum):
    """A permission of a key; its value completes the sentence "This key may not ..."."""

    WRITE = "send messages of servers"
    READ = "read the fleet"
    LIST = "read the MCP registry"
    BADGE = "read badges"
    MANAGE = "delete servers, hand them over, or manage keys and alerts"


@frozen(kw_only=True)
class Key:
    """
    An API key of the receiver, as the database stores it.

    Attributes:
        id: The part of the key that is not secret.
        name: What people call the key.
        scope: The role of the key.
        servers: The `server_id`s for which a key with the scope `AGENT` may send messages: a
            pattern as in `fnmatch`, `*` for all, or `database:` and the name of a database for
            its servers only. Keys of other scopes have `*`.
        digest: SHA-256 of the whole text of the key, 32 bytes.
        created_at: When the key was made.
        expires_at: The time from which on the key is refused; None if it never expires.
        revoked_at: When the key was revoked; None if it is not revoked.
        last_used_at: When the latest request came with the key, with an error of some seconds; None
            if none ever came.
        messages: How many messages came with the key, without those of the last seconds.
        is_admin: Whether the scope is `ADMIN`.
    """

    id: str
    name: str
    scope: KeyScope
    servers: str
    digest: bytes = field(repr=False)
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    messages: int
    is_admin: bool = field(init=False, repr=False, eq=False)
    _covers_all: bool = field(init=False, repr=False, eq=False)
    _powers: tuple[Power, ...] = field(init=False, repr=False, eq=False)

    # The three attributes above are computed once, because every message needs them.

    @is_admin.default
    def _default_is_admin(self) -> bool:
        return self.scope is KeyScope.ADMIN

    @_covers_all.default
    def _default_covers_all(self) -> bool:
        return self.is_admin or self.servers == "*"

    @_powers.default
    def _default_powers(self) -> tuple[Power, ...]:
        return _POWERS[self.scope]

    @cached_property
    def _matches(self) -> Callable[[str], object]:
        return _pattern(self.servers).match

    def may(self, power: Power) -> bool:
        """Whether the scope of the key includes a permission."""
        return power in self._powers

    def covers(self, server_id: str) -> bool:
        """Whether a `server_id` matches the key's pattern `servers`; an admin's key matches all."""
        return self._covers_all or self._matches(server_id) is not None

    def why_not_own(self, server_id: str, now: datetime) -> str | None:
        """Why a server cannot belong to this key, as a sentence; None if it can."""
        if not self.may(Power.WRITE):
            return f"The key {self.id} is a {self.scope.value}'s, which sends no messages."
        if self.standing(now) != "active":
            return f"The key {self.id} is {self.standing(now)}."
        if not self.covers(server_id):
            return f"The key {self.id} covers only servers that match {self.servers!r}."
        return None

    def is_expired(self, now: datetime) -> bool:
        return self.expires_at is not None and now >= self.expires_at

    def expires_soon_since(self, now: datetime) -> datetime | None:
        """
        Return the time since which it counts that the key expires soon.

        A key expires soon in the last two weeks before it expires, or in the second half of its
        time if it was made for less than four weeks. None if the key does not expire soon at the
        time `now`, never expires, or is expired or revoked already.
        """
        if self.expires_at is None or self.standing(now) != "active":
            return None
        since = self.expires_at - min(_SOON, (self.expires_at - self.created_at) / 2)
        return since if since <= now else None

    def lapsed_at(self, now: datetime) -> datetime | None:
        """
        When the key was revoked or expired, whichever was first.

        None if the key is neither revoked nor expired at the time `now`.
        """
        expired_at = self.expires_at if self.is_expired(now) else None
        return min(filter(None, (self.revoked_at, expired_at)), default=None)

    def standing(self, now: datetime) -> str:
        """The status of the key at a time: `active`, `expired` or `revoked`."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.is_expired(now) else "active"

    def to_json(self, now: datetime) -> dict[str, Any]:
        """The attributes of the key for JSON, without its digest, and its status (`standing`)."""
        shown = {
            each.name: _json_value(getattr(self, each.name)) for each in fields(Key) if each.repr
        }
        return {**shown, "standing": self.standing(now)}


def _pattern(servers: str) -> re.Pattern[str]:
    """
    The regular expression for the `server_id`s that the attribute `servers` of a key covers.

    A `server_id` is the name of the database, an underscore and the hostname. Names of databases
    may contain underscores, hostnames do not. So `database:acme` allows no underscore in the
    hostname, or it would cover `acme_corp_web-1`, a server of the database `acme_corp`.
    """
    if servers.startswith(DATABASE):
        return re.compile(rf"{re.escape(servers.removeprefix(DATABASE))}_[^_]+\Z", re.DOTALL)
    return re.compile(translate(servers))


def _json_value(value: Any) -> Any:
    if isinstance(value, datetime):
        return format_moment(value)
    return value.value if isinstance(value, KeyScope) else value


def _text(max_length: int) -> Any:
    def read(value: Any) -> str:
        if not (isinstance(value, str) and value.strip() and value.isprintable()):
            raise ValueError(value)
        if len(value) > max_length:
            raise ValueError(value)
        return value

    schema = {"type": "string", "minLength": 1, "maxLength": max_length}
    return Rule(f"1 to {max_length} printable characters", schema, read)


_SCOPES = [scope.value for scope in KeyScope]


@frozen(kw_only=True)
class NewKey:
    """
    A request for a new API key of the receiver.

    Attributes:
        name: What people call the key: 1 to 100 printable characters.
        scope: The role of the key: `agent` (sends messages), `viewer` (reads), `registry` (reads
            the MCP registry only), `badge` (reads badges only) or `admin` (all, and manages keys).
        servers: The servers whose messages a key with the scope `agent` may send: a pattern for
            their `server_id`s, `*` for all, or `database:` and the name of the only database.
        expires_at: The time from which on the key is refused; null if it never expires.
    """

    name: Annotated[str, _text(100)]
    scope: Annotated[
        KeyScope,
        Rule(f"one of {', '.join(_SCOPES)}", {"type": "string", "enum": _SCOPES}, KeyScope),
    ]
    servers: Annotated[str, _text(255)] = "*"
    expires_at: Moment | None = None

    @classmethod
    def of(cls, value: object, *, now: datetime) -> "NewKey":
        """
        Read the request for a new key from a decoded JSON value.

        Raises InvalidMessage for an invalid request. An unknown field is invalid, because it may be
        a misspelt one that was meant to restrict the key.
        """
        new = structure(value, cls)
        assert isinstance(value, dict)  # `structure` raises otherwise
        known = [each.name for each in fields(cls)]
        problems = [
            Problem(name, f"is no field of a key; these are: {', '.join(known)}")
            for name in value
            if name not in known
        ]
        if new.expires_at is not None and new.expires_at <= now:
            problems.append(Problem("expires_at", "is over already"))
        if new.servers != "*" and new.scope is not KeyScope.AGENT:
            problems.append(
                Problem("servers", f"restricts agents only, not a key with scope {new.scope.value}")
            )
        if new.servers == DATABASE:
            problems.append(Problem("servers", f"expected the name of a database after {DATABASE}"))
        if problems:
            raise InvalidMessage(problems)
        return new

    def issue(self, *, now: datetime) -> tuple[Key, str]:
        """Make the key without storing it; return the `Key`, and the whole text for its holder."""
        key_id = _random(_ID_LENGTH)
        token = new_token(key_id)
        return Key(
            id=key_id,
            name=self.name,
            scope=self.scope,
            servers=self.servers,
            digest=digest(token),
            created_at=now,
            expires_at=self.expires_at,
            revoked_at=None,
            last_used_at=None,
            messages=0,
        ), token


def warning_about(servers: str) -> str | None:
    """
    A warning that the pattern of a new key may cover more servers than was meant.

    A `*` also matches underscores, so `acme_*` covers the servers of a database `acme_corp`. None
    for a pattern without `*`, for one that begins with `database:`, and for `*` alone, which
    obviously covers all servers.
    """
    if servers == "*" or servers.startswith(DATABASE) or "*" not in servers:
        return None
    literal = _ONE_DATABASE.fullmatch(servers)
    name = literal[1] if literal else "NAME"
    example = f", such as {name}_corp_web-1 of the database {name}_corp" if literal else ""
    return (
        f"The pattern {servers} covers servers of several databases{example}: names of databases "
        f"may hold underscores. For the servers of one database only, write {DATABASE}{name}"
    )


class Keyring:
    """A snapshot of all API keys, which finds a key by its id or by its whole text."""

    def __init__(self, keys: Iterable[Key]) -> None:
        self._by_id = {key.id: key for key in keys}
        self._by_encoded_id = {key.id.encode(): key for key in self._by_id.values()}
        self._verified: dict[bytes, Key] = {}
        self._revoked = frozenset(key.id for key in self if key.revoked_at is not None)
        self._expiring = [key for key in self if key.expires_at is not None]

    def __bool__(self) -> bool:
        """Whether there are any keys, including expired and revoked ones."""
        return bool(self._by_id)

    def __iter__(self) -> Iterator[Key]:
        """All keys, in the order in which they were given."""
        return iter(self._by_id.values())

    def get(self, key_id: str) -> Key | None:
        return self._by_id.get(key_id)

    def expired(self, now: datetime) -> frozenset[str]:
        """The ids of the keys that are expired at a time, and were not revoked."""
        return frozenset(key.id for key in self._expiring if key.standing(now) == "expired")

    def lapsed(self, now: datetime) -> frozenset[str]:
        """The ids of the keys that are revoked or expired at a time."""
        expired = [key.id for key in self._expiring if key.is_expired(now)]
        return self._revoked.union(expired) if expired else self._revoked

    def bearer(self, authorization: bytes) -> Key | None:
        """
        The key whose text is in an Authorization header `Bearer fleetkey_...`.

        The key may be expired or revoked. None if the header has another form, or if there is no
        such key. A header with a right key is remembered, so that the key is hashed only once.
        """
        key = self._verified.get(authorization)
        if key is None:
            # RFC 9110 lets a scheme and its credentials be apart by several spaces.
            kind, _, token = authorization.strip(b" \t").partition(b" ")
            key = self.find(token.lstrip(b" ")) if kind.lower() == b"bearer" else None
            if key is not None and len(authorization) == len(kind) + 1 + len(token):
                self._verified[authorization] = key
        return key

    def find(self, token: bytes) -> Key | None:
        """
        The key with this whole text. It may be expired or revoked; None if there is no such key.

        The digests are compared in constant time.
        """
        key = self._by_encoded_id.get(token[_ID])
        is_right = compare_digest(sha256(token).digest(), key.digest if key else _NO_DIGEST)
        return key if is_right else None


def new_token(key_id: str) -> str:
    """
    Make the whole text of a key, with this id and a new random secret.

    The text is shown once and never stored.
    """
    return f"{_PREFIX}{key_id}_{_random(_SECRET_LENGTH)}"


def path_of(key: Key, token: str) -> str | None:
    """
    The path that a key with the text `token` opens by itself, for clients that send no header.

    For a key with the scope `registry` it is the path of the MCP registry, and for one with the
    scope `badge` that of the badge of all servers. None for a key of another scope.
    """
    return {
        KeyScope.REGISTRY: f"/registry/{token}",
        KeyScope.BADGE: f"/badges/{token}/servers.svg",
    }.get(key.scope)


def id_of(text: str) -> str:
    """The id of a key, given the id or the whole text of the key."""
    return text[_ID] if text.startswith(_PREFIX) else text


def digest(token: str) -> bytes:
    """The SHA-256 digest of the text of a key, 32 bytes."""
    return sha256(token.encode()).digest()


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


_SOON = timedelta(weeks=2)
_ONE_DATABASE = re.compile(r"([^*?\[]+)_\*")
_PREFIX = "fleetkey_"
_ALPHABET = string.ascii_letters + string.digits
_ID_LENGTH = 10
_SECRET_LENGTH = 43
_ID = slice(len(_PREFIX), len(_PREFIX) + _ID_LENGTH)
_NO_DIGEST = bytes(32)  # no known text has this SHA-256 digest
_POWERS = {
    KeyScope.AGENT: (Power.WRITE,),
    KeyScope.VIEWER: (Power.READ, Power.LIST),
    KeyScope.REGISTRY: (Power.LIST,),
    KeyScope.BADGE: (Power.BADGE,),
    KeyScope.ADMIN: (*Power,),
}

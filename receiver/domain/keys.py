"""
Keys: who may do what, and to which servers.

A key is written `fleetkey_<id>_<secret>`, 10 and 43 letters and digits. The secret, of 256
random bits, is known to its holder only; what is kept is a SHA-256 of the whole, which a
secret of that length makes as good as a slow hash, and thousands of times as fast.
"""

import re
import secrets
import string
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from enum import Enum
from fnmatch import translate
from functools import cached_property
from hashlib import sha256
from hmac import compare_digest
from typing import Annotated, Any

from attrs import field, fields, frozen

from contract import InvalidMessage, Problem, structure
from contract.fields import Moment, Rule, format_moment

__all__ = ["Key", "KeyScope", "Keyring", "NewKey", "Power", "digest", "id_of", "new_token"]


class KeyScope(str, Enum):
    """What a key is for."""

    AGENT = "agent"
    VIEWER = "viewer"
    ADMIN = "admin"


class Power(Enum):
    """What may be done, in the words that follow "may not"."""

    WRITE = "send messages of servers"
    READ = "read the fleet"
    MANAGE = "delete servers, hand them over or manage keys"


@frozen(kw_only=True)
class Key:
    """
    A key as it is kept.

    Attributes:
        id: The part of it that is no secret.
        name: For people.
        scope: What it is for.
        servers: A pattern of the `server_id`s that it may write, as of file names; `*` for
            all. It binds agents only.
        digest: SHA-256 of the key, 32 bytes.
        created_at: When it was made.
        expires_at: From when on it is good for nothing; None for never.
        revoked_at: When it was taken back; None when it was not.
        last_used_at: When it was last used, some seconds more or less; None for never.
        messages: How many messages it has sent, those of the last seconds left out.
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

    # Found out once, for a key is asked with every message.

    @is_admin.default
    def _is_for_all(self) -> bool:
        return self.scope is KeyScope.ADMIN

    @_covers_all.default
    def _is_without_bound(self) -> bool:
        return self.is_admin or self.servers == "*"

    @_powers.default
    def _powers_of_its_scope(self) -> tuple[Power, ...]:
        return _POWERS[self.scope]

    @cached_property
    def _matches(self) -> Callable[[str], object]:
        return re.compile(translate(self.servers)).match

    def may(self, power: Power) -> bool:
        """Whether it is for that."""
        return power in self._powers

    def covers(self, server_id: str) -> bool:
        """Whether it may write that server, if nobody else's key owns it."""
        return self._covers_all or self._matches(server_id) is not None

    def why_not_own(self, server_id: str, now: datetime) -> str | None:
        """Why a server must not be handed over to it; None when it may."""
        if not self.may(Power.WRITE):
            return f"The key {self.id} is a {self.scope.value}'s, which sends no messages."
        if self.standing(now) != "active":
            return f"The key {self.id} is {self.standing(now)}."
        if not self.covers(server_id):
            return f"The key {self.id} covers only servers that match {self.servers!r}."
        return None

    def is_expired(self, now: datetime) -> bool:
        return self.expires_at is not None and now >= self.expires_at

    def standing(self, now: datetime) -> str:
        """`active`, `expired` or `revoked`."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.is_expired(now) else "active"

    def to_json(self, now: datetime) -> dict[str, Any]:
        """All that may be shown of it."""
        shown = {each.name: _plain(getattr(self, each.name)) for each in fields(Key) if each.repr}
        return {**shown, "standing": self.standing(now)}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return format_moment(value)
    return value.value if isinstance(value, KeyScope) else value


def _text(longest: int) -> Any:
    def read(value: Any) -> str:
        if not (isinstance(value, str) and value.strip() and value.isprintable()):
            raise ValueError(value)
        if len(value) > longest:
            raise ValueError(value)
        return value

    schema = {"type": "string", "minLength": 1, "maxLength": longest}
    return Rule(f"1 to {longest} printable characters", schema, read)


_SCOPES = [scope.value for scope in KeyScope]


@frozen(kw_only=True)
class NewKey:
    """
    A key that is asked for.

    Attributes:
        name: For people.
        scope: What it is for.
        servers: A pattern of the `server_id`s that an agent may write.
        expires_at: From when on it is good for nothing; None for never.
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
        Read what JSON decodes to.

        Raises InvalidMessage, also for a field that is unknown: what was meant to bind a key
        must not be overlooked.
        """
        new = structure(value, cls)
        assert isinstance(value, dict)  # or it would be no NewKey
        known = [each.name for each in fields(cls)]
        wrong = [
            Problem(name, f"is no field of a key; these are: {', '.join(known)}")
            for name in value
            if name not in known
        ]
        if new.expires_at is not None and new.expires_at <= now:
            wrong.append(Problem("expires_at", "is over already"))
        if new.servers != "*" and new.scope is not KeyScope.AGENT:
            wrong.append(Problem("servers", f"binds agents only, not a key of {new.scope.value}s"))
        if wrong:
            raise InvalidMessage(wrong)
        return new

    def issue(self, *, now: datetime) -> tuple[Key, str]:
        """Make the key: what is kept of it, and what its holder gets."""
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


class Keyring:
    """All keys, at one moment."""

    def __init__(self, keys: Iterable[Key]) -> None:
        self._by_id = {key.id: key for key in keys}
        self._by_name = {key.id.encode(): key for key in self._by_id.values()}
        self._proven: dict[bytes, Key] = {}

    def __bool__(self) -> bool:
        """Whether a key was ever made, also when none is good any more."""
        return bool(self._by_id)

    def __iter__(self) -> Iterator[Key]:
        """In the order in which they were made."""
        return iter(self._by_id.values())

    def get(self, key_id: str) -> Key | None:
        return self._by_id.get(key_id)

    def bearer(self, authorization: bytes) -> Key | None:
        """The key that an Authorization header holds; proven once, and then remembered."""
        key = self._proven.get(authorization)
        if key is None:
            kind, _, token = authorization.partition(b" ")
            key = self.find(token) if kind.lower() == b"bearer" else None
            if key is not None:
                self._proven[authorization] = key
        return key

    def find(self, token: bytes) -> Key | None:
        """
        The key that this is, which may be expired or revoked.

        It takes the same time however much of the secret is right.
        """
        key = self._by_name.get(token[_ID])
        is_right = compare_digest(sha256(token).digest(), key.digest if key else _NOBODYS)
        return key if is_right else None


def new_token(key_id: str) -> str:
    """A key with an id and a new secret. Nobody but its holder is to keep it."""
    return f"{_PREFIX}{key_id}_{_random(_SECRET_LENGTH)}"


def id_of(text: str) -> str:
    """The id of a key, out of the id or of the whole key."""
    return text[_ID] if text.startswith(_PREFIX) else text


def digest(token: str) -> bytes:
    """What is kept of a key."""
    return sha256(token.encode()).digest()


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


_PREFIX = "fleetkey_"
_ALPHABET = string.ascii_letters + string.digits
_ID_LENGTH = 10
_SECRET_LENGTH = 43
_ID = slice(len(_PREFIX), len(_PREFIX) + _ID_LENGTH)
_NOBODYS = bytes(32)  # of which nobody knows what it is the digest of
_POWERS = {
    KeyScope.AGENT: (Power.WRITE,),
    KeyScope.VIEWER: (Power.READ,),
    KeyScope.ADMIN: (*Power,),
}

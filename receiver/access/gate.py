"""
The door: who may come in, and for what.

As long as no key was ever made, only those on the same machine may, who come directly. From
the first key on, everybody needs one that is good for what is asked.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from threading import Lock
from typing import Any
from urllib.parse import unquote_to_bytes

from anyio import move_on_after, to_thread
from starlette.routing import Match, Route
from starlette.types import Receive, Scope, Send

from receiver.domain.errors import Refusal, StoreUnavailable
from receiver.domain.keys import Key, Keyring, Power
from receiver.domain.rate_limits import Limits
from receiver.store.sql_store import Store

__all__ = ["Door", "Guarded"]

Session = Callable[[Scope], Awaitable[Key | None]]
"""Finds the key that somebody has signed in with."""

_NOTED_EVERY = 5
"""So many looks for other keys, until it is noted which were used."""

_QUIET = timedelta(hours=1)

_log = logging.getLogger(__name__)


class Door:
    """
    Lets in who may come in. Making one reads all keys.

    Args:
        store: Where the keys are.
        limits: What is too much.
        clock: The time, for keys that expire.
        is_open: Whether everybody may come in as long as there is no key.
        look_seconds: How often it looks what has become of the keys.
    """

    def __init__(
        self,
        store: Store,
        limits: Limits,
        *,
        clock: Callable[[], datetime],
        is_open: bool,
        look_seconds: float = 2.0,
    ) -> None:
        self._store = store
        self._limits = limits
        self._clock = clock
        self._is_open = is_open
        self._look_seconds = look_seconds
        self._used: set[str] = set()
        self._unnoted: Counter[str] = Counter()
        self._messages: dict[str, int] = {}
        self._keys = Keyring(())
        self._is_shut = False
        self._is_behind = False
        self._turn = Lock()
        self._complained: dict[str, datetime] = {}
        self.session: Session  # whoever wires it says how
        self.look()
        self._say_who_may_come_in()

    @property
    def keys(self) -> Keyring:
        """All keys, as they were at the last look."""
        return self._keys

    def admit(self, scope: Scope, needs: Power | None) -> Key | None:
        """
        The key that a request comes with; None when it needs none.

        Raises a Refusal for whoever may not come in.
        """
        if not self._is_shut:
            if not (self._is_open or _is_near(scope)):
                raise Refusal(403, "no_keys_yet", _NO_KEYS_YET)
            return None
        if needs is None:
            return None
        said = [value for name, value in scope["headers"] if name == b"authorization"]
        if len(said) != 1:
            raise _unauthenticated("key_missing", _SEVERAL if said else _MISSING)
        key = self._keys.bearer(said[0])
        if key is None:
            raise self.failed(scope, "key_wrong", _WRONG)
        return self.checked(key, needs)

    async def welcome(
        self, scope: Scope, needs: Power | None, *, is_page: bool = False
    ) -> Key | None:
        """
        As `admit`; but whoever is signed in may read without sending the key each time.

        On a page they may do all that their key may: its forms prove that they sent them.
        """
        if needs is Power.READ or (is_page and needs is not None):
            says_key = any(name == b"authorization" for name, _ in scope["headers"])
            key = await self.session(scope) if self._is_shut and not says_key else None
            if key is not None:
                return self.checked(key, needs)
        return self.admit(scope, needs)

    def find(self, token: str, needs: Power, scope: Scope) -> Key:
        """The key that somebody has typed in. Raises a Refusal when it is not good for that."""
        key = self._keys.find(token.encode())
        if key is None:
            raise self.failed(scope, "key_wrong", _WRONG)
        return self.checked(key, needs)

    def checked(self, key: Key, needs: Power) -> Key:
        """The same key. Raises a Refusal when it is not good any more, or not for that."""
        if key.revoked_at is not None:
            self._complain(key, "The key %s (%r) is used and is revoked")
            raise _unauthenticated("key_revoked", _REVOKED)
        if key.expires_at is not None and key.is_expired(self._clock()):
            self._complain(key, "The key %s (%r) is used and has expired")
            raise _unauthenticated("key_expired", _EXPIRED)
        if not key.may(needs):
            raise Refusal(403, "not_allowed", _NOT_ALLOWED.format(key.scope.value, needs.value))
        if needs is Power.WRITE:
            self._limits.check(key.id)
        self._used.add(key.id)
        return key

    def would_admit(self, key: Key | None) -> bool:
        """Whether whoever came in with a key, or without one, could do so now."""
        if key is None:
            return not self._is_shut
        now = self._keys.get(key.id)
        if now is None or now.digest != key.digest:
            return False
        return now.standing(self._clock()) == "active"

    def failed(self, scope: Scope, code: str, detail: str) -> Refusal:
        """What is said to whoever comes with a key that is not good."""
        client = scope.get("client")
        return self._limits.failed(client[0] if client else "") or _unauthenticated(code, detail)

    async def run(self) -> None:
        """Keep up with what becomes of the keys, until cancelled."""
        looks = 0
        while True:
            await asyncio.sleep(self._look_seconds)
            looks += 1
            is_time = looks % _NOTED_EVERY == 0 or self._limits.is_much_spent()
            await self.try_to(self.note_and_look if is_time else self.look)

    async def refresh(self) -> None:
        """Look at once what has become of the keys, and wait no more than some seconds for it."""
        with move_on_after(4):
            await self.try_to(self.look)

    async def try_to(self, look: Callable[[], None]) -> None:
        """Look what has become of the keys; when that cannot be, say so and go on."""
        try:
            await to_thread.run_sync(look, abandon_on_cancel=True)
        except Exception as error:  # noqa: BLE001 - who stops to look would hear of no revocation
            self._fall_behind(error)
        else:
            self._is_behind = False

    def note_and_look(self) -> None:
        """Note which keys were used, and look what has become of all."""
        with self._turn:
            used, self._used = self._used, set()
            self._unnoted.update(self._limits.take_spent())
            uses = {key_id: self._unnoted[key_id] for key_id in {*used, *self._unnoted}}
            if uses:
                self._store.note_uses(uses, self._clock())
                self._unnoted.clear()
                for key_id, messages in uses.items():
                    self._messages[key_id] = self._messages.get(key_id, 0) + messages
            self._look()

    def look(self) -> None:
        """See what has become of the keys, and what they have sent to other receivers."""
        with self._turn:
            self._look()

    def _look(self) -> None:
        keys = self._store.all_keys()
        for key in keys:
            elsewhere = key.messages - self._messages.get(key.id, key.messages)
            if elsewhere > 0:
                self._limits.spent_elsewhere(key.id, elsewhere)
            self._messages[key.id] = key.messages
        if self._keys and not keys:
            _log.error("There were keys, and now there are none: nobody is let in")
        # Whoever takes all keys away does not open the door by that.
        self._is_shut = self._is_shut or bool(keys)
        self._keys = Keyring(keys)

    def close(self) -> None:
        """Note which keys were used lately, if that can be."""
        try:
            self.note_and_look()
        except Exception as error:  # noqa: BLE001 - the receiver ends all the same
            self._fall_behind(error)

    def _fall_behind(self, error: Exception) -> None:
        if not self._is_behind:
            known = isinstance(error, StoreUnavailable)
            _log.warning(
                "The keys are those of some time ago: %s", error, exc_info=None if known else error
            )
        self._is_behind = True

    def _complain(self, key: Key, sentence: str) -> None:
        """Tell, now and then, that somebody goes on with a key that is good no more."""
        now = self._clock()
        told = self._complained.get(key.id)
        if told is None or abs(now - told) >= _QUIET:
            self._complained[key.id] = now
            _log.warning(sentence, key.id, key.name)

    def _say_who_may_come_in(self) -> None:
        if self._keys:
            if self._is_open:
                _log.warning("FLEET_OPEN=1 has no effect: there are keys, so everybody needs one")
        elif self._is_open:
            _log.warning("FLEET_OPEN=1: %s", _EVERYBODY)
        else:
            _log.warning("%s", _NO_KEYS_YET)


class Guarded(Route):
    """
    A route that only those come to who may.

    A slash that was written as a part of a name ends no name: `/servers/a%2Fevents` is a
    server, and not what happened to one. A path that is no UTF-8 leads nowhere.

    Args:
        needs: What they must be allowed to do; None for nothing. Nobody comes to a
            receiver without keys but those who may, whatever it is.
    """

    is_page = False
    """Whether people come here, who have signed in for all that they may do."""

    def __init__(self, *args: Any, needs: Power | None, **options: Any) -> None:
        super().__init__(*args, **options)
        self.needs = needs
        _, name, ending = self.path.rpartition("}")
        self._ending = ending.encode() if name else b""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] == "http":
            is_call = scope["raw_path"].endswith(self._ending)
            if not (is_call and _is_text(scope)):
                return Match.NONE, {}
        return super().matches(scope)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        door: Door = scope["app"].state.door
        scope["key"] = await door.welcome(scope, self.needs, is_page=self.is_page)
        await super().handle(scope, receive, send)


def _is_text(scope: Scope) -> bool:
    """Whether a path is text: bytes that are none would be read as the name of another server."""
    if "\ufffd" not in scope["path"]:
        return True
    try:
        unquote_to_bytes(scope["raw_path"]).decode()
    except UnicodeDecodeError:
        return False
    return True


def _unauthenticated(code: str, detail: str) -> Refusal:
    return Refusal(401, code, detail, headers={"WWW-Authenticate": 'Bearer realm="fleet"'})


def _is_near(scope: Scope) -> bool:
    """Whether somebody on the same machine asks, and directly."""
    client = scope.get("client")
    if client is None or not _is_loopback(client[0]):
        return False
    for name, value in scope["headers"]:
        if name in _FORWARDED or name.startswith(b"x-forwarded-"):
            return False
        # A page from elsewhere may have had its own name resolved to this machine.
        if name == b"host" and not _is_this_machine(value):
            return False
    return True


@lru_cache(1000)
def _is_loopback(host: str) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback


@lru_cache(1000)
def _is_this_machine(authority: bytes) -> bool:
    host = authority.decode("latin-1").lower()
    host = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    return host == "localhost" or host.endswith(".localhost") or _is_loopback(host)


_FORWARDED = {
    b"cf-connecting-ip",
    b"forwarded",
    b"true-client-ip",
    b"via",
    b"x-client-ip",
    b"x-original-forwarded-for",
    b"x-real-ip",
}

_HOW = "python -m receiver keys create --name admin --scope admin"
_NO_KEYS_YET = (
    "No key was made yet, so only clients on this machine are served that connect directly to "
    "its loopback address. "
    f"Make a key there: {_HOW}"
)
_EVERYBODY = (
    "everybody who reaches this receiver may read and change the fleet, until there is a key: "
    f"{_HOW}"
)
_MISSING = "A key is needed: Authorization: Bearer fleetkey_..."
_SEVERAL = "There is more than one Authorization header; send one."
_WRONG = "There is no such key. It is sent as Authorization: Bearer fleetkey_..."
_REVOKED = "This key was revoked. An administrator can make another."
_EXPIRED = "This key has expired. An administrator can make another."
_NOT_ALLOWED = "A key of the scope {} may not {}."

"""
The gate: decides by its key whether a request is let in.

As long as no key was ever made, the gate lets in clients that connect directly from the
receiver's own machine, and nobody else unless FLEET_OPEN=1. From the first key on, every request
needs a key whose scope allows what the endpoint does, except for endpoints without secrets, such
as `/health`.
"""

import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Any

from receiver.access.key_mirror import KeyMirror
from receiver.domain.errors import Refusal
from receiver.domain.keys import Key, Power
from receiver.domain.rate_limits import RateLimits

__all__ = ["Gate"]

Scope = Mapping[str, Any]
"""The scope of an ASGI connection."""

_QUIET = timedelta(hours=1)

_log = logging.getLogger(__name__)


class Gate:
    """
    Decides whether requests are let in, by their keys.

    Args:
        mirror: The keys.
        limits: The rate limits of keys, and of addresses that send wrong keys.
        clock: The time, for keys that expire.
        is_open: Whether everybody is let in as long as there is no key.
    """

    def __init__(
        self,
        mirror: KeyMirror,
        limits: RateLimits,
        *,
        clock: Callable[[], datetime],
        is_open: bool,
    ) -> None:
        self._mirror = mirror
        self._limits = limits
        self._clock = clock
        self._is_open = is_open
        self._complained: dict[str, datetime] = {}
        self._log_who_is_let_in()

    @property
    def needs_keys(self) -> bool:
        """Whether requests need a key: some key exists, or existed since the receiver started."""
        return self._mirror.had_keys

    @property
    def is_for_this_machine(self) -> bool:
        """Whether only clients on the receiver's own machine are let in."""
        return not (self._is_open or self._mirror.had_keys)

    def admit(self, scope: Scope, needs: Power | None) -> Key | None:
        """
        Check a request, and return its key; None when it needs no key.

        Raises Refusal for a request that is not let in.
        """
        if not self._mirror.had_keys:
            if not (self._is_open or _is_local(scope)):
                raise Refusal(403, "no_keys_yet", _NO_KEYS_YET)
            return None
        if needs is None:
            return None
        said = [value for name, value in scope["headers"] if name == b"authorization"]
        if len(said) != 1:
            raise _unauthenticated("key_missing", _SEVERAL if said else _MISSING)
        key = self._mirror.keys.bearer(said[0])
        if key is None:
            raise self.wrong_key(scope)
        return self.check(key, needs)

    def find(self, token: str, needs: Power, scope: Scope) -> Key:
        """The key whose text somebody typed in. Raises Refusal when it may not do `needs`."""
        key = self._mirror.keys.find(token.encode())
        if key is None:
            raise self.wrong_key(scope)
        return self.check(key, needs)

    def check(self, key: Key, needs: Power) -> Key:
        """
        Check that a key may do `needs`, remember that it was used, and return it.

        Raises Refusal for a key that is revoked, expired, of another scope or over its rate
        limit.
        """
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
        self._mirror.note_use(key)
        return key

    def would_admit(self, key: Key | None) -> bool:
        """Whether a request let in before, with a key or without one (None), still would be."""
        if key is None:
            return not self.needs_keys
        now = self._mirror.keys.get(key.id)
        if now is None or now.digest != key.digest:
            return False
        return now.standing(self._clock()) == "active"

    def wrong_key(self, scope: Scope) -> Refusal:
        """The Refusal of a request with a wrong key, which is counted for the client's address."""
        client = scope.get("client")
        limited = self._limits.failed(client[0] if client else "")
        return limited or _unauthenticated("key_wrong", _WRONG)

    def _complain(self, key: Key, sentence: str) -> None:
        """Log that a revoked or expired key is still used, at most once an hour for each key."""
        now = self._clock()
        told = self._complained.get(key.id)
        if told is None or abs(now - told) >= _QUIET:
            self._complained[key.id] = now
            _log.warning(sentence, key.id, key.name)

    def _log_who_is_let_in(self) -> None:
        if self.needs_keys:
            if self._is_open:
                _log.warning("FLEET_OPEN=1 has no effect: there are keys, so everybody needs one")
        elif self._is_open:
            _log.warning("FLEET_OPEN=1: %s", _EVERYBODY)
        else:
            _log.warning("%s", _NO_KEYS_YET)


def _unauthenticated(code: str, detail: str) -> Refusal:
    return Refusal(401, code, detail, headers={"WWW-Authenticate": 'Bearer realm="fleet"'})


def _is_local(scope: Scope) -> bool:
    """
    Whether a client on the same machine has connected directly, as far as its request tells.

    A proxy on the same machine connects from a loopback address too, for whoever asks it. Most
    of them can be told by what they add to a request, or by how they connect. Those that pass on
    bytes, such as `ssh -L`, or are told to add nothing and to keep connections open, cannot.
    """
    client = scope.get("client")
    if client is None or not _is_loopback(client[0]):
        return False
    return all(_is_direct(name, value) for name, value in scope["headers"])


def _is_direct(name: bytes, value: bytes) -> bool:
    """Whether a client on this machine would send a header that asks this machine directly."""
    # DNS rebinding: a page from elsewhere can let its own name lead to this machine.
    if name == b"host":
        return _is_this_machine(value)
    # nginx, and what is built on Node's http-proxy, ask for each connection to be closed, unless
    # they are told otherwise; then they often ask for an upgrade, whoever wants one.
    if name == b"connection":
        return {each.strip() for each in value.lower().split(b",")} <= _KEPT_OPEN
    return not (name in _FORWARDED or name.startswith(_FORWARDED_PREFIXES))


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


_KEPT_OPEN = {b"keep-alive", b""}
_FORWARDED = {
    b"cdn-loop",
    b"client-ip",
    b"fastly-client-ip",
    b"forwarded",
    b"true-client-ip",
    b"via",
    b"x-client-ip",
    b"x-cluster-client-ip",
    b"x-host",
    b"x-real-ip",
    b"x-rewrite-url",
    b"x-scheme",
    b"x-varnish",
}
_FORWARDED_PREFIXES = (
    b"cf-",
    b"x-amzn-",
    b"x-appengine-",
    b"x-arr-",
    b"x-azure-",
    b"x-envoy-",
    b"x-forwarded",
    b"x-original-",
    b"x-proxy",
)
"""What proxies and the networks of content providers add to a request."""

_HOW = "python -m receiver keys create --name admin --scope admin"
_NO_KEYS_YET = (
    "No key was made yet, so only clients on this machine are served that connect directly to "
    "its loopback address, keep the connection open, and send nothing that a proxy adds. "
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

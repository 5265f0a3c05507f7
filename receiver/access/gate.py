"""
The gate: authenticates requests by their API keys, and decides what they may do.

As long as no key was ever made, requests need no key. During that time, only clients that connect
directly from the receiver's own machine are let in; with FLEET_OPEN=1, all clients are. Once the
first key is made, every request needs a key whose scope allows what the endpoint does, except for
endpoints without secrets, such as `/health`.
"""

import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Any, Literal

from receiver.access.key_mirror import KeyMirror
from receiver.domain.errors import Refusal
from receiver.domain.keys import Key, Power
from receiver.domain.rate_limits import RateLimits

__all__ = ["Gate", "is_this_machine"]

Scope = Mapping[str, Any]
"""The scope of an ASGI connection."""

_QUIET = timedelta(hours=1)

_log = logging.getLogger(__name__)


class Gate:
    """
    Authenticates and authorises requests by their API keys.

    Args:
        mirror: All keys, in memory.
        limits: The rate limits of keys, and of IP addresses that send wrong keys.
        clock: Returns the current time, for keys that expire.
        is_open: Whether all clients are let in as long as no key was made (FLEET_OPEN=1).
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
        """Whether requests need a key, because one exists or has existed since the start."""
        return self._mirror.had_keys

    @property
    def is_for_this_machine(self) -> bool:
        """
        Whether only clients on the receiver's own machine are let in.

        They are as long as no key was made, unless FLEET_OPEN=1 lets all clients in.
        """
        return not (self._is_open or self._mirror.had_keys)

    def admit(self, scope: Scope, needs: Power | None) -> Key | None:
        """
        Authenticate and authorise a request; return its key, or None when it needs no key.

        Raises Refusal: with status 401 if the request has no valid key; with 403 if its key lacks
        the permission, or if no key was made yet and the client may not do without one; with 429 if
        too many wrong keys came from the client's address, or too many messages with the key.

        Args:
            scope: The ASGI scope of the request.
            needs: The permission that the endpoint requires; None for an endpoint without secrets,
                which needs no key.
        """
        if not self._mirror.had_keys:
            if not (self._is_open or _is_local(scope)):
                raise Refusal(403, "no_keys_yet", _NO_KEYS_YET)
            return None
        if needs is None:
            return None
        said = _authorizations(scope)
        if len(said) != 1:
            raise _unauthenticated("key_missing", _SEVERAL if said else _MISSING)
        key = self._mirror.keys.bearer(said[0])
        if key is None:
            raise self.wrong_key(scope)
        return self.check(key, needs)

    def expected(self, scope: Scope, needs: Power) -> Key | Literal[False] | None:
        """
        What `admit` will probably return for a request; False if it will refuse the request.

        Neither counts nor logs anything, and looks neither at the expiry of the key nor at its
        limits: a request is let in once `check` has passed the key, or if it is None.
        """
        if not self._mirror.had_keys:
            return None if self._is_open or _is_local(scope) else False
        said = _authorizations(scope)
        key = self._mirror.keys.bearer(said[0]) if len(said) == 1 else None
        if key is None or key.revoked_at is not None or not key.may(needs):
            return False
        return key

    def find(self, token: str, needs: Power, scope: Scope) -> Key:
        """
        Find a key by its whole text, which came in a form or in the path of a URL, and check it.

        Raises Refusal for a text that is no key's, and counts it as a wrong key of the client's IP
        address. Raises Refusal, too, for a key that `check` refuses.

        Args:
            token: The text.
            needs: The permission that the key must have.
            scope: The ASGI scope of the request, which names the client's address.
        """
        key = self._mirror.keys.find(token.encode())
        if key is None:
            raise self.wrong_key(scope)
        return self.check(key, needs)

    def check(self, key: Key, needs: Power) -> Key:
        """
        Check that a key has the permission `needs`, note that it was used, and return it.

        Raises Refusal for a key that is revoked or expired, or whose scope lacks the permission;
        if `needs` is `Power.WRITE`, also for a key that has sent too many messages.
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
        """
        Whether a client that was let in before, and still has a stream open, may go on.

        Returns False if its key was deleted, rotated (given another secret) or revoked, or has
        expired since. A client that came without a key may go on as long as requests need no key.

        Args:
            key: The key that the client came with; None if it came without one.
        """
        if key is None:
            return not self.needs_keys
        now = self._mirror.keys.get(key.id)
        if now is None or now.digest != key.digest:
            return False
        return now.standing(self._clock()) == "active"

    def wrong_key(self, scope: Scope) -> Refusal:
        """
        Count a wrong key for the client's IP address; return the Refusal with which to answer.

        Its status is 401, or 429 if too many wrong keys came from the address.
        """
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


def _authorizations(scope: Scope) -> list[bytes]:
    return [value for name, value in scope["headers"] if name == b"authorization"]


def _unauthenticated(code: str, detail: str) -> Refusal:
    return Refusal(401, code, detail, headers={"WWW-Authenticate": 'Bearer realm="fleet"'})


def _is_local(scope: Scope) -> bool:
    """
    Whether a request seems to come directly from a client on this machine, not through a proxy.

    A proxy on this machine connects from a loopback address too, for clients anywhere. Most
    proxies are recognised by headers that they add or change. Not recognised are those that only
    copy bytes, such as `ssh -L`, or are configured to add nothing and to keep connections open.
    """
    client = scope.get("client")
    if client is None or not _is_loopback(client[0]):
        return False
    return all(_is_direct(name, value) for name, value in scope["headers"])


def _is_direct(name: bytes, value: bytes) -> bool:
    """Whether a header can be from a client that connects directly, and not from a proxy."""
    # DNS rebinding: a malicious site can let its own host name resolve to this machine.
    if name == b"host":
        return is_this_machine(value)
    # nginx and proxies on Node's http-proxy send `Connection: close` by default; those that are
    # configured otherwise often send `Connection: upgrade` with every request.
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
def is_this_machine(authority: bytes) -> bool:
    """
    Whether the value of a header Host names the machine itself.

    It does if the host, which a port may follow, is a loopback address, `localhost`, or a name that
    ends with `.localhost`.
    """
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
"""The beginnings of names of headers that proxies and CDNs add to a request."""

_HOW = "odoo-mcp-fleet keys create --name admin --scope admin"
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

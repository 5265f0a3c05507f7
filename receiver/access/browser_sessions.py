"""
Browser sessions: people sign in with a key, and their browsers get a token for it.

Tokens are signed with a secret that all receivers of a database share, so that a forged token is
detected without a query. The CSRF token of a form is derived from a random value in a cookie of the
browser, so that no page of another site can send a form in a visitor's name. A text that only the
next page is to show, such as a new key, is encrypted with the secret and put into a cookie.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from datetime import datetime, timedelta
from hashlib import sha256
from hmac import compare_digest
from hmac import digest as hmac_digest
from secrets import token_bytes, token_urlsafe

from attrs import frozen
from cryptography.fernet import Fernet, InvalidToken
from itsdangerous import BadSignature, Signer
from itsdangerous.encoding import base64_decode

from receiver.access.key_mirror import KeyMirror
from receiver.domain.keys import Key
from receiver.domain.sessions import Session
from receiver.service.store_calls import StoreCalls
from receiver.store import SqlStore

__all__ = ["BrowserSessions", "SignedIn"]


@frozen
class SignedIn:
    """A browser session and the key that began it, which may be revoked or expired by now."""

    session: Session
    key: Key


class BrowserSessions:
    """
    Begins, finds and ends browser sessions; signs session tokens and CSRF tokens, and encrypts
    texts that only the next page is to show.

    Every coroutine raises StoreUnavailable when the database does not answer.

    Args:
        secret: The secret of the signatures and of the encryption, which all receivers of a
            database share.
        store: Where the sessions are stored.
        calls: Calls the store's blocking methods in threads.
        mirror: The API keys, in memory. A session ends when the key that began it is rotated or
            revoked.
        clock: Returns the current time, for sessions that expire.
        lifetime: How long a session lasts.
    """

    def __init__(  # noqa: PLR0913 - all by name but the store
        self,
        store: SqlStore,
        *,
        secret: bytes,
        calls: StoreCalls,
        mirror: KeyMirror,
        clock: Callable[[], datetime],
        lifetime: timedelta,
    ) -> None:
        self.lifetime = lifetime
        self._store = store.sessions
        self._calls = calls
        self._mirror = mirror
        self._clock = clock
        how = {"key_derivation": "hmac", "digest_method": sha256}
        self._sessions = Signer(secret, b"session", **how)  # type: ignore[arg-type]  # mypy has one type for all values of a dict
        self._forms = Signer(secret, b"form", **how)  # type: ignore[arg-type]  # mypy has one type for all values of a dict
        self._box = Fernet(urlsafe_b64encode(hmac_digest(secret, b"shown once", "sha256")))

    async def find(self, cookie: str) -> SignedIn | None:
        """
        Find the session that the value of a session cookie belongs to, and the key that began it.

        Returns None if the cookie is forged, if the session was ended or has expired, or if the key
        was rotated (given another secret) since. Does not check whether the key is revoked or
        expired.
        """
        token = self.token(cookie)
        session = None if token is None else await self._find(_digest(token))
        if session is None:
            return None
        key = self._mirror.keys.get(session.key_id)
        if key is None or not compare_digest(key.digest, session.key_digest):
            return None
        return SignedIn(session, key)

    async def is_over(self, session: Session) -> bool:
        """
        Whether a session has expired, or was ended by this or another receiver.

        Queries the database.
        """
        return await self._find(session.digest) is None

    def has_expired(self, session: Session) -> bool:
        """Whether a session has expired. Unlike `is_over`, this does not query the database."""
        return session.expires_at <= self._clock()

    async def begin(self, key: Key) -> str:
        """Store a new session for a person who signed in with a key; return the cookie's value."""
        token = token_urlsafe(32)
        now = self._clock()
        session = Session(
            digest=_digest(token.encode()),
            key_id=key.id,
            key_digest=key.digest,
            expires_at=now + self.lifetime,
        )
        await self._calls.change(self._store.begin, session, now)
        return self._sessions.sign(token).decode()

    async def end(self, cookie: str) -> None:
        """End the session that the value of a session cookie belongs to, if there is one."""
        token = self.token(cookie)
        if token is not None:
            await self._calls.change(self._store.end, _digest(token))

    def token(self, cookie: str) -> bytes | None:
        """The session token in the value of a session cookie; None if its signature is wrong."""
        try:
            return self._sessions.unsign(cookie)
        except BadSignature:
            return None

    def csrf_token(self, given: bytes) -> str:
        """
        A CSRF token for the forms of a browser, derived from a random value in a cookie of it.

        Each call returns another text: a random mask, and the token under this mask. An attacker
        could guess a text that is the same in all pages from the length of the pages, because these
        are compressed.

        Args:
            given: The random value: the session token, or for a browser without a session the value
                of another cookie.
        """
        mask = token_bytes(sha256().digest_size)
        return urlsafe_b64encode(mask + _xor(mask, self._csrf_digest(given))).decode()

    def is_csrf_token(self, text: str, given: bytes) -> bool:
        """Whether a text from a form is one that `csrf_token` has returned for `given`."""
        try:
            both = urlsafe_b64decode(text)
        except ValueError:
            return False
        half = sha256().digest_size
        return compare_digest(_xor(both[:half], both[half:]), self._csrf_digest(given))

    def _csrf_digest(self, given: bytes) -> bytes:
        return base64_decode(self._forms.get_signature(given))

    def seal(self, text: str) -> str:
        """Encrypt a text that the next page is to show; returns the value of a cookie for it."""
        return self._box.encrypt_at_time(text.encode(), self._seconds()).decode()

    def unseal(self, cookie: str, *, seconds: int) -> str | None:
        """
        Decrypt the value of a cookie that `seal` has returned.

        Returns None if the value is older than `seconds`, or is not from `seal`.
        """
        try:
            return self._box.decrypt_at_time(cookie.encode(), seconds, self._seconds()).decode()
        except InvalidToken:
            return None

    def _seconds(self) -> int:
        return int(self._clock().timestamp())

    async def _find(self, digest: bytes) -> Session | None:
        session = await self._calls.read(self._store.find, digest)
        return None if session is None or session.expires_at <= self._clock() else session


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=False))


def _digest(token: bytes) -> bytes:
    return sha256(token).digest()

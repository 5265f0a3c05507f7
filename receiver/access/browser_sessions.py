"""
Browser sessions: people sign in with a key, and their browsers get a token for it.

Tokens are signed with a secret that all receivers of a database share, so that a forged token is
detected without asking the database. The CSRF token of a form is derived from a random value in a
cookie of the browser, so that no page of another site can send a form in a visitor's name.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from hashlib import sha256
from hmac import compare_digest
from secrets import token_urlsafe

from attrs import frozen
from itsdangerous import BadSignature, Signer, URLSafeSerializer

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
    Begins, finds and ends browser sessions; signs session tokens, CSRF tokens, and the short
    messages that the next page shows.

    Args:
        secret: Signs all of these. All receivers of a database share it.
        store: Where the sessions are.
        calls: Calls the store's blocking methods in threads.
        mirror: The API keys: a session ends with the key that its visitor signed in with.
        clock: The time, for sessions that expire.
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
        self._sessions = Signer(secret, b"session", **how)  # type: ignore[arg-type]  # as it says
        self._forms = Signer(secret, b"form", **how)  # type: ignore[arg-type]  # as above
        self._notices = URLSafeSerializer(secret, b"notice", signer_kwargs=how)

    async def find(self, cookie: str) -> SignedIn | None:
        """
        The session and key that a cookie belongs to.

        Returns None for a forged cookie, a session that is over, and a key that was rotated
        since.
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
        """Whether a session has expired, or was ended by this or another receiver."""
        return await self._find(session.digest) is None

    def has_expired(self, session: Session) -> bool:
        """Whether the time of a session is over; does not ask the database whether it was ended."""
        return session.expires_at <= self._clock()

    async def begin(self, key: Key) -> str:
        """Begin a session; return the value of its cookie."""
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
        """End the session that a cookie belongs to, if there is one."""
        token = self.token(cookie)
        if token is not None:
            await self._calls.change(self._store.end, _digest(token))

    def token(self, cookie: str) -> bytes | None:
        """The token in a cookie; None when no receiver has signed it."""
        try:
            return self._sessions.unsign(cookie)
        except BadSignature:
            return None

    def csrf_token(self, given: bytes) -> str:
        """The CSRF token for the forms of a browser, derived from a random value in its cookie."""
        return self._forms.get_signature(given).decode()

    def is_csrf_token(self, text: str, given: bytes) -> bool:
        """Whether a form holds the CSRF token of the browser that sent it."""
        return compare_digest(text.encode(), self.csrf_token(given).encode())

    def sign_notice(self, text: str) -> str:
        """The signed value of a cookie that holds a notice for the next page to show."""
        value = self._notices.dumps(text)
        return value if isinstance(value, str) else value.decode()

    def notice(self, cookie: str) -> str | None:
        """The notice in a cookie; None when no receiver has signed the cookie."""
        try:
            return str(self._notices.loads(cookie))
        except BadSignature:
            return None

    async def _find(self, digest: bytes) -> Session | None:
        session = await self._calls.read(self._store.find, digest)
        return None if session is None or session.expires_at <= self._clock() else session


def _digest(token: bytes) -> bytes:
    return sha256(token).digest()

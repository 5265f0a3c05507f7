"""
Signing in, and what browsers are given so as to be known again.

It is signed with a secret that all receivers of a database share: junk is told from it
without asking the database. A form bears a word that only whoever has the cookie can have
been given, so that no page from elsewhere can send it in a reader's name.
"""

import re
from collections.abc import Mapping
from datetime import timedelta
from hashlib import sha256
from hmac import compare_digest
from secrets import token_urlsafe
from urllib.parse import urlsplit

from itsdangerous import BadSignature, Signer, URLSafeSerializer
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import Scope

from receiver.access.gate import Door
from receiver.domain.errors import Refusal
from receiver.domain.keys import Key
from receiver.service.fleet import Fleet
from receiver.store.sessions import Session

__all__ = ["FormWord", "Signing"]

SESSION = "fleet_session"
FORM = "fleet_form"
NOTICE = "fleet_notice"
AGAIN = "fleet_again"


class Signing:
    """
    Signs people in and out, and looks after their cookies.

    Args:
        secret: What all receivers of the database sign with.
        lifetime: How long somebody stays signed in.
    """

    def __init__(self, secret: bytes, fleet: Fleet, door: Door, *, lifetime: timedelta) -> None:
        self._fleet = fleet
        self._door = door
        self._lifetime = lifetime
        how = {"key_derivation": "hmac", "digest_method": sha256}
        self._sessions = Signer(secret, b"session", **how)  # type: ignore[arg-type]  # as it says
        self._forms = Signer(secret, b"form", **how)  # type: ignore[arg-type]  # as above
        self._notices = URLSafeSerializer(secret, b"notice", signer_kwargs=how)

    async def find(self, scope: Scope) -> Key | None:
        """
        The key that somebody is signed in with, which may be revoked or expired by now.

        The scope tells from then on `signed_in`, the key, and `session`.
        """
        digest = self._digest(scope)
        session = None if digest is None else await self._fleet.session(digest)
        if session is None:
            return None
        key = self._door.keys.get(session.key_id)
        if key is None or not compare_digest(key.digest, session.key_digest):
            return None
        scope["session"], scope["signed_in"] = session, key
        return key

    async def is_over(self, session: Session) -> bool:
        """Whether somebody has signed out, here or elsewhere, or their time has come."""
        return await self._fleet.session(session.digest) is None

    async def sign_in(self, scope: Scope, key: Key, answer: Response) -> None:
        """Begin a session, and end the one that there was."""
        await self._end(scope)
        token = token_urlsafe(32)
        session = Session(
            digest=_digest_of(token.encode()),
            key_id=key.id,
            key_digest=key.digest,
            expires_at=self._fleet.now() + self._lifetime,
        )
        await self._fleet.begin_session(session)
        value = self._sessions.sign(token).decode()
        _set(answer, scope, SESSION, value, seconds=int(self._lifetime.total_seconds()))
        _forget(answer, scope, FORM)

    async def sign_out(self, scope: Scope, answer: Response) -> None:
        """End the session that there is."""
        await self._end(scope)
        _forget(answer, scope, SESSION)

    def word_for(self, scope: Scope) -> "FormWord":
        """The word that the forms of a page have in their field `form`."""
        token = self._token(scope)
        if token is not None:
            return FormWord(self._word(token))
        known = _cookie(scope, FORM)
        if _is_random(known):
            return FormWord(self._word(known.encode()))
        new = token_urlsafe(32)
        return FormWord(self._word(new.encode()), cookie=new)

    def check(self, scope: Scope, fields: Mapping[str, str]) -> None:
        """Raise a Refusal for a form that no page has given to this browser."""
        given_to = self._token(scope) or _cookie(scope, FORM).encode()
        word = fields.get("form", "").encode()
        if not (
            _is_from_here(HTTPConnection(scope).headers)
            and given_to
            and compare_digest(word, self._word(given_to).encode())
        ):
            raise Refusal(403, "form_expired", _EXPIRED)

    def leave_notice(self, scope: Scope, answer: Response, text: str) -> None:
        """Let the next page say something."""
        value = self._notices.dumps(text)
        _set(answer, scope, NOTICE, value if isinstance(value, str) else value.decode(), seconds=60)

    def notice(self, scope: Scope) -> str | None:
        """What a page is to say; not to a script that only wants to know what has changed."""
        if HTTPConnection(scope).headers.get("sec-fetch-mode", "navigate") != "navigate":
            return None
        try:
            return str(self._notices.loads(_cookie(scope, NOTICE)))
        except BadSignature:
            return None

    def asks_again(self, scope: Scope) -> bool:
        """
        Whether a browser may have kept the session to itself.

        Who follows a link from elsewhere comes without the cookie; who asks once more by
        themselves, with it.
        """
        said = HTTPConnection(scope).headers
        is_from_elsewhere = said.get("sec-fetch-site") == "cross-site"
        is_first = not (_cookie(scope, SESSION) or _cookie(scope, AGAIN))
        return scope["method"] == "GET" and is_from_elsewhere and is_first

    def note_asked_again(self, scope: Scope, answer: Response) -> None:
        """Let `asks_again` be false for a moment, whatever the browser says the next time."""
        _set(answer, scope, AGAIN, "1", seconds=10, strict=False)

    def dress(self, scope: Scope, answer: Response, word: "FormWord") -> None:
        """Give a page the cookies that go with it, and take those that it has used up."""
        if word.is_used and word.cookie is not None:
            _set(answer, scope, FORM, word.cookie)
        if self.notice(scope) is not None:
            _forget(answer, scope, NOTICE)

    async def _end(self, scope: Scope) -> None:
        digest = self._digest(scope)
        if digest is not None:
            await self._fleet.end_session(digest)

    def _digest(self, scope: Scope) -> bytes | None:
        token = self._token(scope)
        return None if token is None else _digest_of(token)

    def _token(self, scope: Scope) -> bytes | None:
        """What a browser was given when somebody signed in, if it was given by a receiver."""
        try:
            return self._sessions.unsign(_cookie(scope, SESSION))
        except BadSignature:
            return None

    def _word(self, given_to: bytes) -> str:
        return self._forms.get_signature(given_to).decode()


class FormWord:
    """
    The word of the forms in a page, which knows whether there are any.

    Attributes:
        cookie: What the browser is to be given with it; None when it has it.
    """

    def __init__(self, word: str, *, cookie: str | None = None) -> None:
        self._word = word
        self.cookie = cookie
        self.is_used = False

    def __str__(self) -> str:
        self.is_used = True
        return self._word


def _digest_of(token: bytes) -> bytes:
    return sha256(token).digest()


def _cookie(scope: Scope, name: str) -> str:
    """A cookie; empty when there is none."""
    return HTTPConnection(scope).cookies.get(name, "")


def _set(  # noqa: PLR0913 - a cookie has many sides
    answer: Response,
    scope: Scope,
    name: str,
    value: str,
    *,
    seconds: int | None = None,
    strict: bool = True,
) -> None:
    answer.set_cookie(
        name,
        value,
        max_age=seconds,
        path=_path(scope),
        secure=scope["scheme"] == "https",
        httponly=True,
        samesite="strict" if strict else "lax",
    )


def _forget(answer: Response, scope: Scope, name: str) -> None:
    _set(answer, scope, name, "", seconds=0)


def _path(scope: Scope) -> str:
    return scope.get("root_path") or "/"


def _is_from_here(said: Mapping[str, str]) -> bool:
    """
    Whether a form was sent by a page of this receiver, as far as the browser tells.

    Older ones, and those that come without TLS, tell the origin only; and not that, where a
    page has asked them not to tell anybody where its readers come from, as all pages here do.
    """
    site = said.get("sec-fetch-site")
    if site is not None:
        return site in {"same-origin", "none"}
    origin = said.get("origin", "null")
    return origin == "null" or _host(origin) == _host(f"//{said.get('host', '')}") is not None


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


_is_random = re.compile(r"[A-Za-z0-9_-]{43}").fullmatch
_EXPIRED = "This form was open for too long, or was not sent by a page of this receiver."

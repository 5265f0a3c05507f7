"""
The cookies of the pages: for sessions, CSRF tokens, and what a page shows once.

A form that has changed something is answered with a redirect, so that loading the next page again
changes nothing. What that page shows once, a notice or the secret text of a new key, comes along in
an encrypted cookie that is valid for a minute.

Cookies are HttpOnly, and Secure under https. The session cookie is SameSite=Strict.
"""

import re
from collections.abc import Mapping
from secrets import token_urlsafe
from typing import Literal
from urllib.parse import urlsplit

import orjson
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import Scope

from receiver.domain.errors import Refusal
from receiver.domain.keys import Key
from receiver.web.context import services

__all__ = [
    "CsrfToken",
    "add_cookies",
    "check_form",
    "csrf_token",
    "forget_key",
    "is_navigation",
    "key_to_show",
    "leave_key",
    "leave_notice",
    "may_hide_session",
    "note_second_try",
    "notice",
    "remember",
    "session_cookie",
    "shows_secret",
    "sign_in",
    "sign_out",
]

_SESSION = "fleet_session"
_FORM = "fleet_form"
_NOTICE = "fleet_notice"
_KEY = "fleet_key_"  # and the id of the key: two windows may make keys at the same time
_AGAIN = "fleet_again"
_SHOWN_ONCE = (_NOTICE, _KEY)
"""How the names of cookies begin whose content the next page shows."""

_SHOWN_WITHIN_SECONDS = 60


class CsrfToken:
    """
    The CSRF token for the forms of a page. A template writes it into a form as `str(token)`.

    Attributes:
        text: The token, which is another text in each answer.
        owner: The random value of the browser that the token is derived from, the same in all of
            its answers.
        cookie: The value of the cookie that the answer must set so that the token is valid; None if
            the browser has sent a cookie from which the token is derived.
        is_used: Whether the token was written into a form.
    """

    def __init__(self, text: str, owner: bytes, *, cookie: str | None = None) -> None:
        self.text = text
        self.owner = owner
        self.cookie = cookie
        self.is_used = False

    def __str__(self) -> str:
        self.is_used = True
        return self.text


def session_cookie(scope: Scope) -> str:
    """The value of the session cookie; empty if the browser sent none."""
    return _cookie(scope, _SESSION)


async def sign_in(scope: Scope, key: Key, answer: Response) -> None:
    """End the browser's old session, begin a new one with a key, and set the session cookie."""
    sessions = services(scope).sessions
    await sessions.end(session_cookie(scope))
    value = await sessions.begin(key)
    _set(answer, scope, _SESSION, value, seconds=int(sessions.lifetime.total_seconds()))
    _forget(answer, scope, _FORM)


async def sign_out(scope: Scope, answer: Response) -> None:
    """End the session of this browser, and delete its cookie."""
    await services(scope).sessions.end(session_cookie(scope))
    _forget(answer, scope, _SESSION)


def csrf_token(scope: Scope) -> CsrfToken:
    """
    The CSRF token for the forms of a page.

    It is derived from a cookie of the browser, or from a new random value if there is none.
    """
    sessions = services(scope).sessions
    token = sessions.token(session_cookie(scope))
    if token is not None:
        return CsrfToken(sessions.csrf_token(token), token)
    given = _cookie(scope, _FORM)
    if _is_random(given):
        return CsrfToken(sessions.csrf_token(given.encode()), given.encode())
    new = token_urlsafe(32)
    return CsrfToken(sessions.csrf_token(new.encode()), new.encode(), cookie=new)


def check_form(scope: Scope, fields: Mapping[str, str]) -> None:
    """Raise Refusal if a form has no valid CSRF token, or was sent by a page of another site."""
    sessions = services(scope).sessions
    given = sessions.token(session_cookie(scope)) or _cookie(scope, _FORM).encode()
    if not (
        _is_same_origin(HTTPConnection(scope).headers)
        and given
        and sessions.is_csrf_token(fields.get("form", ""), given)
    ):
        raise Refusal(403, "form_expired", _EXPIRED)


def leave_notice(scope: Scope, answer: Response, text: str) -> None:
    """Set a cookie with a text that the next page is to show."""
    _seal(answer, scope, _NOTICE, text)


def notice(scope: Scope) -> str | None:
    """
    The text that a page is to show once; None if there is none.

    It is also None for a request of a script: the next page that a person opens is to show it.
    """
    return _unsealed(scope, _NOTICE)


def leave_key(scope: Scope, answer: Response, key_id: str, shown: Mapping[str, str]) -> None:
    """Set a cookie with what the page of a new key is to show: its secret text, for one."""
    _seal(answer, scope, f"{_KEY}{key_id}", orjson.dumps(shown).decode())


def key_to_show(scope: Scope, key_id: str) -> Mapping[str, str] | None:
    """What `leave_key` left for the page of a key; None if there is nothing to show any more."""
    shown = _unsealed(scope, f"{_KEY}{key_id}")
    return None if shown is None else orjson.loads(shown)


def forget_key(scope: Scope, answer: Response, key_id: str) -> None:
    """Delete the cookie of `leave_key`, as the page shows the key now."""
    _forget(answer, scope, f"{_KEY}{key_id}")


def shows_secret(scope: Scope) -> bool:
    """Whether a page may show what a cookie brings along, such as the secret of a webhook."""
    return any(name.startswith(_SHOWN_ONCE) for name in HTTPConnection(scope).cookies)


def is_navigation(scope: Scope) -> bool:
    """
    Whether a person opens a page; a script that asks for one, for instance anew, does not.

    Browsers tell that over https only; the script of the pages tells which blocks it has.
    """
    headers = HTTPConnection(scope).headers
    is_said = headers.get("sec-fetch-mode", "navigate") == "navigate"
    return is_said and "fleet-blocks" not in headers


def remember(scope: Scope, answer: Response, name: str, value: str, *, seconds: int) -> None:
    """
    Set a cookie that is no secret, and that whoever forges it only deceives themselves with.

    Browsers send it also when a person follows a link on another site, such as one in a mail.
    """
    _set(answer, scope, name, value, seconds=seconds, same_site="lax")


def may_hide_session(scope: Scope) -> bool:
    """
    Whether the browser may have a session cookie that it did not send.

    Browsers do not send a SameSite=Strict cookie when a person follows a link on another site. They
    send it when the page then reloads itself.
    """
    headers = HTTPConnection(scope).headers
    is_from_elsewhere = headers.get("sec-fetch-site") == "cross-site"
    is_first = not (session_cookie(scope) or _cookie(scope, _AGAIN))
    return scope["method"] == "GET" and is_from_elsewhere and is_first


def note_second_try(scope: Scope, answer: Response) -> None:
    """
    Set a cookie that makes `may_hide_session` return False for ten seconds.

    Without the cookie, the page that reloads itself to get the session cookie could do so for ever.
    """
    _set(answer, scope, _AGAIN, "1", seconds=10, same_site="lax")


def add_cookies(scope: Scope, answer: Response, token: CsrfToken) -> None:
    """
    Set the cookie of the CSRF token if the page uses the token and the browser lacks the cookie.

    If the page shows a notice, delete its cookie, so that the notice is shown only once.
    """
    if token.is_used and token.cookie is not None:
        _set(answer, scope, _FORM, token.cookie)
    if notice(scope) is not None:
        _forget(answer, scope, _NOTICE)


def _cookie(scope: Scope, name: str) -> str:
    """The value of a cookie; empty if the browser sent no such cookie."""
    return HTTPConnection(scope).cookies.get(name, "")


def _set(  # noqa: PLR0913 - a cookie has that many attributes
    answer: Response,
    scope: Scope,
    name: str,
    value: str,
    *,
    seconds: int | None = None,
    same_site: Literal["strict", "lax"] = "strict",
) -> None:
    answer.set_cookie(
        name,
        value,
        max_age=seconds,
        path=scope.get("root_path") or "/",
        secure=scope["scheme"] == "https",
        httponly=True,
        samesite=same_site,
    )


def _seal(answer: Response, scope: Scope, name: str, text: str) -> None:
    """Set an encrypted cookie, which `_unsealed` reads."""
    sealed = services(scope).sessions.seal(text)
    _set(answer, scope, name, sealed, seconds=_SHOWN_WITHIN_SECONDS)


def _unsealed(scope: Scope, name: str) -> str | None:
    """The text in an encrypted cookie; None if there is none, or for the request of a script."""
    if not is_navigation(scope):
        return None
    sessions = services(scope).sessions
    return sessions.unseal(_cookie(scope, name), seconds=_SHOWN_WITHIN_SECONDS)


def _forget(answer: Response, scope: Scope, name: str) -> None:
    _set(answer, scope, name, "", seconds=0)


def _is_same_origin(headers: Mapping[str, str]) -> bool:
    """
    Whether a form was sent from a page of this receiver, according to the browser's headers.

    Sec-Fetch-Site decides. When it is missing, as from older browsers and over http://, Origin
    decides. Origin is "null" for the pages of a receiver, because their Referrer-Policy is
    no-referrer.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in {"same-origin", "none"}
    origin = headers.get("origin", "null")
    return origin == "null" or _host(origin) == _host(f"//{headers.get('host', '')}") is not None


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


_is_random = re.compile(r"[A-Za-z0-9_-]{43}").fullmatch
_EXPIRED = "This form was open for too long, or was not sent by a page of this receiver."

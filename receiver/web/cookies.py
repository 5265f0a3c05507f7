"""
The cookies of the pages: for sessions, CSRF tokens, what a page shows once, and the last visit.

A form that has changed something is answered with a redirect, so that loading the next page again
changes nothing. What that page shows once, a notice or the secret text of a new key, comes along in
an encrypted cookie that is valid for a minute.

All cookies are HttpOnly, and Secure under https. All but two are SameSite=Strict: a browser does
not send them with a request that a page of another site makes, nor when a person follows a link on
another site. The two that hold no secret are SameSite=Lax: the browser sends them with such a link.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from secrets import token_urlsafe
from typing import Literal
from urllib.parse import urlsplit

import orjson
from attrs import frozen
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import Scope

from contract.fields import format_moment, parse_moment
from receiver.domain.errors import Refusal
from receiver.domain.keys import Key
from receiver.web.context import services

__all__ = [
    "CsrfToken",
    "Notice",
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
_NOTICE = "fleet_message"
_KEY = "fleet_key_"  # and the id of the key: two windows may make keys at the same time
_AGAIN = "fleet_again"
_SHOWN_ONCE = (_NOTICE, _KEY)
"""How the names of cookies begin whose content the next page shows."""

_SHOWN_WITHIN_SECONDS = 60


@frozen(kw_only=True)
class Notice:
    """
    What the next page shows once: what was done.

    Attributes:
        text: What was done; a sentence, unless `until` ends it.
        until: Until when that holds, the end of the sentence; None if the text says all.
        link: A URL, relative to the home page, where more of it is seen; None without a link.
        label: The text of the link.
    """

    text: str
    until: datetime | None = None
    link: str | None = None
    label: str = ""


class CsrfToken:
    """
    The CSRF token for the forms of a page. A template writes it into a form as `str(token)`.

    Attributes:
        text: The token, which is another text in each answer.
        owner: The random value in a cookie of the browser from which the token is derived. It is
            the same in all answers to the browser until somebody signs in or out.
        cookie: The value of the cookie that the answer must set so that the token is valid; None if
            the browser has sent the cookie already.
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
    """
    Begin a new session of the browser with `key`, and end the old one, if there is one.

    It is done in this order so that a database that fails in between changes nothing for a person
    who has signed in before. Sets the session cookie in `answer`, and deletes the cookie of the
    CSRF token, which the session replaces.
    """
    sessions = services(scope).sessions
    value = await sessions.begin(key)
    await sessions.end(session_cookie(scope))
    _set(answer, scope, _SESSION, value, seconds=int(sessions.lifetime.total_seconds()))
    _forget(answer, scope, _FORM)


async def sign_out(scope: Scope, answer: Response) -> None:
    """End the session of this browser, and delete its cookie in `answer`."""
    await services(scope).sessions.end(session_cookie(scope))
    _forget(answer, scope, _SESSION)


def csrf_token(scope: Scope) -> CsrfToken:
    """
    The CSRF token for the forms of a page.

    It is derived from a cookie of the browser: from the session cookie, or from one for visitors
    who have not signed in. Without both it is derived from a new random value, which the answer
    must set as a cookie (`CsrfToken.cookie`).
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
    """
    Raise Refusal (403) for a form without a valid CSRF token, or that a page of another site sent.

    `fields` are the fields of the form. The token is in the field `form`.
    """
    sessions = services(scope).sessions
    given = sessions.token(session_cookie(scope)) or _cookie(scope, _FORM).encode()
    if not (
        _is_same_origin(HTTPConnection(scope).headers)
        and given
        and sessions.is_csrf_token(fields.get("form", ""), given)
    ):
        raise Refusal(403, "form_expired", _EXPIRED)


def leave_notice(scope: Scope, answer: Response, shown: Notice) -> None:
    """Set a cookie in `answer` with what the next page shows once."""
    until = None if shown.until is None else format_moment(shown.until)
    _seal(
        answer, scope, _NOTICE, orjson.dumps([shown.text, until, shown.link, shown.label]).decode()
    )


def notice(scope: Scope) -> Notice | None:
    """
    What a page shows once, from a cookie that an earlier answer has set; None without it.

    It is also None for a request of a script, so that the next page that a person opens shows it.
    """
    sealed = _unsealed(scope, _NOTICE)
    if sealed is None:
        return None
    text, until, link, label = orjson.loads(sealed)
    ends_at = None if until is None else parse_moment(until)
    return Notice(text=text, until=ends_at, link=link, label=label)


def leave_key(scope: Scope, answer: Response, key_id: str, shown: Mapping[str, str]) -> None:
    """
    Set a cookie in `answer` with what the page of a new or rotated key shows once.

    `shown` are variables of the template of that page, among them the secret text of the key.
    """
    _seal(answer, scope, f"{_KEY}{key_id}", orjson.dumps(shown).decode())


def key_to_show(scope: Scope, key_id: str) -> Mapping[str, str] | None:
    """
    What the page of a new or rotated key shows once: variables of its template, from a cookie.

    None if the browser did not send the cookie, if it is older than a minute, or if a script asks.
    """
    shown = _unsealed(scope, f"{_KEY}{key_id}")
    return None if shown is None else orjson.loads(shown)


def forget_key(scope: Scope, answer: Response, key_id: str) -> None:
    """Delete the cookie with a new key's secret, because the page `answer` shows it now."""
    _forget(answer, scope, f"{_KEY}{key_id}")


def shows_secret(scope: Scope) -> bool:
    """
    Whether the answer may show a secret, because a notice or a new key came along in a cookie.

    The notice may be the new secret of a webhook. Such an answer must not be compressed, because
    its length would tell an attacker something of the secret.
    """
    return any(name.startswith(_SHOWN_ONCE) for name in HTTPConnection(scope).cookies)


def is_navigation(scope: Scope) -> bool:
    """
    Whether a person opens a page; False if a script requests it, such as to update an open page.

    Browsers say which of the two it is in the header `Sec-Fetch-Mode`, over https only. The script
    of the pages is also recognised by its header `Fleet-Blocks`. Without either header, it is a
    person.
    """
    headers = HTTPConnection(scope).headers
    is_said = headers.get("sec-fetch-mode", "navigate") == "navigate"
    return is_said and "fleet-blocks" not in headers


def remember(scope: Scope, answer: Response, name: str, value: str, *, seconds: int) -> None:
    """
    Set a cookie whose value is no secret, and decides nothing for others: anybody can forge it.

    It is SameSite=Lax: browsers send it also when a person follows a link on another site, such as
    one in a mail.
    """
    _set(answer, scope, name, value, seconds=seconds, same_site="lax")


def may_hide_session(scope: Scope) -> bool:
    """
    Whether the browser may have a session cookie that it did not send with this request.

    Browsers do not send a SameSite=Strict cookie when a person follows a link on another site. They
    send it when the page that they get then reloads itself. So this is True for a GET request that
    comes from another site without a session cookie; but False if a cookie tells that the page has
    reloaded itself for this reason within the last ten seconds.
    """
    headers = HTTPConnection(scope).headers
    is_from_elsewhere = headers.get("sec-fetch-site") == "cross-site"
    is_first = not (session_cookie(scope) or _cookie(scope, _AGAIN))
    return scope["method"] == "GET" and is_from_elsewhere and is_first


def note_second_try(scope: Scope, answer: Response) -> None:
    """
    Note in a cookie, for ten seconds, that `answer` is a page that reloads itself for the session.

    A browser does not send the session cookie when a person follows a link on another site, because
    the cookie is SameSite=Strict. It sends it when the page that it gets then reloads itself. If
    the second request has no session cookie either, the person has not signed in. By the cookie
    that this function sets, the receiver knows that it is the second request, and answers with the
    form for signing in. Without it, the page would reload itself for ever.
    """
    _set(answer, scope, _AGAIN, "1", seconds=10, same_site="lax")


def add_cookies(scope: Scope, answer: Response, token: CsrfToken) -> None:
    """
    Set the cookie of the CSRF token if the page uses the token and the browser lacks the cookie.

    If the page shows a notice, delete the cookie of the notice, so that it is shown only once.
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
    """Set a cookie with an encrypted text, which is valid for a minute."""
    sealed = services(scope).sessions.seal(text)
    _set(answer, scope, name, sealed, seconds=_SHOWN_WITHIN_SECONDS)


def _unsealed(scope: Scope, name: str) -> str | None:
    """The text in an encrypted cookie; None without a valid one, or if a script asks."""
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

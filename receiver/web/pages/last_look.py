"""
When somebody last looked at the fleet, so that the front page can say what is new since then.

A cookie holds two times: that of the last page that was opened, and that at which the visit before
this one ended. Somebody who opens no page for half an hour begins a new visit. Pages that a script
asks for do not count: a window that was left open is not looked at.
"""

import re
from datetime import datetime, timedelta, timezone

from starlette.requests import Request
from starlette.responses import Response

from receiver.web import cookies
from receiver.web.context import visitor

__all__ = ["last_look", "note_look"]

_COOKIE = "fleet_look"
_VISIT_ENDS_AFTER = timedelta(minutes=30)
_LONGEST_AGO = timedelta(days=30)
_is_look = re.compile(r"([A-Za-z0-9]*)-(\d{1,11})-(\d{1,11})").fullmatch


def last_look(request: Request, now: datetime) -> datetime | None:
    """
    When the person who makes a request has last looked, before this visit.

    None if that is not known, or longer than 30 days ago.
    """
    since, last = _look(request, now)
    has_begun_anew = last is not None and now - last > _VISIT_ENDS_AFTER
    return last if has_begun_anew else since


def note_look(request: Request, answer: Response, now: datetime, *, has_seen: bool = False) -> None:
    """
    Note in a cookie of the answer that somebody looks now, unless a script makes the request.

    If `has_seen` is true, they have seen everything until now, as if a new visit began.
    """
    if not cookies.is_navigation(request.scope):
        return
    since = now if has_seen else last_look(request, now)
    moments = (0 if since is None else int(since.timestamp()), int(now.timestamp()))
    value = "-".join([_who(request), *map(str, moments)])
    seconds = int(_LONGEST_AGO.total_seconds())
    cookies.remember(request.scope, answer, _COOKIE, value, seconds=seconds)


def _look(request: Request, now: datetime) -> tuple[datetime | None, datetime | None]:
    """The two times of the cookie; None for those that are not known, or cannot be true."""
    match = _is_look(request.cookies.get(_COOKIE, ""))
    if match is None or match[1] != _who(request):
        return None, None
    since, last = (datetime.fromtimestamp(int(each), timezone.utc) for each in match.groups()[1:])
    oldest = now - _LONGEST_AGO
    return (since if oldest <= since <= now else None, last if oldest <= last <= now else None)


def _who(request: Request) -> str:
    """Who looks, so that two people who sign in with one browser are told apart."""
    key = visitor(request).key
    return "" if key is None else key.id

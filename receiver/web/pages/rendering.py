"""How a page is made, whatever it shows, and how it says that something is wrong."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote
from zlib import crc32

from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.templating import Jinja2Templates
from starlette.types import Receive, Scope, Send

from contract import EventKind, FleetError
from receiver.access.gate import Guarded
from receiver.domain.errors import Refusal, StoreUnavailable
from receiver.domain.keys import Key, Power
from receiver.service.availability import WINDOWS, History
from receiver.service.fleet import Sighting
from receiver.web.context import fleet_of, signing_of
from receiver.web.pages import wording
from receiver.web.problems import refusal

__all__ = [
    "DAY",
    "FILES",
    "PageRoute",
    "Render",
    "Versioned",
    "answer",
    "may_manage",
    "redirect",
    "sign_in_form",
]

DAY, WEEK = WINDOWS["24h"], WINDOWS["7d"]
FILES = Path(__file__).parent / "static"

Render = Callable[[Request], Awaitable[Response]]

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
}
_FOR_EVER = "public, max-age=31536000, immutable"
_log = logging.getLogger(__name__)


class PageRoute(Guarded):
    """
    A route whose answers are pages, also to whoever may not come in.

    Args:
        render: Makes the page. What it raises is said by a page too.
    """

    is_page = True

    def __init__(
        self, path: str, render: Render, *, methods: list[str], needs: Power | None
    ) -> None:
        super().__init__(path, _page(render), methods=methods, needs=needs)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().handle(scope, receive, send)
        except FleetError as error:  # the door's: the others have their page by now
            await _trouble(Request(scope), error)(scope, receive, send)


class Versioned(StaticFiles):
    """Files that need not be asked for again under an address that tells their version."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        answer = await super().get_response(path, scope)
        is_known = _static(path).endswith(f"?{scope['query_string'].decode('latin-1')}")
        answer.headers["Cache-Control"] = _FOR_EVER if is_known else "no-cache"
        return answer


def _page(render: Render) -> Render:
    """A page, or one that says what is wrong and what to do."""

    async def answer(request: Request) -> Response:
        try:
            return await render(request)
        except FleetError as error:
            return _trouble(request, error)
        except ClientDisconnect:
            return Response(status_code=400)  # which nobody hears

    return answer


def _trouble(request: Request, error: FleetError) -> Response:
    if isinstance(error, StoreUnavailable):
        _log.warning("%s", error)
    refused = refusal(error)
    if refused.status in {401, 429}:
        if refused.status == 401 and signing_of(request).asks_again(request.scope):
            return _once_more(request, refused)
        return sign_in_form(request, refused, to=_way_back(request))
    return answer(
        request,
        "trouble.html",
        status=refused.status,
        headers=refused.headers,
        refused=refused,
        back=_root(request) + _way_back(request)[1:],
    )


def sign_in_form(request: Request, refused: Refusal | None, *, to: str) -> Response:
    """The form to sign in with, and why it is here; afterwards one is at `to`."""
    return answer(
        request,
        "sign_in.html",
        status=200 if refused is None else refused.status,
        headers={} if refused is None else refused.headers,
        refused=refused,
        to=to,
        signed_in=None,
    )


def _once_more(request: Request, refused: Refusal) -> Response:
    """A page that asks for itself once more."""
    again = _TEMPLATES.TemplateResponse(
        request,
        "again.html",
        {"root": _root(request), "static": _static},
        status_code=refused.status,
        headers={**_HEADERS, **refused.headers},
    )
    signing_of(request).note_asked_again(request.scope, again)
    return again


def answer(
    request: Request,
    template: str,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    **context: Any,
) -> Response:
    """A page from a template."""
    signing, scope = signing_of(request), request.scope
    word = signing.word_for(scope)
    page = _TEMPLATES.TemplateResponse(
        request,
        template,
        {
            "now": fleet_of(request).now(),
            "root": _root(request),
            "kinds": _KINDS,
            "static": _static,
            "form": word,
            "notice": signing.notice(scope),
            "signed_in": scope.get("signed_in"),
            "manages_keys": scope.get("key") is not None and may_manage(request),
            **context,
        },
        status_code=status,
        headers={**_HEADERS, **(headers or {})},
    )
    signing.dress(scope, page, word)
    return page


def redirect(request: Request, to: str, *, notice: str | None = None) -> Response:
    """
    To another page of this receiver, which is to be told after something was changed.

    The address is relative, as all in the pages are: nobody knows what a proxy makes of it.
    """
    away = RedirectResponse(_root(request) + to[1:], 303)
    if notice is not None:
        signing_of(request).leave_notice(request.scope, away, notice)
    return away


def may_manage(request: Request) -> bool:
    """Whether whoever has come may delete servers, and all else that administrators do."""
    key: Key | None = request.scope["key"]
    return key is None or key.may(Power.MANAGE)


def _way_back(request: Request) -> str:
    """The address of a page, from the first page of this receiver on; of its form, it is that."""
    path: str = request.scope["raw_path"].decode("latin-1")
    path = path.removeprefix(request.scope.get("root_path", ""))
    if request.method not in {"GET", "HEAD"}:
        return path.removesuffix("/owner")
    query = request.scope["query_string"].decode("latin-1")
    whole = f"{path}?{query}" if query else path
    return whole if len(whole) <= _LONGEST_WAY else path


def _root(request: Request) -> str:
    """
    The way from a page to the first, whatever the path of that is.

    Browsers go by the slashes of the address as it was written, not as it was meant.
    """
    path: bytes = request.scope["raw_path"]
    below = path.removeprefix(request.scope.get("root_path", "").encode())
    return "../" * (below.count(b"/") - 1) or "./"


@cache
def _static(name: str) -> str:
    """The address of a file, which changes when the file does."""
    return f"static/{name}?v={crc32((FILES / name).read_bytes()):08x}"


def _in_path(text: str) -> str:
    """As one segment of a path, slashes and all."""
    return quote(text, safe="")


def _name(server: Sighting) -> str:
    database = server.record.database or ""
    return wording.shown(database if wording.is_seen(database) else server.record.server_id)


def _availability(history: History) -> list[tuple[str, str]]:
    return [
        (_WINDOW_LABELS[name], wording.percent(history.availability(time)))
        for name, time in WINDOWS.items()
        if history.covers(time)
    ]


def _strip(history: History, time: timedelta, bars: int, now: datetime) -> wording.Strip:
    return wording.strip(history.spans(time), start=now - time, end=now, bars=bars)


def _make_templates() -> Jinja2Templates:
    templates = Jinja2Templates(directory=FILES.parent / "templates")
    templates.env.trim_blocks = templates.env.lstrip_blocks = True
    templates.env.filters.update(
        ago=wording.ago,
        availability=_availability,
        duration=wording.duration,
        exactly=wording.exactly,
        in_path=_in_path,
        name=_name,
        shown=wording.shown,
        strip=_strip,
        tale=wording.tale,
    )
    templates.env.globals.update(
        DAY=DAY, WEEK=WEEK, KINDS=wording.KINDS, STATES=wording.STATES, LABELS=_LABELS
    )
    return templates


_LONGEST_WAY = 4000  # characters, of which a form has three times as many at worst
_KINDS = " ".join(kind.value for kind in EventKind)
_WINDOW_LABELS = {"24h": "24 hours", "7d": "7 days", "30d": "30 days"}
_LABELS = {"name": "Name", "scope": "Scope", "servers": "Servers", "expires_at": "Expires on"}
_TEMPLATES = _make_templates()

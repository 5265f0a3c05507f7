"""The code that all pages share: templates, headers, relative URLs, and error pages."""

import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode
from zlib import crc32

from anyio import to_thread
from jinja2.compiler import CodeGenerator
from markupsafe import Markup, escape
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.templating import Jinja2Templates
from starlette.types import Receive, Scope, Send

from contract import FleetError
from receiver.domain.errors import Refusal, StoreUnavailable
from receiver.domain.filter_text import NAMES, FilterText
from receiver.domain.keys import Power
from receiver.service.availability import WINDOWS, History
from receiver.service.fleet import Sighting
from receiver.web import cookies
from receiver.web.context import services, visitor
from receiver.web.pages import wording
from receiver.web.pages.drawing import Day, day
from receiver.web.problems import refusal
from receiver.web.routing import BY_ID, Guarded
from receiver.web.transfer.updates import Known

__all__ = [
    "DAY",
    "FILES",
    "PageRoute",
    "Render",
    "Versioned",
    "answer",
    "answer_from_thread",
    "error_page",
    "marked",
    "redirect",
    "server_url",
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
# A web worker has the policy of its script file; `stream.js` fetches events in a worker.
_FILE_POLICY = "default-src 'none'; connect-src 'self'; frame-ancestors 'none'"
_CACHE_FOR_A_YEAR = "public, max-age=31536000, immutable"
_log = logging.getLogger(__name__)


class PageRoute(Guarded):
    """
    A route that answers with an HTML page, even when the gate refuses the request.

    Args:
        render: Makes the answer to a request. If it raises a FleetError, the answer is an error
            page.
    """

    is_page = True

    def __init__(
        self, path: str, render: Render, *, methods: list[str], needs: Power | None
    ) -> None:
        super().__init__(path, _page(render), methods=methods, needs=needs)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().handle(scope, receive, send)
        except FleetError as error:  # raised by the gate; `_page` handles errors of `render`
            await error_page(Request(scope), error)(scope, receive, send)


class Versioned(StaticFiles):
    """Static files. Browsers may cache them for a year if the URL has the right checksum."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        if scope["method"] not in {"GET", "HEAD"}:
            raise HTTPException(405, headers={"Allow": "GET, HEAD"})
        answer = await super().get_response(path, scope)
        is_known = _static_url(path).endswith(f"?{scope['query_string'].decode('latin-1')}")
        answer.headers["Cache-Control"] = _CACHE_FOR_A_YEAR if is_known else "no-cache"
        answer.headers["Content-Security-Policy"] = _FILE_POLICY
        return answer


def _page(render: Render) -> Render:
    """Wrap `render`, so that a FleetError becomes an error page."""

    async def answer(request: Request) -> Response:
        try:
            return await render(request)
        except FleetError as error:
            return error_page(request, error)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody receives it

    return answer


def error_page(request: Request, error: FleetError) -> Response:
    """
    The page for an error: the form for signing in when the key is the problem, else an error page.

    A browser that follows a link on another site sends no session cookie. It gets a page that
    reloads itself, because then the browser sends the cookie.
    """
    if isinstance(error, StoreUnavailable):
        _log.warning("%s", error)
    refused = refusal(error)
    if refused.status in {401, 429}:
        if refused.status == 401 and cookies.may_hide_session(request.scope):
            return _reload_page(request, refused)
        return sign_in_form(request, refused, to=_return_path(request))
    has_no_route = isinstance(request.scope.get("endpoint"), Versioned | None)
    is_nowhere = refused.status == 405 or (refused.status == 404 and has_no_route)
    return answer(
        request,
        "nowhere.html" if is_nowhere else "trouble.html",
        status=refused.status,
        headers=refused.headers,
        refused=refused,
        back=_root_url(request) + _return_path(request)[1:],
    )


def sign_in_form(request: Request, refused: Refusal | None, *, to: str) -> Response:
    """
    The page with the sign-in form.

    Args:
        request: The request.
        refused: The error because of which the form is shown; None if the person asked for it.
        to: The path of the page to show after signing in.
    """
    return answer(
        request,
        "sign_in.html",
        status=200 if refused is None else refused.status,
        headers={} if refused is None else refused.headers,
        refused=refused,
        to=to,
        signed_in=None,
        manages_keys=False,
        open_alarms=0,
        shows_menu=False,
    )


def _reload_page(request: Request, refused: Refusal) -> Response:
    """A page that reloads itself, because then the browser sends the SameSite=Strict cookie."""
    again = _TEMPLATES.TemplateResponse(
        request,
        "again.html",
        {"root": _root_url(request), "static": _static_url},
        status_code=refused.status,
        headers={**_HEADERS, **refused.headers},
    )
    cookies.note_second_try(request.scope, again)
    return again


def answer(
    request: Request,
    template: str,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    **context: Any,
) -> Response:
    """
    Render a template with the variables `context`.

    The script with which an open page updates itself gets JSON instead, with those parts of the
    HTML that the page does not have yet. If a form in the page needs it, the answer sets the cookie
    of the CSRF token. If the page shows a notice (a text that is shown once), it deletes the cookie
    of the notice.
    """
    scope, who = request.scope, visitor(request)
    token = cookies.csrf_token(scope)
    known = Known.of(request.headers)
    shown = {
        "now": services(request).clock(),
        "root": _root_url(request),
        "static": _static_url,
        "form": token,
        "notice": cookies.notice(scope),
        "open_alarms": _open_alarms(request),
        "signed_in": who.signed_in,
        "manages_keys": who.key is not None and who.may_manage,
        "shows_menu": _may_use_menu(request),
        "is_update": known is not None,
        **context,
    }
    page: Response = _TEMPLATES.TemplateResponse(
        request, template, shown, status_code=status, headers={**_HEADERS, **(headers or {})}
    )
    if known is not None:
        page = _update(page, known, token, shown["now"])
    cookies.add_cookies(scope, page, token)
    return page


def _update(page: Response, known: Known, token: cookies.CsrfToken, now: datetime) -> Response:
    """The answer to the script of an open page: the parts that the browser does not have."""
    update = known.update(bytes(page.body), token=token.text.encode(), owner=token.owner, now=now)
    headers = {name: text for name, text in page.headers.items() if name not in _OF_THE_PAGE}
    return Response(update, page.status_code, headers=headers, media_type="application/json")


def _may_use_menu(request: Request) -> bool:
    """
    Whether the pages of the menu answer this browser, and not with the form for signing in.

    On a page that needs no key, such as one that says that there is no such page, nobody has looked
    yet whether the session in the cookie lasts: the menu is shown to a browser that has a cookie.
    """
    gate = services(request).gate
    if gate.needs_keys:
        return visitor(request).key is not None or bool(cookies.session_cookie(request.scope))
    try:
        gate.admit(request.scope, Power.READ)
    except Refusal:
        return False
    return True


def _open_alarms(request: Request) -> int:
    """How many open alarms the navigation tells; 0 for a visitor who may not read the fleet."""
    key = visitor(request).key
    may_read = "visitor" in request.scope and (key is None or key.may(Power.READ))
    return services(request).alerts.open_alarms if may_read else 0


async def answer_from_thread(request: Request, template: str, **context: Any) -> Response:
    """
    Render a template with the variables `context`, as `answer` does, but in a thread.

    A page that lists many servers or events takes several milliseconds to render. In a thread, this
    does not hold up other requests.
    """
    return await to_thread.run_sync(partial(answer, request, template, **context))


def redirect(
    request: Request, to: str, *, notice: str | cookies.Notice | None = None
) -> RedirectResponse:
    """
    A redirect (303) to another page of this receiver, which shows `notice` once.

    `to` is the path of that page, such as `/alerts`. The URL is relative, like all URLs in the
    pages, because a reverse proxy may serve the receiver below a path prefix.
    """
    response = RedirectResponse(_root_url(request) + to[1:], 303)
    if notice is not None:
        shown = cookies.Notice(text=notice) if isinstance(notice, str) else notice
        cookies.leave_notice(request.scope, response, shown)
    return response


def _return_path(request: Request) -> str:
    """The path of the page to return to after signing in, relative to the receiver's root."""
    path: str = request.scope["raw_path"].decode("latin-1")
    path = path.removeprefix(request.scope.get("root_path", ""))
    query = request.scope["query_string"].decode("latin-1")
    if request.method not in {"GET", "HEAD"}:
        path = "/" if path.startswith("/selection") else path
        path = _ALERTS if _changes_alerts(path) else _without_call(path)
        query = query if path.startswith(f"{BY_ID}/") else ""
    full = f"{path}?{query}" if query else path
    return full if len(full) <= _MAX_RETURN_PATH else path


def _root_url(request: Request) -> str:
    """
    The URL of the home page `/`, relative to the page that was requested, such as `../../`.

    There is one `../` for each folder of the request's raw path, in which, as for a browser,
    `%2F` is no slash.
    """
    path: bytes = request.scope["raw_path"]
    below = path.removeprefix(request.scope.get("root_path", "").encode())
    return "../" * (below.count(b"/") - 1) or "./"


@cache
def _static_url(name: str) -> str:
    """The URL of a static file, with a checksum of its content."""
    return f"static/{name}?v={crc32((FILES / name).read_bytes()):08x}"


def _alarm_icon(alarms: int) -> str:
    """The name of the static file with the icon of the pages, which shows the number of alarms."""
    return f"alarms/{min(alarms, _MOST_ON_ICON)}.svg" if alarms else "fleet.svg"


def server_url(server_id: str, *, of: str = "server", call: str = "", **query: str) -> str:
    """
    The URL of a page about a server, relative to the home page.

    Args:
        server_id: The id of the server. One that no path can hold, such as `..`, goes into the
            query.
        of: The first part of the path: `server` for the HTML page, `servers` for the API.
        call: The last part of the path, after the `server_id`, such as `/delete`.
        query: The query parameters.
    """
    path = f"{of}/{_path_segment(server_id)}{call}"
    if server_id in {".", ".."}:  # a browser would resolve them in a path
        path, query = f"{BY_ID[1:]}/{of}{call}", {"id": server_id, **query}
    return f"{path}?{urlencode(query)}" if query else path


def label_url(label: str) -> str:
    """The URL of the list of the servers with a label, relative to the home page."""
    return f"?{urlencode({'query': str(FilterText(label=(label,)))})}"


@lru_cache(maxsize=1000)
def _path_segment(text: str) -> str:
    """Quote a text as one segment of a path."""
    return quote(text, safe="")


def _display_name(server: Sighting) -> str:
    return wording.called(server.record)


def _availability(history: History) -> list[tuple[str, str]]:
    return [
        (
            wording.window(_WINDOW_LABELS[name], history.cut_within(time)),
            wording.percent(history.availability(time)),
        )
        for name, time in WINDOWS.items()
        if history.covers(time)
    ]


def _strip(history: History, time: timedelta, bars: int, now: datetime) -> wording.Strip:
    return wording.strip(history.spans(time), start=now - time, end=now, bars=bars)


def _day(history: History, now: datetime) -> Day:
    return day(history.spans(DAY), now)


def marked(value: object) -> object:
    """
    Make characters that turn the direction of writing visible in a text, such as `⟨U+202E⟩`.

    They would turn round what follows, so that a server could be shown under the name of another
    one. Templates do this to all texts but those that are escaped already: `{{ text | e }}` is
    exact, as the value of a form's field must be. A value that is not a text is returned as it is.
    """
    if type(value) is str and not value.isascii():
        return value.translate(_DIRECTIONS)
    return value


def _as_html(value: Any) -> str:
    """The HTML for a value in a template: escaped if it is not HTML already, and `marked`."""
    kind = type(value)
    if kind is Markup:
        return value  # type: ignore[no-any-return]  # not `cast`, a call for each of 2,000 values
    if kind is str and len(value) <= _LONGEST_KEPT:
        return _escaped(value)
    return escape(marked(value))


@lru_cache(maxsize=2000)
def _escaped(text: str) -> Markup:
    """The HTML for a text; pages have many of them again and again, such as names and versions."""
    return escape(marked(text))


class _CodeGenerator(CodeGenerator):
    """
    Makes the code of templates, which calls `_as_html` for each value, and nothing else.

    By itself Jinja calls `finalize` and then `escape`, which takes most of the time of a page with
    thousands of values. If a version of Jinja does not call these methods, it escapes what
    `_as_html` returns, which does not change it.
    """

    def _output_child_pre(self, *_: object) -> None:
        self.write("environment.finalize(")

    def _output_child_post(self, *_: object) -> None:
        self.write(")")


def _make_templates() -> Jinja2Templates:
    """
    Load the templates, with the filters and global variables that all of them may use.

    The function is long because it is a plain list of these filters and variables.
    """
    templates = Jinja2Templates(directory=FILES.parent / "templates")
    templates.env.finalize = _as_html
    templates.env.code_generator_class = _CodeGenerator
    templates.env.auto_reload = False  # it would look at the files of a page again each time
    templates.env.trim_blocks = templates.env.lstrip_blocks = True
    templates.env.filters.update(
        ago=wording.ago,
        brief=wording.brief,
        day=_day,
        availability=_availability,
        called=wording.called,
        called_apart=wording.called_apart,
        clock=wording.clock,
        counted=wording.counted,
        duration=wording.duration,
        exactly=wording.exactly,
        in_path=_path_segment,
        many=wording.many,
        name=_display_name,
        named_apart=wording.named_apart,
        names=wording.names,
        percent=wording.percent,
        shown=wording.shown,
        strip=_strip,
        tale=wording.tale,
        tale_of_many=wording.tale_of_many,
        titled=wording.titled,
    )
    templates.env.globals.update(
        DAY=DAY,
        WEEK=WEEK,
        ALARMS=wording.ALARMS,
        FILTER_NAMES=NAMES,
        HINTS=wording.HINTS,
        NAMED_SERVERS=wording.NAMED_SERVERS,
        REACHES=wording.REACHES,
        SECOND=timedelta(seconds=1),
        KINDS=wording.KINDS,
        SCOPES=wording.SCOPES,
        STATES=wording.STATES,
        TOPICS=wording.TOPICS,
        TROUBLES=wording.TROUBLES,
        LABELS=_LABELS,
        label_url=label_url,
        server_url=server_url,
        silence_url=wording.silence_url,
        span_url=wording.span_url,
        alarm_icon=_alarm_icon,
    )
    return templates


_DIRECTIONS = {code: f"⟨U+{code:04X}⟩" for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}
_LONGEST_KEPT = 255  # characters
_ALERTS = "/alerts"
_MOST_ON_ICON = 10  # on which stands "9+"
_changes_alerts = re.compile(rf"{_ALERTS}/\w+/[^/]+/(?:acknowledge|end|test)").fullmatch
_without_call = partial(re.compile("/(?:owner|silence)$").sub, "")
_MAX_RETURN_PATH = 4000  # characters; percent-encoded in a form, at most three times as many
_OF_THE_PAGE = {"content-length", "content-type"}
"""The headers that an update has of its own."""

_WINDOW_LABELS = {"24h": "24 hours", "7d": "7 days", "30d": "30 days"}
_LABELS = {
    "labels": "Labels",
    "add": "Labels to add",
    "remove": "Labels to remove",
    "note": "Note",
    "name": "Name",
    "scope": "Scope",
    "servers": "Servers",
    "expires_at": "Expires on",
    "kind": "Kind",
    "address": "Address",
    "per_hour": "Messages an hour",
    "report_at": "Weekly report",
    "time_zone": "Time zone",
    "query": "Servers",
    "kinds": "What is told",
    "after_seconds": "After, in minutes",
    "channel_id": "Channel",
    "remind_seconds": "Again every, in minutes",
    "begins_at": "Begins",
    "ends_at": "Ends",
    "duration_seconds": "Lasts, in minutes",
    "cron": "Again and again",
    "reason": "Reason",
}
"""The labels of form fields, by the names under which the API knows them."""
_TEMPLATES = _make_templates()

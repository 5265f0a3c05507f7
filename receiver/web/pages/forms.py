"""
The pages that change something: signing in and out, keys, owners, deleting servers.

The pages work without JavaScript, and ask for confirmation before a change that cannot be undone.
Every form that has changed something is answered with a redirect, so that loading the next page
again changes nothing.
"""

import re
from functools import partial
from typing import Any
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute

from contract import State
from receiver.domain.errors import Refusal, StoreUnavailable
from receiver.domain.keys import Key, KeyScope, Power, path_of, warning_about
from receiver.web import admin_api, cookies
from receiver.web.admin_api import key_of, must_hold_a_key
from receiver.web.context import Visitor, services, visitor
from receiver.web.pages.form_handlers import Fields, Question, confirmed, form
from receiver.web.pages.rendering import PageRoute, answer, redirect, server_url, sign_in_form
from receiver.web.routing import BY_ID, with_ids_in_query

__all__ = ["routes"]


def routes() -> list[BaseRoute]:
    """The routes of all forms, and of the pages that ask for confirmation."""
    page = partial(PageRoute, needs=Power.MANAGE)
    both = ["GET", "POST"]
    return [
        PageRoute("/sign-in", sign_in_page, methods=["GET"], needs=None),
        PageRoute("/sign-in", form(sign_in, refused=not_signed_in), methods=["POST"], needs=None),
        PageRoute("/sign-out", form(sign_out), methods=["POST"], needs=None),
        page("/keyring", keyring_page, methods=["GET"]),
        page("/keyring", form(new_key, refused=keyring), methods=["POST"]),
        page("/keyring/{key_id}/revoke", confirmed(revoking, revoke_key), methods=both),
        page("/keyring/{key_id}/rotate", confirmed(rotating, rotate_key), methods=both),
        PageRoute("/keyring/{key_id}/secret", secret_page, methods=["GET"], needs=None),
        # A server_id may contain slashes.
        *with_ids_in_query(
            [
                page("/server/{server_id:path}/delete", confirmed(deleting, delete), methods=both),
                page("/server/{server_id:path}/owner", form(hand_over), methods=["POST"]),
            ]
        ),
    ]


# Signing in and out


async def sign_in_page(request: Request) -> Response:
    """Show the form for signing in with an API key."""
    _must_have_keys(request)
    return sign_in_form(request, None, to=_FIRST)


async def sign_in(request: Request, fields: Fields) -> RedirectResponse:
    """Begin a browser session with the API key in the form; redirect to the page asked for."""
    _must_have_keys(request)
    key = services(request).gate.find(fields.get("key", "").strip(), Power.READ, request.scope)
    there = redirect(request, _path_after_sign_in(fields))
    await cookies.sign_in(request.scope, key, there)
    return there


async def not_signed_in(request: Request, fields: Fields, refused: Refusal) -> Response:
    if refused.code == "no_keys_yet":
        raise refused
    return sign_in_form(request, refused, to=_path_after_sign_in(fields))


async def sign_out(request: Request, _: Fields) -> RedirectResponse:
    """End the browser session; redirect to the sign-in form."""
    away = redirect(request, "/sign-in", notice="You are signed out.")
    await cookies.sign_out(request.scope, away)
    return away


def _path_after_sign_in(fields: Fields) -> str:
    """
    The path of the page to show after signing in, as the field `to` of the form says.

    It is the home page if `to` is not the path of a page of this receiver.
    """
    to = fields.get("to", "")
    path = to.partition("?")[0]
    is_page = path in _PAGES or path.startswith(_PAGES_BELOW)
    is_straight = all(unquote(each) not in {".", ".."} for each in path.split("/"))
    return to if _is_local(to) and is_page and is_straight else _FIRST


def _must_have_keys(request: Request) -> None:
    if not services(request).mirror.keys:
        must_hold_a_key(request)


# Servers


async def deleting(request: Request) -> Question:
    server_id = request.path_params["server_id"]
    server = await services(request).fleet.get(server_id)
    if server is None:
        raise Refusal(404, "not_found", f"There is no server {server_id!r}.")
    return Question(
        title="Forget this server?",
        about=server_id,
        says=[
            "It is in no list, and raises no alarm any more.",
            "What happened to it stays in the timeline.",
            "Labels and note go with the last server of the database.",
            _IS_HEARD if server.state in (State.UP, State.NEW) else _IS_SILENT,
        ],
        does="Forget this server",
        back=f"/{server_url(server_id)}",
    )


async def delete(request: Request, _: Fields) -> RedirectResponse:
    """Forget (delete) a server; redirect to the home page."""
    await admin_api.delete_server(request)
    return redirect(
        request, _FIRST, notice=f"The server {request.path_params['server_id']} was forgotten."
    )


async def hand_over(request: Request, fields: Fields) -> RedirectResponse:
    """Make the key in the form the owner of a server; without a key, no key owns it any more."""
    must_hold_a_key(request)
    key_id = fields.get("key_id") or None
    await admin_api.hand_over(request, key_id)
    key = None if key_id is None else services(request).mirror.keys.get(key_id)
    notice = f"The server belongs to the key {key.name} now." if key else _UNOWNED
    page = server_url(request.path_params["server_id"])
    return redirect(request, f"/{page}", notice=notice)


# Keys


async def keyring_page(request: Request) -> Response:
    """Show all keys, and the form to create a key."""
    return await keyring(request, {}, None)


async def keyring(request: Request, fields: Fields, refused: Refusal | None) -> Response:
    must_hold_a_key(request)
    found = services(request)
    return answer(
        request,
        "keyring.html",
        status=200 if refused is None else refused.status,
        keys=await found.calls.read(found.store.keys.all),
        fields={"scope": KeyScope.VIEWER.value, **fields},
        refused=refused,
    )


async def new_key(request: Request, fields: Fields) -> RedirectResponse:
    """Create a key; redirect to the page that shows its secret text once."""
    asked: dict[str, Any] = {name: fields.get(name, "") for name in ("name", "scope")}
    asked["servers"] = fields.get("servers") or "*"
    if fields.get("expires_at"):
        asked["expires_at"] = f"{fields['expires_at']}T00:00:00Z"
    key, token = await admin_api.create_key(request, asked)
    return _to_secret(request, key, token, "made")


async def revoking(request: Request) -> Question:
    key = key_of(request)
    return _about_key(
        request,
        key,
        title="Revoke this key?",
        says=[
            "Whoever holds it is refused within seconds. That cannot be undone.",
            "Its servers stay its own until an administrator hands them over or forgets them.",
        ],
        does="Revoke this key",
        also="Forget its servers, too",
    )


async def revoke_key(request: Request, fields: Fields) -> RedirectResponse:
    """Revoke a key, and forget (delete) its servers if the checkbox for that is ticked."""
    forgets = "also" in fields
    key = await admin_api.revoke(request, again=forgets)
    text, link = f"The key {key.name} was revoked.", None
    if forgets:
        forgotten, is_more = await admin_api.forget(request, key)
        text += f" Servers that were forgotten: {forgotten}."
        if is_more:
            text += " Then the database did not answer, so that others may be left."
            link = f"keyring/{key.id}/revoke"
    notice = cookies.Notice(text=text, link=link, label="Forget the others")
    return redirect(request, "/keyring", notice=notice)


async def rotating(request: Request) -> Question:
    key = key_of(request)
    return _about_key(
        request,
        key,
        title="Give this key another secret?",
        says=[
            "The new key is shown once. Whoever holds the old one is refused within seconds.",
            "Its servers stay its own.",
        ],
        does="Rotate this key",
    )


async def rotate_key(request: Request, _: Fields) -> RedirectResponse:
    """Give a key another secret; redirect to the page that shows it once."""
    key, token = await admin_api.rotate(request)
    return _to_secret(request, key, token, "rotated")


async def secret_page(request: Request) -> Response:
    """
    Show the secret text of a key that was made or rotated within the last minute, once.

    The cookie that the redirect to this page has set is enough: whoever has rotated the key with
    which they are signed in is signed out. It holds all that is shown, so that the text is not lost
    when the database does not answer. Without the cookie, redirect to the list of keys.
    """
    key_id = request.path_params["key_id"]
    shown = cookies.key_to_show(request.scope, key_id)
    if shown is None:
        return redirect(request, "/keyring", notice=_SHOWN_ONCE.format(key_id))
    context: dict[str, Any] = {**shown}
    if not await _is_recognised(request):
        context["open_alarms"] = 0
    page = answer(request, "token.html", **context)
    cookies.forget_key(request.scope, page, key_id)
    return page


async def _is_recognised(request: Request) -> bool:
    """
    Put the visitor who is signed in into the scope, if there is one; return whether there is.

    A page that needs no key tells by it who is signed in.
    """
    found = services(request)
    try:
        signed_in = await found.sessions.find(cookies.session_cookie(request.scope))
    except StoreUnavailable:
        return False
    if signed_in is None:
        return False
    request.scope["visitor"] = Visitor(signed_in.key, signed_in.session)
    return True


def _about_key(  # noqa: PLR0913 - all by name
    request: Request, key: Key, *, title: str, says: list[str], does: str, also: str | None = None
) -> Question:
    own = ["You are signed in with this key: you will be signed out."]
    mine = visitor(request).key
    return Question(
        title=title,
        about=f"{key.name} ({key.id})",
        says=[*says, *(own if mine is not None and key.id == mine.id else [])],
        does=does,
        back="/keyring",
        also=also,
    )


def _to_secret(request: Request, key: Key, token: str, done: str) -> RedirectResponse:
    """Redirect to the page of a key that was just made or rotated, which shows its text once."""
    there = redirect(request, f"/keyring/{key.id}/secret")
    shown = {
        "done": done,
        "name": key.name,
        "scope": key.scope.value,
        "servers": key.servers,
        "token": token,
        "path": path_of(key, token) or "",
        "warning": (done == "made" and warning_about(key.servers)) or "",
    }
    cookies.leave_key(request.scope, there, key.id, shown)
    return there


_IS_SILENT = "When it phones home again, it is taken for a new server."
_IS_HEARD = (
    "It is still heard: with its next heartbeat it is listed again, and taken for a new server. To"
    " be rid of it, stop it first."
)
_UNOWNED = "The server is unowned now: the next key that writes it becomes its owner."
_SHOWN_ONCE = (
    "The secret of a key is shown once. If nobody has kept that of the key {}, rotate the key."
)
_FIRST = "/"
_PAGES = {
    _FIRST,
    "/timeline",
    "/tools",
    "/versions",
    "/compare",
    "/alerts",
    "/report",
    "/keyring",
    f"{BY_ID}/server",
}
_PAGES_BELOW = ("/server/", "/views/", "/alerts/", "/keyring/", f"{BY_ID}/server/")
_is_local = re.compile(r"/(?!/)[!-\"$-\[\]-~]{0,4000}|/").fullmatch  # ASCII without # and \

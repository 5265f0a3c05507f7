"""
The pages that change something: signing in and out, keys, owners, deleting servers.

The pages work without JavaScript, and ask for confirmation before a change that cannot be undone.
"""

import re
from functools import partial
from typing import Any
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from receiver.domain.errors import Refusal
from receiver.domain.keys import Key, KeyScope, Power, path_of, warning_about
from receiver.web import admin_api, cookies
from receiver.web.admin_api import key_of, must_hold_a_key
from receiver.web.context import services, visitor
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


async def sign_in(request: Request, fields: Fields) -> Response:
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


async def sign_out(request: Request, _: Fields) -> Response:
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
    if await services(request).fleet.get(server_id) is None:
        raise Refusal(404, "not_found", f"There is no server {server_id!r}.")
    return Question(
        title="Delete this server?",
        about=server_id,
        says=[
            "It is forgotten: it is in no list, and raises no alarm any more.",
            "What happened to it stays in the timeline.",
            "When it phones home again, it is taken for a new server.",
        ],
        does="Delete this server",
        back=f"/{server_url(server_id)}",
    )


async def delete(request: Request, _: Fields) -> Response:
    """Delete a server; redirect to the home page."""
    await admin_api.delete_server(request)
    return redirect(
        request, _FIRST, notice=f"The server {request.path_params['server_id']} was deleted."
    )


async def hand_over(request: Request, fields: Fields) -> Response:
    """Make the key in the form the owner of a server; without one, the server is unowned."""
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
        scopes=[scope.value for scope in KeyScope],
        fields=fields,
        refused=refused,
    )


async def new_key(request: Request, fields: Fields) -> Response:
    """Create a key, and show its secret text once."""
    asked: dict[str, Any] = {name: fields.get(name, "") for name in ("name", "scope")}
    asked["servers"] = fields.get("servers") or "*"
    if fields.get("expires_at"):
        asked["expires_at"] = f"{fields['expires_at']}T00:00:00Z"
    key, token = await admin_api.create_key(request, asked)
    return _shown(request, key, token, "made", warning=warning_about(key.servers))


async def revoking(request: Request) -> Question:
    key = key_of(request)
    return _about_key(
        request,
        key,
        title="Revoke this key?",
        says=[
            "Whoever holds it is refused within seconds. That cannot be undone.",
            "Its servers stay its own until an administrator hands them over or deletes them.",
        ],
        does="Revoke this key",
        also="Delete its servers, too",
    )


async def revoke_key(request: Request, fields: Fields) -> Response:
    """Revoke a key, and delete its servers if the checkbox for that is ticked."""
    forgets = "also" in fields
    key = await admin_api.revoke(request, again=forgets)
    notice = f"The key {key.name} was revoked."
    if forgets:
        notice += f" Servers that were forgotten: {await admin_api.forget(request, key)}."
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


async def rotate_key(request: Request, _: Fields) -> Response:
    """Give a key another secret, and show the secret once."""
    key, token = await admin_api.rotate(request)
    return _shown(request, key, token, "rotated")


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


def _shown(
    request: Request, key: Key, token: str, done: str, *, warning: str | None = None
) -> Response:
    path = path_of(key, token)
    return answer(
        request, "token.html", key=key, token=token, path=path, done=done, warning=warning
    )


_UNOWNED = "The server is unowned now: the next key that writes it becomes its owner."
_FIRST = "/"
_PAGES = {_FIRST, "/timeline", "/alerts", "/report", "/keyring", f"{BY_ID}/server"}
_PAGES_BELOW = ("/server/", "/alerts/", "/keyring/", f"{BY_ID}/server/")
_is_local = re.compile(r"/(?!/)[!-\"$-\[\]-~]{0,4000}|/").fullmatch  # ASCII without # and \

"""
The HTTP API for administrators: API keys, the owners of servers, and deleting many servers.

A server belongs to the key that first wrote it, its owner. Each change, and each listing of all
keys, is logged to `receiver.audit`.
"""

import json
import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import orjson
from attrs import fields
from starlette.requests import Request
from starlette.responses import Response

from contract import InvalidMessage, Problem, parse
from receiver.domain.errors import OutcomeUnknown, Refusal, StoreUnavailable
from receiver.domain.forgetting import Forgettable
from receiver.domain.keys import Key, NewKey, Power, digest, new_token, path_of, warning_about
from receiver.service.decoding import MAX_MESSAGE_BYTES
from receiver.service.forgetting import Forgetting
from receiver.web import openapi
from receiver.web.context import services, visitor
from receiver.web.exports import FileFormat, Sheet, described, or_file, whole_file
from receiver.web.openapi import answer, operation, ref
from receiver.web.requests import asks_to_forget, forget_query, json_body
from receiver.web.routing import Guarded

__all__ = [
    "audited",
    "author_of",
    "create_key",
    "decoded_json",
    "delete_server",
    "forget",
    "forget_many",
    "hand_over",
    "key_of",
    "must_hold_a_key",
    "revoke",
    "rotate",
    "routes",
]

_audit = logging.getLogger("receiver.audit")
_log = logging.getLogger(__name__)


def routes() -> list[Guarded]:
    """The routes for administrators, each with its description for the OpenAPI document."""
    call = partial(Guarded, needs=Power.MANAGE)
    return [
        call(
            "/keys",
            or_file(list_keys, keys_file),
            methods=["GET"],
            describes=described(_LIST_KEYS),
        ),
        call("/keys", add_key, methods=["POST"], describes=_ADD_KEY),
        call("/keys/{key_id}", revoke_key, methods=["DELETE"], describes=_REVOKE_KEY),
        call("/keys/{key_id}/rotate", rotate_key, methods=["POST"], describes=_ROTATE_KEY),
        call("/servers", forget_servers, methods=["DELETE"], describes=_FORGET_SERVERS),
        # A server_id may contain slashes.
        call("/servers/{server_id:path}/owner", get_owner, methods=["GET"], describes=_GET_OWNER),
        call("/servers/{server_id:path}/owner", put_owner, methods=["PUT"], describes=_PUT_OWNER),
    ]


@contextmanager
def audited(request: Request, did: str, what: str) -> Iterator[None]:
    """
    A context that writes to the audit log who did what, unless the change failed.

    The line is written at the end of the context. When it is not known whether the change was
    committed, the line says "perhaps".

    Args:
        request: Tells the key and the address of the client.
        did: What was done, in words that the log continues with `what`, such as "revoked the key".
        what: The id of the key or server that it was done to, or several ids.
    """
    try:
        yield
    except OutcomeUnknown:
        _note(request, f"perhaps {did}", what)
        raise
    _note(request, did, what)


def author_of(request: Request) -> str:
    """The name of the key with which a request changes something, or that it has no key."""
    key = visitor(request).key
    return "somebody without a key" if key is None else key.name


def _note(request: Request, did: str, what: str) -> None:
    key = visitor(request).key
    who = f"key {key.id} ({key.name!r})" if key else "somebody without a key"
    where = request.client.host if request.client else "a socket"
    _audit.info("%s %s %r, from %s", who, did, what, where)


_LIST_KEYS = operation(
    "listKeys",
    "All keys that were ever made, without their secrets, oldest first",
    answers={
        200: answer(
            "The keys",
            openapi.object_of(keys=openapi.listed(ref("Key")), count=openapi.COUNT),
        )
    },
    problems=(401, 403, 503),
)


async def list_keys(request: Request) -> Response:
    """Answer with all keys that were ever made, without their secrets."""
    keys = await _all_keys(request)
    return _json({"keys": keys, "count": len(keys)})


async def keys_file(request: Request, file_format: FileFormat) -> Response:
    """Answer with a file of all keys that were ever made, without their secrets."""
    return await whole_file(request, file_format, _KEYS, await _all_keys(request))


async def _all_keys(request: Request) -> list[openapi.Json]:
    must_hold_a_key(request)
    found = services(request)
    with audited(request, "listed all", "keys"):
        keys = await found.calls.read(found.store.keys.all)
    now = found.clock()
    return [key.to_json(now) for key in keys]


_KEYS = Sheet(name="keys", columns=[*(each.name for each in fields(Key) if each.repr), "standing"])


_PATH: openapi.Json = {
    "type": ["string", "null"],
    "description": "The path that the key opens, if its scope is registry or badge.",
}
_ADD_KEY = operation(
    "addKey",
    "Make a key",
    request_body=openapi.body(ref("NewKey")),
    answers={
        201: answer(
            "The key, which is not shown again; and why it may cover more servers than was meant",
            openapi.object_of(
                key=ref("Key"),
                token=openapi.TEXT,
                path=_PATH,
                warnings=openapi.listed(openapi.TEXT),
            ),
        )
    },
    problems=(400, 401, 403, 408, 413, 415, 422, 503),
)


async def add_key(request: Request) -> Response:
    """Create an API key. Only this answer ever contains its secret."""
    key, token = await create_key(request, await decoded_json(request))
    warning = warning_about(key.servers)
    made = {
        "key": key.to_json(key.created_at),
        "token": token,
        "path": path_of(key, token),
        "warnings": [] if warning is None else [warning],
    }
    return _json(made, status=201)


_REVOKED = openapi.object_of(status={"const": "revoked"}, id=openapi.TEXT)
_REVOKE_KEY = operation(
    "revokeKey",
    "Take a key back; receivers refuse it within seconds",
    parameters=[openapi.FORGET],
    answers={
        200: answer(
            "Revoked; and if that was asked for, how many of its servers were forgotten, and "
            "whether some may be left because the database went away: then ask again",
            {
                **_REVOKED,
                "properties": {
                    **_REVOKED["properties"],
                    "forgotten": openapi.COUNT,
                    "more": {"type": "boolean"},
                },
            },
        )
    },
    problems=(400, 401, 403, 404, 503),
)


async def revoke_key(request: Request) -> Response:
    """Revoke a key; with `forget=true` in the query, delete its servers too."""
    forgets = asks_to_forget(request)
    key = await revoke(request, again=forgets)
    said = {"status": "revoked", "id": key.id}
    if not forgets:
        return _json(said)
    forgotten, is_more = await forget(request, key)
    return _json({**said, "forgotten": forgotten, "more": is_more})


_ROTATE_KEY = operation(
    "rotateKey",
    "Give a key another secret; its servers stay its own",
    answers={
        200: answer(
            "The key, which is not shown again",
            openapi.object_of(
                status={"const": "rotated"}, id=openapi.TEXT, token=openapi.TEXT, path=_PATH
            ),
        )
    },
    problems=(401, 403, 404, 409, 503),
)


async def rotate_key(request: Request) -> Response:
    """Give a key another secret. Only this answer ever contains the secret."""
    key, token = await rotate(request)
    return _json({"status": "rotated", "id": key.id, "token": token, "path": path_of(key, token)})


_GET_OWNER = operation(
    "getOwner",
    "To which key a server belongs",
    answers={200: answer("Its id", ref("Owner"))},
    problems=(401, 403, 404, 503),
)


async def get_owner(request: Request) -> Response:
    """Answer with the id of the key that owns a server; null if no key owns it."""
    server_id = request.path_params["server_id"]
    found = services(request)
    if await found.fleet.get(server_id) is None:
        raise _no_such_server(server_id)
    key_id = await found.calls.read(found.store.servers.owner, server_id)
    return _json({"server_id": server_id, "key_id": key_id})


_PUT_OWNER = operation(
    "handOver",
    "Let a server belong to another key, or to none until an agent's key writes it",
    request_body=openapi.body(
        {**openapi.object_of(key_id=openapi.ID_OR_NULL), "additionalProperties": False}
    ),
    answers={200: answer("It does", ref("Owner"))},
    problems=(400, 401, 403, 404, 408, 413, 415, 422, 503),
)


async def put_owner(request: Request) -> Response:
    """
    Make the key whose id is in the body the owner of a server.

    If the id is null, the next key that writes the server becomes its owner.
    """
    key_id = _wanted_owner(await decoded_json(request))
    await hand_over(request, key_id)
    return _json({"server_id": request.path_params["server_id"], "key_id": key_id})


_FORGET_SERVERS = operation(
    "forgetServers",
    "Forget servers that are down, have left or are superseded",
    description="Those that match all filters, of which there must be one. A server that stands "
    "for a database goes with its nodes and with all that it superseded, and stays as long as one "
    "of its nodes is heard. It is done in steps: when one cannot be done, the answer tells of the "
    "steps before it.",
    parameters=openapi.WHICH_TO_FORGET,
    answers={200: answer("Those that are, or would be, forgotten", openapi.FORGOTTEN)},
    problems=(400, 401, 403, 503),
)


async def forget_servers(request: Request) -> Response:
    """Delete the servers that match the query; in a dry run, only list them."""
    query = forget_query(request)
    found = services(request)
    now = found.clock()
    heard_before = None if query.silent_for is None else now - query.silent_for
    run = Forgetting(
        found.store,
        found.calls,
        Forgettable(matching=query.matching, heard_before=heard_before),
        now=now,
        limit=query.limit,
    )
    await (run.look() if query.is_dry_run else forget_many(request, run, request.url.query))
    return _json(
        {
            "status": "dry_run" if query.is_dry_run else "forgotten",
            "count": len(run.ids),
            "server_ids": [*run.ids],
            "more": run.is_more,
        }
    )


async def forget_many(request: Request, run: Forgetting, which: str) -> None:
    """
    Delete servers in steps, and write to the audit log how many, and which were meant.

    A database error after the first step ends the run, but is not raised: the answer then says how
    many servers were deleted. Raises StoreUnavailable for an error before any server was deleted,
    and OutcomeUnknown when it is not known whether the servers of a step are deleted.

    Args:
        request: Tells the key and the address of the client, for the log.
        run: Deletes the servers, and knows afterwards which ones were deleted.
        which: The filter, or the ids of the servers, for the log.
    """
    try:
        await run.forget()
    except OutcomeUnknown:
        _note(request, f"forgot {len(run.ids)} servers, and perhaps more, that match", which)
        raise
    except StoreUnavailable as error:
        if not run.ids:
            raise
        _log.warning("Some servers that were to be forgotten are not: %s", error)
    _note(request, f"forgot {len(run.ids)} servers that match", which)


async def create_key(request: Request, asked: object) -> tuple[Key, str]:
    """
    Create and store the API key that a decoded JSON value describes.

    Returns the key, and its whole text, which contains the secret. Raises InvalidMessage for a
    wrong value, and Refusal for a request without a key.
    """
    must_hold_a_key(request)
    found = services(request)
    now = found.clock()
    key, token = NewKey.of(asked, now=now).issue(now=now)
    with audited(request, f"made a key for {key.scope.value}s,", key.id):
        await found.calls.change(found.store.keys.add, key)
    await found.mirror.refresh()
    return key, token


async def revoke(request: Request, *, again: bool = False) -> Key:
    """
    Revoke the key that the path names; return the key as it was before.

    Raises Refusal for an unknown key. Raises Refusal for a key that is revoked already, unless
    `again` is true.
    """
    key = await _key_or_refresh(request)
    found = services(request)
    with audited(request, "revoked the key", key.id):
        was_good = await found.calls.change(found.store.keys.revoke, key.id, found.clock())
        if not (was_good or again):
            raise _no_such_key(key.id)
    await found.mirror.refresh()
    return key


async def forget(request: Request, key: Key) -> tuple[int, bool]:
    """
    Delete all servers that a key owns, after it was revoked.

    Each server is deleted in a transaction of its own. A database error ends that, but is not
    raised, because the key is revoked all the same.

    Returns how many servers were certainly deleted, and whether there may be more.
    """
    found = services(request)
    servers = found.store.servers
    deleted = 0
    try:
        for server_id in await found.calls.read(servers.owned, key.id):
            at = found.clock()
            deleted += await found.calls.change(servers.delete_owned, server_id, key.id, at)
    except StoreUnavailable as error:
        _log.warning("Some servers of the revoked key %s are not forgotten: %s", key.id, error)
        _note(request, f"forgot {deleted} servers, and perhaps more, of the key", key.id)
        return deleted, True
    _note(request, "forgot the servers of the key", key.id)
    return deleted, False


async def rotate(request: Request) -> tuple[Key, str]:
    """
    Give the key that the path names another secret.

    Returns the key as it was before, and its new whole text, which contains the secret. Raises
    Refusal for a key that is unknown, revoked or expired.
    """
    key = await _key_or_refresh(request)
    found = services(request)
    if key.is_expired(found.clock()):
        raise Refusal(409, "key_expired", _EXPIRED.format(key.id))
    token = new_token(key.id)
    with audited(request, "rotated the key", key.id):
        if not await found.calls.change(
            found.store.keys.rotate, key.id, digest(token), key.expires_at
        ):
            raise _no_such_key(key.id)
    await found.mirror.refresh()
    return key, token


async def hand_over(request: Request, key_id: str | None) -> None:
    """
    Make a key the owner of the server that the path names.

    Raises InvalidMessage for a key that may not own the server, and Refusal for an unknown server.

    Args:
        request: The request.
        key_id: The id of the key. If it is None, the key that writes the server next becomes its
            owner.
    """
    server_id = request.path_params["server_id"]
    found = services(request)
    if key_id is not None:
        key = await _found(request, key_id)
        reason = key.why_not_own(server_id, found.clock()) if key else _NO_SUCH_KEY.format(key_id)
        if reason is not None:
            raise InvalidMessage([Problem("key_id", reason)])
    to = key_id or "whoever comes next"
    with audited(request, f"handed over to {to} the server", server_id):
        if not await found.calls.change(found.store.servers.hand_over, [server_id], key_id):
            raise _no_such_server(server_id)


async def delete_server(request: Request) -> None:
    """Delete the server that the path names. Raises Refusal for an unknown server."""
    server_id = request.path_params["server_id"]
    found = services(request)
    with audited(request, "deleted the server", server_id):
        if not await found.calls.change(found.store.servers.delete, server_id, found.clock()):
            raise _no_such_server(server_id)


def _wanted_owner(asked: object) -> str | None:
    match asked:
        case {"key_id": str(key_id), **more} if not more:
            return key_id
        case {"key_id": None, **more} if not more:
            return None
    raise InvalidMessage([Problem("key_id", "expected the id of a key, or null, and nothing else")])


async def decoded_json(request: Request) -> object:
    """
    Read and decode the JSON body of a request.

    Raises Refusal for a wrong Content-Type and for a body that is too large or too slow,
    MalformedJSON for a body that is not JSON, and InvalidMessage for JSON that is nested too deeply
    or repeats a name in an object.
    """
    body = await json_body(
        request.scope, request.receive, MAX_MESSAGE_BYTES, services(request).body_timeout
    )
    parse(body)
    try:
        return json.loads(body, object_pairs_hook=_without_duplicates)
    except RecursionError as error:
        raise InvalidMessage([Problem("", "is nested too deeply")]) from error


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """
    Make a dict of a JSON object. Raises InvalidMessage for a name that is there twice.

    Of two values of one name, a proxy that checks bodies may see another than the receiver.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        count = Counter(name for name, _ in pairs)
        duplicates = sorted(name for name, n in count.items() if n > 1)[:10]
        raise InvalidMessage([Problem(name, "is there more than once") for name in duplicates])
    return found


async def _key_or_refresh(request: Request) -> Key:
    """The key that the path names; reads new keys from the database if it is not in memory."""
    await _found(request, request.path_params["key_id"])
    return key_of(request)


async def _found(request: Request, key_id: str) -> Key | None:
    mirror = services(request).mirror
    if visitor(request).key is not None and mirror.keys.get(key_id) is None:
        await mirror.refresh()
    return mirror.keys.get(key_id)


def key_of(request: Request) -> Key:
    """
    The key that the path names. Raises Refusal when there is no such key.

    Raises Refusal, too, for a client without a key. As long as no key was ever made, the route lets
    clients on the receiver's own machine in without one.
    """
    must_hold_a_key(request)
    key_id = request.path_params["key_id"]
    key = services(request).mirror.keys.get(key_id)
    if key is None:
        raise _no_such_key(key_id)
    return key


def must_hold_a_key(request: Request) -> None:
    """
    Raise Refusal for a request without a key.

    Before the first key is made, clients on the receiver's machine may do everything but manage
    keys.
    """
    if visitor(request).key is None:
        raise Refusal(403, "no_keys_yet", _FIRST)


def _json(content: object, *, status: int = 200) -> Response:
    return Response(
        orjson.dumps(content),
        status,
        media_type="application/json",
        headers={"Cache-Control": "no-store"},
    )


def _no_such_server(server_id: str) -> Refusal:
    return Refusal(404, "not_found", f"There is no server {server_id!r}.")


def _no_such_key(key_id: str) -> Refusal:
    return Refusal(404, "not_found", _NO_SUCH_KEY.format(key_id))


_NO_SUCH_KEY = "There is no key {!r} that is not revoked."
_EXPIRED = (
    "The key {} has expired. Make another and hand its servers over, or give this one another "
    "time: odoo-mcp-fleet keys rotate --expires"
)
_FIRST = (
    "The first key is made on the receiver's machine: "
    "odoo-mcp-fleet keys create --name admin --scope admin"
)

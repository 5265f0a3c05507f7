"""
What administrators do: keys, whose servers are whose, and which are forgotten.

Each use of their power leaves a line in the log `receiver.audit`.
"""

import json
import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from contract import InvalidMessage, Problem, parse
from receiver.access.gate import Guarded
from receiver.domain.errors import OutcomeUnknown, Refusal
from receiver.domain.keys import Key, NewKey, Power, digest, new_token
from receiver.web.body_timeout import Patience
from receiver.web.context import door_of, fleet_of
from receiver.web.requests import MAX_BODY_BYTES, json_body

__all__ = [
    "forget_server",
    "give_server",
    "key_of",
    "make_key",
    "must_hold_a_key",
    "revoke",
    "rotate",
    "routes",
]

_audit = logging.getLogger("receiver.audit")


def routes(patience: Patience) -> list[Guarded]:
    """Each call; bodies are waited for with such patience."""
    call = partial(Guarded, needs=Power.MANAGE)
    body = partial(_json_of, patience=patience)

    async def add(request: Request) -> Response:
        return await add_key(request, await body(request))

    async def give(request: Request) -> Response:
        key_id = _wanted_owner(await body(request))
        await give_server(request, key_id)
        return _json({"server_id": request.path_params["server_id"], "key_id": key_id})

    return [
        call("/keys", list_keys, methods=["GET"]),
        call("/keys", add, methods=["POST"]),
        call("/keys/{key_id}", revoke_key, methods=["DELETE"]),
        call("/keys/{key_id}/rotate", rotate_key, methods=["POST"]),
        # A server_id may hold slashes.
        call("/servers/{server_id:path}/owner", get_owner, methods=["GET"]),
        call("/servers/{server_id:path}/owner", give, methods=["PUT"]),
    ]


@contextmanager
def _audited(request: Request, did: str, what: str) -> Iterator[None]:
    """Leave a line that tells who did what, from where; also when it is not known whether."""
    key: Key | None = request.scope["key"]
    who = f"key {key.id} ({key.name!r})" if key else "somebody without a key"
    where = request.client.host if request.client else "a socket"
    try:
        yield
    except OutcomeUnknown:
        _audit.info("%s perhaps %s %r, from %s", who, did, what, where)
        raise
    _audit.info("%s %s %r, from %s", who, did, what, where)


async def list_keys(request: Request) -> Response:
    """All keys that were ever made, without their secrets."""
    must_hold_a_key(request)
    with _audited(request, "listed all", "keys"):
        keys = await fleet_of(request).keys()
    now = fleet_of(request).now()
    return _json({"keys": [key.to_json(now) for key in keys], "count": len(keys)})


async def add_key(request: Request, asked: object) -> Response:
    """Make a key. Only this answer ever shows it."""
    key, token = await make_key(request, asked)
    return _json({"key": key.to_json(key.created_at), "token": token}, status=201)


async def revoke_key(request: Request) -> Response:
    """Take a key back."""
    key = await revoke(request)
    return _json({"status": "revoked", "id": key.id})


async def rotate_key(request: Request) -> Response:
    """Give a key another secret. Only this answer ever shows it."""
    key, token = await rotate(request)
    return _json({"status": "rotated", "id": key.id, "token": token})


async def get_owner(request: Request) -> Response:
    """To which key a server belongs."""
    server_id = request.path_params["server_id"]
    if await fleet_of(request).get(server_id) is None:
        raise _no_such_server(server_id)
    return _json({"server_id": server_id, "key_id": await fleet_of(request).owner(server_id)})


async def make_key(request: Request, asked: object) -> tuple[Key, str]:
    """
    Make a key that is asked for by what JSON decodes to: what is kept, and what its holder gets.

    Raises InvalidMessage.
    """
    must_hold_a_key(request)
    now = fleet_of(request).now()
    key, token = NewKey.of(asked, now=now).issue(now=now)
    with _audited(request, f"made a key for {key.scope.value}s,", key.id):
        await fleet_of(request).add_key(key)
    await door_of(request).refresh()
    return key, token


async def revoke(request: Request) -> Key:
    """Take back the key that is meant; it is as it was before."""
    key = await _meant(request)
    with _audited(request, "revoked the key", key.id):
        if not await fleet_of(request).revoke_key(key.id):
            raise _no_such_key(key.id)
    await door_of(request).refresh()
    return key


async def rotate(request: Request) -> tuple[Key, str]:
    """Give the key that is meant another secret: the key, and what its holder gets."""
    key = await _meant(request)
    if key.is_expired(fleet_of(request).now()):
        raise Refusal(409, "key_expired", _EXPIRED.format(key.id))
    token = new_token(key.id)
    with _audited(request, "rotated the key", key.id):
        if not await fleet_of(request).rotate_key(key, digest(token)):
            raise _no_such_key(key.id)
    await door_of(request).refresh()
    return key, token


async def give_server(request: Request, key_id: str | None) -> None:
    """Let the server that is meant belong to another key, or to the one that writes it next."""
    server_id = request.path_params["server_id"]
    if key_id is not None:
        key = await _found(request, key_id)
        now = fleet_of(request).now()
        reason = key.why_not_own(server_id, now) if key else _NO_SUCH_KEY.format(key_id)
        if reason is not None:
            raise InvalidMessage([Problem("key_id", reason)])
    to = key_id or "whoever comes next"
    with _audited(request, f"handed over to {to} the server", server_id):
        if not await fleet_of(request).hand_over(server_id, key_id):
            raise _no_such_server(server_id)


async def forget_server(request: Request) -> None:
    """Forget the server that is meant."""
    server_id = request.path_params["server_id"]
    with _audited(request, "deleted the server", server_id):
        if not await fleet_of(request).delete(server_id):
            raise _no_such_server(server_id)


def _wanted_owner(asked: object) -> str | None:
    match asked:
        case {"key_id": str(key_id), **more} if not more:
            return key_id
        case {"key_id": None, **more} if not more:
            return None
    raise InvalidMessage([Problem("key_id", "expected the id of a key, or null, and nothing else")])


async def _json_of(request: Request, *, patience: Patience) -> object:
    body = await json_body(request.scope, request.receive, MAX_BODY_BYTES, patience)
    parse(body)
    try:
        return json.loads(body, object_pairs_hook=_without_twins)
    except RecursionError as error:
        raise InvalidMessage([Problem("", "is nested too deeply")]) from error


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """What is there twice is read in one way here, and perhaps in another by who let it pass."""
    found = dict(pairs)
    if len(found) < len(pairs):
        count = Counter(name for name, _ in pairs)
        twins = sorted(name for name, n in count.items() if n > 1)[:10]
        raise InvalidMessage([Problem(name, "is there more than once") for name in twins])
    return found


async def _meant(request: Request) -> Key:
    """The key that is meant, also when another receiver has just made it."""
    await _found(request, request.path_params["key_id"])
    return key_of(request)


async def _found(request: Request, key_id: str) -> Key | None:
    door = door_of(request)
    if request.scope["key"] is not None and door.keys.get(key_id) is None:
        await door.refresh()
    return door.keys.get(key_id)


def key_of(request: Request) -> Key:
    """The key that is meant."""
    must_hold_a_key(request)
    key_id = request.path_params["key_id"]
    key = door_of(request).keys.get(key_id)
    if key is None:
        raise _no_such_key(key_id)
    return key


def must_hold_a_key(request: Request) -> None:
    """Whoever is on the machine needs no key as long as there is none, but for keys."""
    if request.scope["key"] is None:
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
    "time: python -m receiver keys rotate --expires"
)
_FIRST = (
    "The first key is made on the receiver's machine: "
    "python -m receiver keys create --name admin --scope admin"
)

"""The receiver's HTTP interface for programs."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import orjson
from attrs import asdict
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from contract import (
    FleetError,
    Heartbeat,
    InvalidMessage,
    Problem,
    Registration,
    ServerRecord,
    parse,
)
from receiver.decoding import Reader, is_plain
from receiver.errors import Refusal
from receiver.fleet import Fleet
from receiver.openapi import document
from receiver.patience import Patience
from receiver.problems import problem
from receiver.requests import MAX_BATCH_BYTES, MAX_BODY_BYTES, json_body, list_query, write_cursor

__all__ = ["MAX_BATCH_SIZE", "Posted", "routes"]

MAX_BATCH_SIZE = 1000


Answer = tuple[int, object]


def routes(*, body_seconds: float) -> list[Route]:
    """Each call of the interface; a body must arrive within so many seconds."""
    posted = partial(Posted, patience=Patience(body_seconds))
    return [
        Route("/heartbeat", posted(heartbeat), methods=["POST"]),
        Route("/heartbeats", posted(heartbeats, max_bytes=MAX_BATCH_BYTES), methods=["POST"]),
        Route("/register", posted(register), methods=["POST"]),
        Route("/servers", list_servers, methods=["GET"]),
        # A server_id may hold slashes.
        Route("/servers/{server_id:path}", get_server, methods=["GET"]),
        Route("/servers/{server_id:path}", delete_server, methods=["DELETE"]),
        Route("/health", health, methods=["GET"]),
        Route("/openapi.json", openapi, methods=["GET"]),
    ]


class Posted:
    """
    A call that takes JSON and answers with JSON or a problem, as an ASGI app.

    Nearly everything that a receiver hears comes through here, so it does without the
    middleware, the Request and the Response of Starlette, which cost more than the merge.
    """

    def __init__(
        self,
        take: Callable[[Fleet, bytes], Awaitable[Answer]],
        *,
        max_bytes: int = MAX_BODY_BYTES,
        patience: Patience,
    ) -> None:
        self._take = take
        self._read = partial(json_body, max_bytes=max_bytes, patience=patience)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            body = await self._read(scope, receive)
            status, content = await self._take(scope["app"].state.fleet, body)
        except ClientDisconnect:
            return
        except Exception as error:  # the outermost edge: whatever it is gets its document
            await problem(error)(scope, receive, send)
            if isinstance(error, FleetError):
                return
            raise  # for uvicorn to log
        answer = orjson.dumps(content)
        headers = [_JSON_TYPE, (b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": answer})


async def register(fleet: Fleet, body: bytes) -> Answer:
    """Take in a registration. Answers only after it is committed."""
    applied = await fleet.register(_REGISTRATIONS.read(body))

    return 201 if applied.created else 200, {
        "status": "registered",
        "server_id": applied.record.server_id,
    }


async def heartbeat(fleet: Fleet, body: bytes) -> Answer:
    """Take in a heartbeat. Answers only after it is committed."""
    record = await fleet.heartbeat(_HEARTBEATS.read(body))

    return 200, _counted(record)


async def heartbeats(fleet: Fleet, body: bytes) -> Answer:
    """
    Take in the heartbeats of many servers. Answers only after they are committed.

    One that breaks the contract refuses itself only.
    """
    plain = is_plain(body)
    read = [_heartbeat_or_error(item, plain=plain) for item in _batch(parse(body))]
    records = await fleet.heartbeats([each for each in read if isinstance(each, Heartbeat)])

    return 200, {
        "accepted": len(records),
        "rejected": len(read) - len(records),
        "results": _results(read, records),
    }


async def list_servers(request: Request) -> Response:
    """A page of the fleet."""
    query = list_query(request)
    page = await _fleet(request).page(query.matching, after=query.after, limit=query.limit)
    answer = {
        "servers": [sighting.to_json() for sighting in page.servers],
        "count": len(page.servers),
        "next_cursor": page.next_after and write_cursor(page.next_after),
    }
    if query.total:
        answer["total"] = await _fleet(request).count(query.matching)

    return _json(answer)


async def get_server(request: Request) -> Response:
    """One server's record."""
    server_id = request.path_params["server_id"]
    sighting = await _fleet(request).get(server_id)
    if sighting is None:
        raise _no_such_server(server_id)

    return _json(sighting.to_json())


async def delete_server(request: Request) -> Response:
    """Forget a server. Its next message makes it anew."""
    server_id = request.path_params["server_id"]
    if not await _fleet(request).delete(server_id):
        raise _no_such_server(server_id)

    return _json({"status": "deleted", "server_id": server_id})


async def health(request: Request) -> Response:
    """Whether the receiver and its store work."""
    fleet = _fleet(request)
    count = await fleet.count()

    return _json(
        {"status": "healthy", "uptime_seconds": fleet.uptime_seconds(), "server_count": count}
    )


async def openapi(_: Request) -> Response:
    """This interface, described."""
    return _json(document())


def _fleet(request: Request) -> Fleet:
    fleet: Fleet = request.app.state.fleet
    return fleet


def _json(content: object, *, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json")


def _counted(record: ServerRecord) -> dict[str, Any]:
    return {
        "status": "ok",
        "server_id": record.server_id,
        "heartbeat_count": record.heartbeat_count,
    }


def _batch(body: object) -> list[object]:
    if not isinstance(body, list):
        raise InvalidMessage([Problem("", "expected a list of heartbeats")])
    if len(body) > MAX_BATCH_SIZE:
        problem = f"expected at most {MAX_BATCH_SIZE} heartbeats, got {len(body)}"
        raise InvalidMessage([Problem("", problem)])
    return body


def _heartbeat_or_error(item: object, *, plain: bool) -> Heartbeat | InvalidMessage:
    try:
        return _HEARTBEATS.of(item, plain=plain)
    except InvalidMessage as error:
        return error


def _results(
    read: Sequence[Heartbeat | InvalidMessage], records: Sequence[ServerRecord]
) -> list[dict[str, Any]]:
    accepted = iter(records)
    return [
        _rejected(each) if isinstance(each, InvalidMessage) else _counted(next(accepted))
        for each in read
    ]


def _rejected(error: InvalidMessage) -> dict[str, Any]:
    return {
        "status": "rejected",
        "code": error.code,
        "errors": [asdict(problem) for problem in error.problems],
    }


def _no_such_server(server_id: str) -> Refusal:
    return Refusal(404, "not_found", f"There is no server {server_id!r}.")


_HEARTBEATS = Reader(Heartbeat)
_REGISTRATIONS = Reader(Registration)
_JSON_TYPE = (b"content-type", b"application/json")

"""The receiver's HTTP interface for programs."""

from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Any

import orjson
from attrs import asdict
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from contract import FleetError, Heartbeat, InvalidMessage, Problem, Registration
from receiver.access.gate import Guarded
from receiver.domain.errors import Refusal
from receiver.domain.keys import Power
from receiver.metrics.exposition import Metrics, metrics_page
from receiver.service.availability import WINDOWS
from receiver.service.decoding import Reader
from receiver.service.ingest import Outcome, Read
from receiver.store.merging import Applied
from receiver.web.admin_api import forget_server
from receiver.web.body_timeout import Patience
from receiver.web.context import fleet_of
from receiver.web.headers import dressed
from receiver.web.openapi import document
from receiver.web.problems import problem
from receiver.web.prometheus_sd import discovery
from receiver.web.requests import (
    MAX_BATCH_BYTES,
    MAX_BODY_BYTES,
    EventQuery,
    event_query,
    json_body,
    list_query,
    write_cursor,
    write_event_cursor,
)
from receiver.web.sse import event_stream

__all__ = ["MAX_BATCH_SIZE", "Posted", "routes"]

MAX_BATCH_SIZE = 1000


Answer = tuple[int, object]


def routes(patience: Patience, metrics: Metrics) -> list[Guarded]:
    """Each call of the interface; bodies are waited for with such patience, and counted."""
    posted = partial(Posted, patience=patience, metrics=metrics)
    one, many = MAX_BODY_BYTES, MAX_BATCH_BYTES
    return [
        _post("/heartbeat", posted(_read_heartbeat, heartbeat, one)),
        _post("/heartbeats", posted(_read_heartbeats, heartbeats, many)),
        _post("/register", posted(_read_registration, register, one)),
        _get("/servers", list_servers),
        _get("/events", list_events),
        _get("/events/stream", event_stream),
        # A server_id may hold slashes.
        _get("/servers/{server_id:path}/events", list_events_of_server),
        _get("/servers/{server_id:path}", get_server),
        Guarded("/servers/{server_id:path}", delete_server, methods=["DELETE"], needs=Power.MANAGE),
        _get("/health", health, needs=None),
        _get("/metrics", metrics_page),
        _get("/sd/prometheus", discovery),
        _get("/openapi.json", openapi),
    ]


def _get(path: str, endpoint: Any, *, needs: Power | None = Power.READ) -> Guarded:
    return Guarded(path, endpoint, methods=["GET"], needs=needs)


def _post(path: str, endpoint: "Posted") -> Guarded:
    return Guarded(path, endpoint, methods=["POST"], needs=Power.WRITE)


class Posted:
    """
    A call that takes JSON and answers with JSON or a problem, as an ASGI app.

    Nearly everything that a receiver hears comes through here, so it does without the
    middleware, the Request and the Response of Starlette, which cost more than the merge.

    Args:
        read: How the messages of a body are read.
        answer: What is said once they are committed; the metrics know the call by its name.
        max_bytes: How large a body may be.
    """

    def __init__(
        self,
        read: Read,
        answer: Callable[[Outcome], Answer],
        max_bytes: int,
        *,
        patience: Patience,
        metrics: Metrics,
    ) -> None:
        self._metrics = metrics
        self._kind = answer.__name__
        self._read = read
        self._answer = answer
        self._max_bytes = max_bytes
        self._patience = patience

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = perf_counter()
        try:
            state = scope["app"].state
            key = state.door.admit(scope, Power.WRITE)
            body = await json_body(scope, receive, self._max_bytes, self._patience)
            outcome = await state.fleet.submit(body, self._read, key)
            status, content = self._answer(outcome)
        except ClientDisconnect:
            return
        except Exception as error:  # the outermost edge: whatever it is gets its document
            refused = problem(error)
            self._metrics.answered(self._kind, refused.status_code, perf_counter() - began)
            await refused(scope, receive, dressed(scope, send))
            if isinstance(error, FleetError):
                return
            raise  # for uvicorn to log
        self._metrics.answered(self._kind, status, perf_counter() - began, outcome)
        answer = orjson.dumps(content)
        headers = [_JSON_TYPE, (b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": answer})


def register(outcome: Outcome) -> Answer:
    """A registration was taken in."""
    applied = _applied(outcome)

    return 201 if applied.created else 200, {
        "status": "registered",
        "server_id": applied.record.server_id,
    }


def heartbeat(outcome: Outcome) -> Answer:
    """A heartbeat was taken in."""
    return 200, _counted(_applied(outcome))


def heartbeats(outcome: Outcome) -> Answer:
    """Of the heartbeats of many servers, those that keep the contract were taken in."""
    accepted = sum(isinstance(each, Applied) for each in outcome)

    return 200, {
        "accepted": accepted,
        "rejected": len(outcome) - accepted,
        "results": [_result(each) for each in outcome],
    }


async def list_servers(request: Request) -> Response:
    """A page of the fleet."""
    query = list_query(request)
    page = await fleet_of(request).page(
        query.matching, query.order, after=query.after, limit=query.limit
    )
    answer = {
        "servers": [sighting.to_json() for sighting in page.servers],
        "count": len(page.servers),
        "next_cursor": page.next_after and write_cursor(query.order, page.next_after),
    }
    if query.total:
        answer["total"] = await fleet_of(request).count(query.matching)

    return _json(answer)


async def get_server(request: Request) -> Response:
    """One server's record, and how available it was."""
    server_id = request.path_params["server_id"]
    sighting = await fleet_of(request).get(server_id)
    if sighting is None:
        raise _no_such_server(server_id)
    history = (await fleet_of(request).history([sighting.record]))[server_id]

    return _json(
        {
            **sighting.to_json(),
            "availability": {name: history.availability(time) for name, time in WINDOWS.items()},
        }
    )


async def list_events(request: Request) -> Response:
    """What happened in the fleet, newest first."""
    return await _events(request, event_query(request))


async def list_events_of_server(request: Request) -> Response:
    """What happened to a server and to those that it has superseded, newest first."""
    query = event_query(request, server_id=request.path_params["server_id"])
    return await _events(request, query)


async def _events(request: Request, query: EventQuery) -> Response:
    part = await fleet_of(request).events(query.choice, before=query.before, limit=query.limit)
    return _json(
        {
            "events": [each.to_json() for each in part.events],
            "count": len(part.events),
            "next_cursor": write_event_cursor(part.events[-1].id) if part.is_more else None,
        }
    )


async def delete_server(request: Request) -> Response:
    """Forget a server. Its next message makes it anew."""
    await forget_server(request)

    return _json({"status": "deleted", "server_id": request.path_params["server_id"]})


async def health(request: Request) -> Response:
    """Whether the receiver and its store work."""
    fleet = fleet_of(request)
    count = await fleet.count()

    return _json(
        {"status": "healthy", "uptime_seconds": fleet.uptime_seconds(), "server_count": count}
    )


async def openapi(_: Request) -> Response:
    """This interface, described."""
    return _json(document())


def _json(content: object, *, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json")


def _applied(outcome: Outcome) -> Applied:
    """What became of the only message. Raises the Refusal when that is what it was."""
    (only,) = outcome
    if isinstance(only, Refusal):
        raise only
    assert isinstance(only, Applied)  # what is no message was no outcome, but raised
    return only


def _counted(applied: Applied) -> dict[str, Any]:
    record = applied.record
    return {
        "status": "ok",
        "server_id": record.server_id,
        "heartbeat_count": record.heartbeat_count,
    }


def _result(of: Applied | InvalidMessage | Refusal) -> dict[str, Any]:
    if isinstance(of, Applied):
        return _counted(of)
    problems = of.problems if isinstance(of, InvalidMessage) else [Problem("server_id", str(of))]
    return {
        "status": "rejected",
        "code": of.code,
        "errors": [asdict(problem) for problem in problems],
    }


def _no_such_server(server_id: str) -> Refusal:
    return Refusal(404, "not_found", f"There is no server {server_id!r}.")


_heartbeats = Reader(Heartbeat)
_registrations = Reader(Registration)


def _read_heartbeat(body: bytes) -> tuple[Heartbeat]:
    return (_heartbeats.read(body),)


def _read_heartbeats(body: bytes) -> list[Heartbeat | InvalidMessage]:
    return _heartbeats.read_list(body, at_most=MAX_BATCH_SIZE, longest=MAX_BODY_BYTES)


def _read_registration(body: bytes) -> tuple[Registration]:
    return (_registrations.read(body),)


_JSON_TYPE = (b"content-type", b"application/json")

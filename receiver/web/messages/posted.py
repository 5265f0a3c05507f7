"""
The endpoint of registrations and heartbeats.

Nearly every request is for such an endpoint. So it does not use Starlette's middleware, Request and
Response, which would take longer than writing the message. The server need not even make an ASGI
call: it can ask `Posted.expects` about the head of a request, and hand the rest to `Posted.take`.
"""

from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Protocol

import orjson
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from contract import FleetError
from receiver.domain.keys import Power
from receiver.domain.outcomes import BodyKind, Outcome
from receiver.service.ingest import Body
from receiver.web.context import Services, services
from receiver.web.headers import begin, end, with_headers
from receiver.web.messages.answers import Answer
from receiver.web.problems import problem
from receiver.web.requests import is_plain_json, json_body

__all__ = ["Exchange", "Posted"]


class Exchange(Protocol):
    """A request that was taken, and waits for its answer: one of these methods is called once."""

    def answer(self, status: int, body: bytes) -> None:
        """Send the answer, a body in JSON; does nothing if the client has gone."""

    def call_app(self) -> None:
        """Make the ASGI call for the request, which sends the answer."""


class Posted:
    """
    An ASGI app that stores the registrations or heartbeats of a request, and answers in JSON.

    Args:
        kind: Whether the body is a registration, a heartbeat or a list of heartbeats; its value is
            a label in the metrics.
        answer: Makes the answer after the commit. It gets the result of each message, which is a
            record or an error, and how many seconds the messages waited for their commit.
        max_bytes: How many bytes a body may have at most.
    """

    def __init__(
        self, kind: BodyKind, answer: Callable[[Outcome, float], Answer], max_bytes: int
    ) -> None:
        self._kind = kind
        self._label = kind.value
        self._answer = answer
        self._max_bytes = max_bytes
        self._most_taken = min(max_bytes, _MOST_TAKEN)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began: float = scope.get(_BEGAN) or perf_counter()
        found = services(scope)
        try:
            _raise_error_of(scope)
            key = found.gate.admit(scope, Power.WRITE)
            body = await json_body(scope, receive, self._max_bytes, found.body_timeout)
            submitted = perf_counter()
            outcome = await found.fleet.submit(body, self._kind, key)
            status, content = self._answer(outcome, perf_counter() - submitted)
        except ClientDisconnect:
            return
        except Exception as error:  # the outermost edge: every error gets its problem document
            refused = problem(error)
            found.metrics.answered(self._label, refused.status_code, perf_counter() - began)
            await refused(scope, receive, with_headers(scope, send))
            if isinstance(error, FleetError):
                return
            raise  # for uvicorn to log
        found.metrics.answered(self._label, status, perf_counter() - began, outcome)
        answer = orjson.dumps(content)
        headers = [_JSON_TYPE, (b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    def expects(self, scope: Scope) -> bool:
        """
        Whether the server may read a body and hand it to `take`, in place of an ASGI call.

        True if the head of the request is like those of nearly every request for this endpoint.

        Args:
            scope: The ASGI scope of the request.
        """
        if not is_plain_json(scope, self._most_taken):
            return False
        return services(scope).gate.expected(scope, Power.WRITE) is not False

    def take(self, scope: Scope, body: bytes, exchange: Exchange) -> None:
        """
        Store the messages of a request, and answer it once they are committed.

        Does not wait for that. Errors are answered by the ASGI call.

        Args:
            scope: The ASGI scope of a request that `expects` has approved, or has approved a moment
                ago for another request with the same head.
            body: Its whole body.
            exchange: Sends the answer.
        """
        began = perf_counter()
        found = services(scope)
        begun = begin(scope)
        try:
            key = found.gate.expected(scope, Power.WRITE)
            if key is False:  # the key has changed, or `expects` approved it for another client
                exchange.call_app()
                return
            if key is not None:
                found.gate.check(key, Power.WRITE)
            committed = partial(self._committed, found, scope, exchange, began)
            found.fleet.submit_to(committed, body, self._kind, key)
        except Exception as error:  # noqa: BLE001 - `__call__` raises it again
            _call_app(scope, exchange, error, began)
        finally:
            end(begun)  # here, the context is that of the connection, and not of the request

    def _committed(
        self, found: Services, scope: Scope, exchange: Exchange, began: float, body: Body
    ) -> None:
        """Answer a request that was taken, when all of its messages are committed or refused."""
        if body.error is not None:
            _call_app(scope, exchange, body.error, began)
            return
        seconds = perf_counter() - began
        try:
            status, content = self._answer(body.outcomes, seconds)
            answer = orjson.dumps(content)
        except Exception as error:  # noqa: BLE001 - as above; such as the error of the only message
            _call_app(scope, exchange, error, began)
        else:
            found.metrics.answered(self._label, status, seconds, body.outcomes)
            exchange.answer(status, answer)


def _call_app(scope: Scope, exchange: Exchange, error: Exception, began: float) -> None:
    """Let the ASGI app answer with an error a request that was taken when `began` says."""
    scope[_ERROR], scope[_BEGAN] = error, began
    exchange.call_app()


def _raise_error_of(scope: Scope) -> None:
    """Raise the error with which a request that was taken is answered; nothing for any other."""
    if _ERROR in scope:
        # Else the scope, and the frames in the error's traceback, would keep each other in memory.
        raise scope.pop(_ERROR)


_MOST_TAKEN = 64 * 1024
"""
How long a body may be that is taken without an ASGI call, in bytes.

Longer ones take so long to store that the call does not matter, and are not to be kept in memory
before anybody wants them.
"""

_ERROR = "receiver.error"
"""The key of a scope under which is the error that the app shall answer with."""

_BEGAN = "receiver.began"
"""The key of a scope under which is when the request was taken, in seconds of `perf_counter`."""

_JSON_TYPE = (b"content-type", b"application/json")

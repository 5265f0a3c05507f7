"""Turns errors into answers: problem documents (RFC 9457) with a stable `code`."""

import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import orjson
from attrs import asdict
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ExceptionHandler

from contract import FleetError, InvalidMessage, MalformedJSON
from receiver.domain.errors import OutcomeUnknown, Overloaded, Refusal, StoreUnavailable
from receiver.web.headers import accepts_html

__all__ = ["RETRY_AFTER_SECONDS", "exception_handlers", "problem", "refusal"]

RETRY_AFTER_SECONDS = 5

_UNAVAILABLE = {
    Overloaded.code: "Too many messages wait to be written. Nothing was changed; send it again.",
    OutcomeUnknown.code: "The database did not say what became of the commit, so that it is not "
    "known whether this counts. Send the request again.",
    StoreUnavailable.code: "The database does not answer. Nothing was changed; send the request "
    "again.",
}
_log = logging.getLogger(__name__)
_CODES = {404: "not_found", 405: "method_not_allowed"}


def exception_handlers(page: Callable[[Request, Refusal], Response]) -> dict[Any, ExceptionHandler]:
    """
    The exception handlers of the Starlette app.

    Args:
        page: Makes the answer to a browser that opens a path at which there is no page, or none for
            its method.
    """

    async def fleet_error(request: Request, error: Exception) -> Response:
        is_nowhere = "endpoint" not in request.scope
        if is_nowhere and isinstance(error, Refusal) and accepts_html(request.scope):
            return page(request, error)
        return problem(error)

    async def http_exception(request: Request, error: Exception) -> Response:
        refused = _not_there(request, error)
        if refused.status in _CODES and accepts_html(request.scope):
            return page(request, refused)
        return _document(refused)

    return {
        FleetError: fleet_error,
        HTTPException: http_exception,
        Exception: _problem,
    }


def problem(error: Exception) -> Response:
    """
    The answer to a request whose handler raised an error: a problem document in JSON.

    Logs the error when the database does not answer or too many messages wait.
    """
    if isinstance(error, StoreUnavailable | Overloaded):
        _log.warning("%s", error)
    return _document(refusal(error))


def refusal(error: Exception) -> Refusal:
    """The Refusal, with HTTP status, code and text, for an error that a handler raised."""
    match error:
        case Refusal():
            return error
        case MalformedJSON():
            return Refusal(400, error.code, str(error))
        case InvalidMessage():
            return Refusal(422, error.code, str(error), errors=error.problems)
        case StoreUnavailable() | Overloaded():
            return Refusal(
                503,
                error.code,
                _UNAVAILABLE[error.code],
                headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
            )
        case _:
            # Starlette raises the error again after this answer; uvicorn logs it and closes
            # the connection.
            return Refusal(
                500,
                "internal_error",
                "The receiver failed; its log says why. Nothing was changed.",
                headers={"Connection": "close"},
            )


async def _problem(_: Request, error: Exception) -> Response:
    return problem(error)


def _not_there(request: Request, error: Exception) -> Refusal:
    """The Refusal for an error of Starlette, such as for a path that no route has."""
    assert isinstance(error, HTTPException)
    status = error.status_code
    detail = {
        404: f"There is nothing at {request.url.path}.",
        405: f"{request.method} cannot be used at {request.url.path}.",
    }.get(status, error.detail)
    code = _CODES.get(status, "http_error")
    return Refusal(status, code, detail, headers=error.headers)


def _document(error: Refusal) -> Response:
    content: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(error.status).phrase,
        "status": error.status,
        "detail": str(error),
        "code": error.code,
    }
    if error.errors:
        content["errors"] = [asdict(problem) for problem in error.errors]

    return Response(
        orjson.dumps(content),
        error.status,
        headers=error.headers,
        media_type="application/problem+json",
    )

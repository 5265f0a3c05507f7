"""What a request holds, read with care."""

import base64
from collections.abc import Callable
from typing import Any

import orjson
from attrs import fields, frozen
from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope

from contract import Problem
from receiver.errors import Refusal
from receiver.patience import Patience
from receiver.store import EVERYTHING, Filter

__all__ = [
    "DEFAULT_LIMIT",
    "MAX_BATCH_BYTES",
    "MAX_BODY_BYTES",
    "MAX_LIMIT",
    "ListQuery",
    "json_body",
    "list_query",
    "write_cursor",
]

MAX_BODY_BYTES = 64 * 1024
MAX_BATCH_BYTES = 1024 * 1024
DEFAULT_LIMIT = 100
MAX_LIMIT = 1000


@frozen(kw_only=True)
class ListQuery:
    """
    Which part of a list is asked for.

    Attributes:
        limit: How many at most, 1 to 1,000.
        after: The key that the part begins after, from a cursor.
        matching: Which servers are meant.
        total: Whether to count all, which costs a scan.
    """

    limit: int = DEFAULT_LIMIT
    after: str | None = None
    matching: Filter = EVERYTHING
    total: bool = False


async def json_body(scope: Scope, receive: Receive, max_bytes: int, patience: Patience) -> bytes:
    """
    The body of a request that says it is JSON.

    Raises Refusal for another media type, too large a body, or one that takes too long
    to arrive, and ClientDisconnect.
    """
    _expect_json(scope, max_bytes)
    body = b""
    more = True
    try:
        with patience:
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                body += message.get("body", b"")
                if len(body) > max_bytes:
                    raise _too_large(max_bytes)
                more = message.get("more_body", False)
    except TimeoutError as error:
        raise _too_slow(patience.seconds) from error
    return body


def _too_slow(seconds: float) -> Refusal:
    return Refusal(
        408,
        "body_too_slow",
        f"The body did not arrive within {seconds:g} seconds.",
        headers={"Connection": "close"},
    )


def _too_large(max_bytes: int) -> Refusal:
    return Refusal(
        413,
        "body_too_large",
        f"A body may have {max_bytes} bytes at most.",
        headers={"Connection": "close"},
    )


def _expect_json(scope: Scope, max_bytes: int) -> None:
    headers = dict(scope["headers"])
    if int(headers.get(b"content-length", 0)) > max_bytes:
        raise _too_large(max_bytes)
    media_type = headers.get(b"content-type", b"")
    if media_type != b"application/json":
        _accept_media_type(media_type.decode("latin-1"))
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise Refusal(
            415,
            "unsupported_media_type",
            "Send the body as it is, without Content-Encoding.",
            headers={"Accept-Encoding": "identity"},
        )


def _accept_media_type(text: str) -> None:
    media_type = text.partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise Refusal(
            415,
            "unsupported_media_type",
            f"Send JSON with Content-Type: application/json, not {media_type or 'nothing'}.",
            headers={"Accept": "application/json"},
        )


def list_query(request: Request) -> ListQuery:
    """The query parameters of a list. Raises Refusal with everything that is wrong in them."""
    found: dict[str, Any] = {}
    problems = []
    for name, text in request.query_params.multi_items():
        try:
            _take(found, name, text)
        except ValueError as error:
            problems.append(Problem(name, str(error)))
    if problems:
        detail = "; ".join(map(str, problems))
        raise Refusal(400, "invalid_parameter", detail, errors=problems)

    wanted = {name: found.pop(name) for name in _FILTERS if name in found}
    return ListQuery(**found, matching=Filter(**wanted))


def _take(found: dict[str, Any], name: str, text: str) -> None:
    if name not in _PARAMETERS:
        raise ValueError(f"is no parameter here; these are: {', '.join(_PARAMETERS)}")
    key, read = _PARAMETERS[name]
    if key in found:
        raise ValueError("is there more than once")
    found[key] = read(text)


def write_cursor(after: str) -> str:
    """An opaque word that stands for the place after a key."""
    return base64.urlsafe_b64encode(orjson.dumps([after])).decode()


def _cursor(text: str) -> str:
    try:
        match orjson.loads(base64.b64decode(text.encode(), altchars=b"-_", validate=True)):
            case [str(after)]:
                return _text(after)
    except ValueError:
        pass
    raise ValueError("expected the next_cursor of an earlier answer")


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 1 <= int(text) <= MAX_LIMIT):
        raise ValueError(f"expected a whole number from 1 to {MAX_LIMIT}")
    return int(text)


def _text(text: str) -> str:
    if "\x00" in text:
        raise ValueError("expected text without a NUL")
    return text


def _total(text: str) -> bool:
    if text not in {"true", "false"}:
        raise ValueError("expected true or false")
    return text == "true"


_FILTERS = [field.name for field in fields(Filter)]

_PARAMETERS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "limit": ("limit", _limit),
    "cursor": ("after", _cursor),
    "total": ("total", _total),
    **{name: (name, _text) for name in _FILTERS},
}

"""
Headers of answers: the id of the request, which is also in the log, and security headers.

Also `ETag`, with which a client that repeats a request is told that nothing has changed.
"""

import re
from contextvars import ContextVar
from hashlib import sha256
from secrets import token_hex

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Scope, Send

__all__ = [
    "SECURITY_HEADERS",
    "accepts_html",
    "begin",
    "end",
    "is_known",
    "json_answer",
    "request_id",
    "tag_of",
    "with_headers",
]

_HEADER = b"x-request-id"
_HTML = (b"text/html", b"application/xhtml+xml")
_IS_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}").fullmatch
_handled: ContextVar[Scope | None] = ContextVar("handled", default=None)

begin = _handled.set
"""Note the ASGI scope of the current task's request, so that `request_id` finds it."""

end = _handled.reset
"""Forget that scope; takes what `begin` has returned."""


def request_id() -> str | None:
    """The id of the request that the current task handles; None outside of requests."""
    scope = _handled.get()
    return None if scope is None else _id_of(scope)


def with_headers(scope: Scope, send: Send) -> Send:
    """
    Wrap `send` in a function that adds the request id and the security headers to answers.

    The id is the one that the client has sent in `X-Request-ID`, or a random one if that is missing
    or invalid. Headers that an answer already has are not added.
    """

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = list(message.get("headers", ()))
            present = {name for name, _ in headers}
            more = [*SECURITY_HEADERS, (_HEADER, _id_of(scope).encode())]
            if scope.get("scheme") == "https":
                more.append(_HTTPS_ONLY)
            headers += [each for each in more if each[0] not in present]
            message = {**message, "headers": headers}
        await send(message)

    return send_with_headers


def tag_of(*parts: bytes) -> str:
    """The `ETag` of an answer that consists of these parts; equal tags mean equal answers."""
    digest = sha256()
    for part in parts:
        digest.update(part)
    return f'"{digest.hexdigest()[:32]}"'


def json_answer(request: Request, body: bytes, tag: str) -> Response:
    """
    The answer 200 with a body in JSON and its `ETag`, or 304 without a body.

    The answer is 304 if the client has sent the same tag in `If-None-Match`. A tag that begins with
    `W/` (weak) says that bodies with this tag mean the same, but may differ a little.
    """
    headers = {"ETag": tag}
    if is_known(request, tag):
        return Response(status_code=304, headers=headers)
    return Response(body, media_type="application/json", headers=headers)


def is_known(request: Request, tag: str) -> bool:
    """Whether `If-None-Match` has this tag, or `*`: the client has the answer already."""
    known = ",".join(request.headers.getlist("if-none-match"))
    opaque = tag.removeprefix("W/")
    return any(each.strip().removeprefix("W/") in {opaque, "*"} for each in known.split(","))


def accepts_html(scope: Scope) -> bool:
    """
    Whether a client asks for HTML by name in its header Accept, as browsers do for a page.

    A program that takes anything (`*/*`) does not ask for it by name.
    """
    accept = b",".join(value for name, value in scope["headers"] if name == b"accept")
    ranges = (each.lower().replace(b" ", b"").split(b";") for each in accept.split(b","))
    return any(kind in _HTML and b"q=0" not in options for kind, *options in ranges)


def _id_of(scope: Scope) -> str:
    known: str | None = scope.get("request_id")
    if known is None:
        said = next((value for name, value in scope["headers"] if name == _HEADER), b"")
        known = scope["request_id"] = said.decode() if _IS_ID(said) else token_hex(8)
    return known


SECURITY_HEADERS = [
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (
        b"permissions-policy",
        b"camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
    ),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
]
_HTTPS_ONLY = (b"strict-transport-security", b"max-age=31536000")

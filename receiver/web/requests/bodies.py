"""Reading the bodies of requests: JSON, and forms."""

from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from receiver.domain.errors import Refusal
from receiver.web.body_timeout import BodyTimeout

__all__ = ["MAX_FORM_BYTES", "form_fields", "form_pairs", "is_plain_json", "json_body"]

MAX_FORM_BYTES = 16 * 1024
_MAX_FIELDS = 100  # a form may have a checkbox for each kind of alarms


async def json_body(scope: Scope, receive: Receive, max_bytes: int, timeout: BodyTimeout) -> bytes:
    """
    Read the body of a request whose Content-Type is JSON, without parsing it.

    Raises Refusal for another media type, for a Content-Encoding, for a body of more than
    `max_bytes`, and for a body that does not arrive within the timeout. Raises ClientDisconnect
    when the client has closed the connection.
    """
    _check_headers(scope, "JSON", "application/json", max_bytes)
    return await _body(receive, max_bytes, timeout)


def is_plain_json(scope: Scope, max_bytes: int) -> bool:
    """Whether a request has the headers that nearly every request with some JSON has."""
    headers = dict(scope["headers"])
    length = headers.get(b"content-length")
    return (
        headers.get(b"content-type") == b"application/json"
        and length is not None
        and int(length) <= max_bytes
        and b"content-encoding" not in headers
    )


async def form_fields(scope: Scope, receive: Receive, timeout: BodyTimeout) -> dict[str, str]:
    """
    Read the fields of a form: their texts by their names.

    Raises Refusal for a malformed form, a repeated field, more than 100 fields, another media type,
    a Content-Encoding, a body of more than `MAX_FORM_BYTES`, and a body that does not arrive within
    the timeout. Raises ClientDisconnect when the client has closed the connection.
    """
    pairs = await form_pairs(scope, receive, timeout)
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise Refusal(400, "invalid_form", "A field of the form is there more than once.")
    return fields


async def form_pairs(
    scope: Scope,
    receive: Receive,
    timeout: BodyTimeout,
    *,
    max_bytes: int = MAX_FORM_BYTES,
    max_fields: int = _MAX_FIELDS,
) -> list[tuple[str, str]]:
    """
    Read the fields of a form, as pairs of name and text in order; names may be repeated.

    Raises Refusal for a malformed form, more than `max_fields` fields, another media type, a
    Content-Encoding, a body of more than `max_bytes`, and a body that does not arrive within the
    timeout. Raises ClientDisconnect when the client has closed the connection.
    """
    _check_headers(scope, "a form", "application/x-www-form-urlencoded", max_bytes)
    body = await _body(receive, max_bytes, timeout)
    try:
        return parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=bool(body),
            errors="strict",
            max_num_fields=max_fields,
        )
    except ValueError as error:
        raise Refusal(400, "invalid_form", "The form cannot be read.") from error


async def _body(receive: Receive, max_bytes: int, timeout: BodyTimeout) -> bytes:
    body = b""
    more = True
    try:
        with timeout:
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                body += message.get("body", b"")
                if len(body) > max_bytes:
                    raise _too_large(max_bytes)
                more = message.get("more_body", False)
    except TimeoutError as error:
        raise _too_slow(timeout.seconds) from error
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


def _check_headers(scope: Scope, what: str, media_type: str, max_bytes: int) -> None:
    headers = dict(scope["headers"])
    if int(headers.get(b"content-length", 0)) > max_bytes:
        raise _too_large(max_bytes)
    content_type = headers.get(b"content-type", b"").decode("latin-1")
    if content_type != media_type:
        _check_media_type(content_type, what, media_type)
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise Refusal(
            415,
            "unsupported_media_type",
            "Send the body as it is, without Content-Encoding.",
            headers={"Accept-Encoding": "identity"},
        )


def _check_media_type(text: str, what: str, wanted: str) -> None:
    media_type = text.partition(";")[0].strip().lower()
    if media_type != wanted:
        raise Refusal(
            415,
            "unsupported_media_type",
            f"Send {what} with Content-Type: {wanted}, not {media_type or 'nothing'}.",
            headers={"Accept": wanted},
        )

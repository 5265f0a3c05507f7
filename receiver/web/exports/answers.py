"""Answers with files: when they are given in place of JSON, and how they are sent in parts."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Send

from receiver.domain.errors import StoreUnavailable
from receiver.web import openapi
from receiver.web.context import services
from receiver.web.exports.formats import FileFormat, Sheet, asked_format
from receiver.web.openapi import Json

__all__ = ["AnyPart", "InParts", "Part", "described", "file_answer", "or_file", "whole_file"]

Place = TypeVar("Place")

Answer = Callable[[Request], Awaitable[Response]]
FileAnswer = Callable[[Request, FileFormat], Awaitable[Response]]

_log = logging.getLogger(__name__)


class Part(NamedTuple):
    """
    A part of a file.

    Attributes:
        content: The bytes of the part.
        length: How many items of the list it holds.
    """

    content: bytes
    length: int


AnyPart = tuple[Part, Place | None]
"""A part, and the place at which the next part begins, which is None if this is the last one."""


def or_file(as_json: Answer, as_file: FileAnswer) -> Answer:
    """
    Make the endpoint of a list that answers in JSON, or with a file if the request asks for one.

    A request asks for it by the query parameter `format`, or else by the header `Accept`.
    """

    async def endpoint(request: Request) -> Response:
        file_format, rest = asked_format(request)
        answer = await (as_json(rest) if file_format is None else as_file(rest, file_format))
        answer.headers.add_vary_header("Accept")
        return answer

    return endpoint


def described(operation: Json) -> Json:
    """The OpenAPI operation of a list, with the files and the parameter `format` added."""
    found = operation["responses"]["200"]
    files = {each.media_type: {"schema": openapi.TEXT} for each in FileFormat}
    answer = {**found, "content": {**found["content"], **files}}
    parameters = [*operation.get("parameters", ())]
    in_files = _FROM_CURSOR if openapi.CURSOR in parameters else _WHOLE
    says = " ".join(filter(None, [operation.get("description"), in_files, _IN_CSV]))
    return {
        **operation,
        "description": says,
        "parameters": [*parameters, _FORMAT],
        "responses": {**operation["responses"], "200": answer},
    }


async def file_answer(  # noqa: PLR0913 - all but four by name
    request: Request,
    file_format: FileFormat,
    sheet: Sheet,
    read: Callable[[Place | None, int], Awaitable[AnyPart[Place]]],
    *,
    begin: Place | None = None,
    most: int | None = None,
) -> Response:
    """
    Answer with a file.

    The first part is read before the answer begins, so that an error is answered as it would be in
    JSON.

    Args:
        request: The request.
        file_format: The format of the file.
        sheet: Says how the list is written in a file.
        read: Reads a part. It is given the place at which the part begins, None for the beginning
            of the list, and how many items the part may have.
        begin: The place at which the file begins; None for the beginning of the list.
        most: How many items the file has at most; None for all.
    """

    async def parts(first: AnyPart[Place]) -> AsyncIterator[bytes]:
        part, place = first
        yield sheet.head(file_format) + part.content
        left = None if most is None else most - part.length
        while place is not None and left != 0:
            part, place = await read(place, _at_once(left))
            yield part.content
            left = None if left is None else left - part.length

    first = await read(begin, _at_once(most))
    now = services(request).clock()
    headers = {
        "Content-Disposition": f'attachment; filename="{sheet.name}-{now:%Y-%m-%dT%H%M%SZ}'
        f'.{file_format.value}"',
    }
    media_type = f"{file_format.media_type}{_PARAMETERS[file_format]}"
    if request.method == "HEAD":
        return Response(headers=headers, media_type=media_type)
    return InParts(parts(first), headers=headers, media_type=media_type)


async def whole_file(
    request: Request, file_format: FileFormat, sheet: Sheet, items: Sequence[Any]
) -> Response:
    """
    Answer with a file of a list that is short enough to be read at once.

    Args:
        request: The request.
        file_format: The format of the file.
        sheet: Says how the list is written in a file.
        items: All items of the list: JSON objects, or what orjson encodes as such.
    """

    async def read(begin: int | None, limit: int) -> AnyPart[int]:
        first = begin or 0
        end = first + limit
        part = items[first:end]
        following = end if end < len(items) else None
        return Part(sheet.part(file_format, part), len(part)), following

    return await file_answer(request, file_format, sheet, read)


class InParts(StreamingResponse):
    """
    An answer that is sent in parts.

    When the database does not answer in the middle of it, the answer does not end as it should: the
    connection is closed, by which the client notices that something is missing.
    """

    async def stream_response(self, send: Send) -> None:
        try:
            await super().stream_response(send)
        except StoreUnavailable as error:
            _log.warning("The rest of a list is not sent: %s", error)


def _at_once(left: int | None) -> int:
    return AT_ONCE if left is None else min(left, AT_ONCE)


AT_ONCE = 100
"""
How many items a part has at most.

A hundred servers with the longest lists of tools that messages may hold take about 20 MB.
"""

_PARAMETERS = {FileFormat.CSV: "; charset=utf-8; header=present", FileFormat.JSON_LINES: ""}
_WHOLE = "A file, in CSV or JSON Lines, holds the whole list."
_FROM_CURSOR = (
    "A file, in CSV or JSON Lines, holds the whole list from the cursor on, or the first limit of "
    "it."
)
_IN_CSV = "In CSV, a text that a spreadsheet would take for a formula begins with an apostrophe."
_FORMAT = openapi.parameter(
    "format",
    "The format of the answer. Without it, the header Accept says it: text/csv for CSV, and "
    "application/jsonl for JSON Lines.",
    {"enum": ["json", *(each.value for each in FileFormat)], "default": "json"},
)

"""The formats of files: which one a request asks for, and how a list is written in it."""

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from io import StringIO
from typing import Any
from urllib.parse import urlencode

import orjson
from attrs import field, frozen
from starlette.requests import Request

from contract import Problem
from receiver.domain.alerts.messages.spelling import cell
from receiver.domain.errors import Refusal

__all__ = ["FileFormat", "Sheet", "asked_format"]

Value = Callable[[Mapping[str, Any]], object]
"""Returns the value of a column, given the JSON object of an item of the list."""


class FileFormat(str, Enum):
    """A format of files; the value is what the query parameter `format` says."""

    CSV = "csv"
    """RFC 4180 in UTF-8, with a header."""

    JSON_LINES = "jsonl"
    """A JSON object on each line, for each item the one that the answer in JSON has."""

    @property
    def media_type(self) -> str:
        """The media type of a file, without parameters."""
        return _MEDIA_TYPES[self]


_MEDIA_TYPES = {FileFormat.CSV: "text/csv", FileFormat.JSON_LINES: "application/jsonl"}


@frozen(kw_only=True)
class Sheet:
    """
    How a list is written into files.

    Attributes:
        name: The name of the list, with which the name of the file begins.
        columns: The columns of the CSV.
        special: For some columns, functions that compute their values from the JSON object of an
            item. The others have the value of the JSON object under the same name.
    """

    name: str
    columns: Sequence[str]
    special: Mapping[str, Value] = field(factory=dict)

    def head(self, file_format: FileFormat) -> bytes:
        """The bytes before the first item: the names of the columns in CSV, otherwise empty."""
        return _csv([self.columns]) if file_format is FileFormat.CSV else b""

    def part(self, file_format: FileFormat, items: Iterable[Any]) -> bytes:
        """The lines of some items, which are JSON objects, or what orjson encodes as such."""
        lines = [orjson.dumps(item) for item in items]
        if file_format is FileFormat.JSON_LINES:
            return b"".join(line + b"\n" for line in lines)
        return _csv(self._row(orjson.loads(line)) for line in lines)

    def _row(self, item: Mapping[str, Any]) -> list[object]:
        special = self.special
        return [
            special[name](item) if name in special else _plain(item.get(name))
            for name in self.columns
        ]


def _plain(value: Any) -> object:
    """A value of JSON in a cell: a list or an object as JSON, nothing for null."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return orjson.dumps(value).decode() if isinstance(value, list | dict) else value


def _csv(rows: Iterable[Iterable[object]]) -> bytes:
    out = StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerows([cell(value) for value in row] for row in rows)
    return out.getvalue().encode()


def asked_format(request: Request) -> tuple[FileFormat | None, Request]:
    """
    The format of the file that a request asks for, and the request without the parameter `format`.

    The query parameter `format` says the format, or without it the header `Accept`. The format is
    None if the request asks for JSON. Raises Refusal (400) if the parameter has another value, or
    is there several times.
    """
    given = request.query_params.getlist(_FORMAT)
    if not given:
        return _accepted(",".join(request.headers.getlist("accept"))), request
    if len(given) > 1 or given[0] not in _FORMATS:
        problem = Problem(_FORMAT, f"expected one of {', '.join(_FORMATS)}, once")
        raise Refusal(400, "invalid_parameter", str(problem), errors=[problem])
    rest = [each for each in request.query_params.multi_items() if each[0] != _FORMAT]
    scope = {**request.scope, "query_string": urlencode(rest).encode()}
    return _FORMATS[given[0]], Request(scope, request.receive)


def _accepted(accept: str) -> FileFormat | None:
    """
    The format that a client prefers to JSON, by its header `Accept`; None for JSON.

    If the client likes several formats equally, one that it names is preferred to one that a
    wildcard means. A client that takes none of them gets JSON.
    """
    ranges = [_range(text) for text in accept.split(",")]
    best, found = (0.0, -1), None
    for media_type, file_format in _OFFERED.items():
        liked = max((_liking(each, media_type) for each in ranges), default=(-1, 0.0))
        specificity, quality = liked
        if quality > 0 and (quality, specificity) > best:
            best, found = (quality, specificity), file_format
    return found


def _range(text: str) -> tuple[str, float]:
    """A media range and its quality; 0 where that cannot be read."""
    media_range, *parameters = (part.strip().lower() for part in text.split(";"))
    quality = next((each[2:] for each in parameters if each.startswith("q=")), "1")
    try:
        return media_range, min(1.0, max(0.0, float(quality)))
    except ValueError:
        return media_range, 0.0


def _liking(media_range: tuple[str, float], media_type: str) -> tuple[int, float]:
    """How specifically a range means a media type, -1 if it does not, and the range's quality."""
    text, quality = media_range
    kind = media_type.partition("/")[0]
    specificity = {media_type: 2, f"{kind}/*": 1, "*/*": 0}.get(text, -1)
    return specificity, quality if specificity >= 0 else 0.0


_FORMAT = "format"
_FORMATS: dict[str, FileFormat | None] = {
    "json": None,
    **{each.value: each for each in FileFormat},
}
_OFFERED: dict[str, FileFormat | None] = {
    "application/json": None,
    **{file_type: each for each, file_type in _MEDIA_TYPES.items()},
    "application/x-ndjson": FileFormat.JSON_LINES,
}
"""What `Accept` may name, the best first."""

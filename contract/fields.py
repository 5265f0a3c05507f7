"""
The field types of the contract, each with its validation rule.

A field type is an ordinary type that carries a `Rule`: `Port = Annotated[int, Rule(...)]`.
The constructors, the codec and the JSON schemas read the same rules, so they all accept the
same values.
"""

import ipaddress
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from types import NoneType
from typing import Annotated, Any, TypeVar, get_args, get_origin

from attrs import field, frozen

__all__ = [
    "BROKEN",
    "LONGEST_DESCRIPTION",
    "MOST_TOOLS",
    "Count",
    "Digest",
    "Distinct",
    "Flag",
    "HttpUrl",
    "Interval",
    "IpAddress",
    "LongText",
    "Moment",
    "Ordinal",
    "Port",
    "Rule",
    "Seconds",
    "ServerId",
    "ShortText",
    "Text",
    "ToolName",
    "ToolNames",
    "Unexpected",
    "UrlPath",
    "distinct_of",
    "format_moment",
    "parse_moment",
    "present_type",
    "rule_of",
    "to_utc",
]


T = TypeVar("T")

BROKEN = (ValueError, TypeError, OverflowError)
"""The exceptions that `Rule.from_python` and `Rule.from_json` raise for an invalid value."""


class Unexpected(ValueError):
    """
    A value that breaks a rule; the message says what was expected and what was found.

    Attributes:
        path: The path of the value within its field, such as `[3]`; empty for the field itself.
    """

    path = ""

    def __init__(self, expected: str, value: object) -> None:
        super().__init__(f"expected {expected}, got {_shown(value)}")


@frozen
class Rule:
    """
    The validation rule of a field type: which values a field may hold.

    Attributes:
        expected: The rule in words, for a message such as "expected a port from 1 to 65535".
        schema: The rule as JSON Schema.
        from_python: Takes an argument of the constructor, and returns it in normal form. Raises
            one of `BROKEN` when the argument breaks the rule.
        from_json: Does the same with a decoded JSON value; by default, it is `from_python`.
    """

    expected: str
    schema: Mapping[str, Any] = field(hash=False)
    from_python: Callable[[Any], Any]
    from_json: Callable[[Any], Any] = field()

    @from_json.default
    def _same_as_from_python(self) -> Callable[[Any], Any]:
        return self.from_python

    def read(self, value: Any) -> Any:
        """Validate and convert a decoded JSON value. Raises `Unexpected`."""
        try:
            return self.from_json(value)
        except BROKEN as error:
            raise Unexpected(self.expected, value) from error


@frozen
class Distinct:
    """
    A limit on how many different items a list may hold, in addition to the `Rule` of each item.

    Attributes:
        most: The largest number of different items.
    """

    most: int

    def keep(self, items: Iterable[T]) -> tuple[T, ...]:
        """
        Return the items in their order, each once.

        Raises `Unexpected` if more than `most` of them are different.
        """
        kept = tuple(dict.fromkeys(items))
        if len(kept) > self.most:
            raise Unexpected(f"at most {self.most} different items", len(kept))
        return kept


def rule_of(kind: object) -> Rule | None:
    """The `Rule` that an `Annotated` type carries; None for any other type."""
    return _extra_of(kind, Rule)


def distinct_of(kind: object) -> Distinct | None:
    """The `Distinct` that an `Annotated` type carries; None for any other type."""
    return _extra_of(kind, Distinct)


def _extra_of(kind: object, wanted: type[T]) -> T | None:
    if get_origin(kind) is not Annotated:
        return None
    return next((extra for extra in get_args(kind)[1:] if isinstance(extra, wanted)), None)


def present_type(kind: Any) -> Any:
    """The type without `| None`: `int` both for `int | None` and for `int`."""
    kinds = get_args(kind)
    if NoneType not in kinds:
        return kind
    (present,) = (each for each in kinds if each is not NoneType)
    return present


def parse_moment(text: str) -> datetime:
    """
    Read an ISO 8601 time with an offset, such as `2026-01-31T12:00:00Z`.

    There may be a space instead of the `T`, as in RFC 3339, and the offset may lack its colon.
    Digits beyond microseconds are rounded, halves up. Returns the time in UTC.
    Raises ValueError or OverflowError for any other text and for a time without an offset.
    """
    match = _MOMENT.fullmatch(text)
    if match is None:
        raise ValueError(text)
    seconds, fraction, hours, minutes = match.groups()
    # Python 3.10 reads no "Z", and a fraction only of 3 or 6 digits.
    micros = (fraction or "").ljust(6, "0")
    offset = "+00:00" if hours is None else f"{hours}:{minutes}"
    moment = datetime.fromisoformat(f"{seconds}.{micros[:6]}{offset}")
    if micros[6:7] >= "5":
        moment += timedelta(microseconds=1)
    return to_utc(moment)


def format_moment(moment: datetime) -> str:
    """Format a time as ISO 8601 in UTC with `Z`. Raises ValueError for a time without offset."""
    return to_utc(moment).isoformat().removesuffix("+00:00") + "Z"


def to_utc(moment: datetime) -> datetime:
    """
    The same instant in UTC.

    Raises ValueError for a value that is not a datetime, for a time without an offset, and
    for a time that is outside the years 1 to 9999 in UTC.
    """
    if isinstance(moment, datetime) and moment.tzinfo is timezone.utc:
        return moment  # as almost every time does; this takes a third of the time
    if not isinstance(moment, datetime) or moment.utcoffset() is None:
        raise Unexpected("a time with an offset", moment)
    try:
        return moment.astimezone(timezone.utc)
    except OverflowError as error:
        raise ValueError(f"UTC cannot tell {moment.isoformat()}") from error


def _shown(value: Any) -> str:
    """The value for an error message: one line, at most 60 characters, passwords of URLs masked."""
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, int) and abs(value) >= 10**30:
        return "a number too long to show"
    if isinstance(value, str):
        value = _CREDENTIALS.sub("//***@", value)
    text = json.dumps(value, ensure_ascii=False, default=repr)
    if not text.isprintable():
        text = json.dumps(value, default=repr)
    return text if len(text) <= 60 else f"{text[:59]}…"


def _text(value: Any) -> str:
    # PostgreSQL stores no NUL, and UTF-8 encodes no lone surrogate. Neither is printable, and
    # `isprintable`, which most texts pass, is faster than the regular expression.
    if isinstance(value, str) and (value.isprintable() or _UNSTORABLE.search(value) is None):
        return value
    raise ValueError(value)


def _server_id(value: Any) -> str:
    if 1 <= len(_text(value)) <= 255 and (value.isprintable() or not _CONTROL.search(value)):
        return str(value)
    raise ValueError(value)


@lru_cache(maxsize=2**13)  # a fleet offers the same few tools again and again
def _tool_name(value: Any) -> str:
    if 1 <= len(_text(value)) <= _LONGEST_TOOL_NAME:
        return str(value)
    raise ValueError(value)


def _at_most(characters: int) -> Callable[[Any], str]:
    def bounded(value: Any) -> str:
        if len(_text(value)) <= characters:
            return str(value)
        raise ValueError(value)

    return bounded


def _matching(pattern: str) -> Callable[[Any], str]:
    match = re.compile(pattern).fullmatch

    def matched(value: Any) -> str:
        if match(value):
            return str(value)
        raise ValueError(value)

    return matched


def _flag(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise ValueError(value)


def _address(value: Any) -> str:
    if not _is_ipv4(value):
        _ipv6(value)
    return str(value)


@lru_cache(maxsize=2**16)
def _ipv6(value: str) -> ipaddress.IPv6Address:
    # A zone, as in fe80::1%eth0, has a meaning only on the host that reports it.
    if "%" in value:
        raise ValueError(value)
    return ipaddress.IPv6Address(value)


def _url(value: Any) -> str:
    match = _URL.fullmatch(value)
    if match is None:
        raise ValueError(value)
    host, port = match.groups()
    if host.startswith("["):
        _ipv6(host[1:-1])
    if port is not None:
        _port(int(port))
    return str(value)


def _port(value: Any) -> int:
    if 1 <= (port := _whole(value)) <= 65535:
        return port
    raise ValueError(value)


def _count(value: Any) -> int:
    if (count := _whole(value)) >= 0:
        return count
    raise ValueError(value)


def _ordinal(value: Any) -> int:
    if (ordinal := _count(value)) <= _LARGEST_ORDINAL:
        return ordinal
    raise ValueError(value)


def _whole(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float) and value.is_integer():  # 8768.0 is an integer in JSON Schema
        return int(value)
    raise ValueError(value)


def _seconds(value: Any) -> float:
    if (seconds := _number(value)) >= 0:
        return seconds
    raise ValueError(value)


def _interval(value: Any) -> float:
    if (seconds := _number(value)) > 0:
        return seconds
    raise ValueError(value)


def _number(value: Any) -> float:
    """The finite number as a float. Raises ValueError for a bool and for other types."""
    # A tuple, because Python would make a union such as `int | float` anew for each number.
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    raise ValueError(value)


_MOMENT = re.compile(
    r"(\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d)(?:\.(\d+))?(?:[Zz]|([+-]\d\d):?([0-5]\d))", re.ASCII
)
_LARGEST_ORDINAL = 2**63 - 1  # the largest BIGINT of a database
_LONGEST_TOOL_NAME = 200  # the MCP specification allows 128
_BYTE = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_is_ipv4 = re.compile(rf"{_BYTE}(?:\.{_BYTE}){{3}}").fullmatch
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_CREDENTIALS = re.compile(r"//[^/?#\s]*@")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_END = r"(?![\s\S])"  # the end of a text; that is not `$`, which in Python allows a line break
_DIGEST = "[A-Za-z0-9_:.+/=-]{1,100}"
_IN_URL = r"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/]|%[0-9A-Fa-f]{2})"
_PATH = rf"/(?!/){_IN_URL}*(?:\?(?:{_IN_URL}|\?)*)?"
# RFC 3986 without user and password, because everybody who reads the fleet would see them.
_URL = re.compile(
    r"[Hh][Tt][Tt][Pp][Ss]?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9\-._~]+)(?::([0-9]{1,5}))?"
    rf"(?:/{_IN_URL}*)?(?:\?(?:{_IN_URL}|\?)*)?(?:\#(?:{_IN_URL}|\?)*)?"
)

Text = Annotated[str, Rule("text", {"type": "string", "pattern": r"^[^\u0000]*$"}, _text)]

ServerId = Annotated[
    str,
    Rule(
        "1 to 255 characters, none of them a control character",
        {
            "type": "string",
            "minLength": 1,
            "maxLength": 255,
            "pattern": r"^(?![\s\S]*[\u0000-\u001f\u007f-\u009f])",
        },
        _server_id,
    ),
]

ToolName = Annotated[
    str,
    Rule(
        f"text of 1 to {_LONGEST_TOOL_NAME} characters",
        {
            "type": "string",
            "minLength": 1,
            "maxLength": _LONGEST_TOOL_NAME,
            "pattern": r"^[^\u0000]*$",
        },
        _tool_name,
    ),
]

MOST_TOOLS = 1000
"""How many different tools a message may name."""

ToolNames = Annotated[tuple[ToolName, ...], Distinct(MOST_TOOLS)]

IpAddress = Annotated[
    str,
    Rule(
        "an IP address",
        {"type": "string", "anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]},
        _address,
    ),
]

ShortText = Annotated[
    str,
    Rule(
        "text of at most 200 characters",
        {"type": "string", "maxLength": 200, "pattern": r"^[^\u0000]*$"},
        _at_most(200),
    ),
]

LONGEST_DESCRIPTION = 4000
"""How many characters the description of a tool may have."""

LongText = Annotated[
    str,
    Rule(
        f"text of at most {LONGEST_DESCRIPTION} characters",
        {"type": "string", "maxLength": LONGEST_DESCRIPTION, "pattern": r"^[^\u0000]*$"},
        _at_most(LONGEST_DESCRIPTION),
    ),
]

Digest = Annotated[
    str,
    Rule(
        "a digest: 1 to 100 letters, digits and characters of -_:.+/=",
        {"type": "string", "pattern": f"^{_DIGEST}{_END}"},
        _matching(_DIGEST),
    ),
]

UrlPath = Annotated[
    str,
    Rule(
        "the path of a URL, beginning with a single slash",
        {"type": "string", "pattern": f"^{_PATH}{_END}"},
        _matching(_PATH),
    ),
]

Flag = Annotated[bool, Rule("true or false", {"type": "boolean"}, _flag)]

Port = Annotated[
    int,
    Rule(
        "a port from 1 to 65535",
        {"type": "integer", "minimum": 1, "maximum": 65535},
        _port,
    ),
]

HttpUrl = Annotated[
    str,
    Rule(
        "an http or https URL",
        {"type": "string", "format": "uri", "pattern": "^[Hh][Tt][Tt][Pp][Ss]?://"},
        _url,
    ),
]

Seconds = Annotated[
    float,
    Rule(
        "a number of seconds, 0 or more",
        {"type": "number", "minimum": 0},
        _seconds,
    ),
]

Interval = Annotated[
    float,
    Rule(
        "a number of seconds above 0",
        {"type": "number", "exclusiveMinimum": 0},
        _interval,
    ),
]

Count = Annotated[
    int,
    Rule(
        "a whole number, 0 or more",
        {"type": "integer", "minimum": 0},
        _count,
    ),
]

Ordinal = Annotated[
    int,
    Rule(
        f"a whole number from 0 to {_LARGEST_ORDINAL}",
        {"type": "integer", "minimum": 0, "maximum": _LARGEST_ORDINAL},
        _ordinal,
    ),
]

Moment = Annotated[
    datetime,
    Rule(
        "an ISO 8601 time with an offset",
        {"type": "string", "format": "date-time"},
        to_utc,
        parse_moment,
    ),
]

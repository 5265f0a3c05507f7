"""
What each kind of field may hold: the one place that says so.

A kind is an ordinary type with a `Rule` attached, as in
`Port = Annotated[int, Rule(...)]`.
The constructors, the codec and the JSON schemas all read the same rules, so
that what Python code may build, what the wire may carry and what the
documentation promises are the same.
"""

import ipaddress
import json
import math
import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from types import NoneType
from typing import Annotated, Any, get_args, get_origin

from attrs import field, frozen

__all__ = [
    "BROKEN",
    "Count",
    "HttpUrl",
    "Interval",
    "IpAddress",
    "Moment",
    "Port",
    "Rule",
    "Seconds",
    "ServerId",
    "Text",
    "Unexpected",
    "format_moment",
    "parse_moment",
    "present_type",
    "rule_of",
    "to_utc",
]


BROKEN = (ValueError, TypeError, OverflowError)
"""What a conversion raises for a value that breaks its rule."""


class Unexpected(ValueError):
    """
    A value that is not what its place expects; the message says both.

    Attributes:
        path: Where in the field the value is, such as `[3]`; empty for all of it.
    """

    path = ""

    def __init__(self, expected: str, value: object) -> None:
        super().__init__(f"expected {expected}, got {_shown(value)}")


@frozen
class Rule:
    """
    What a field may hold.

    Attributes:
        expected: The rule in words, to follow "expected".
        schema: The rule as JSON Schema.
        from_python: Gives back the value, normalised. Raises one of `BROKEN` when it
            breaks the rule.
        from_json: The same for what JSON decodes to. By default `from_python`.
    """

    expected: str
    schema: Mapping[str, Any] = field(hash=False)
    from_python: Callable[[Any], Any]
    from_json: Callable[[Any], Any] = field()

    @from_json.default
    def _same_as_from_python(self) -> Callable[[Any], Any]:
        return self.from_python

    def read(self, value: Any) -> Any:
        """Check a JSON value and convert it. Raises `Unexpected`."""
        try:
            return self.from_json(value)
        except BROKEN as error:
            raise Unexpected(self.expected, value) from error


def rule_of(kind: object) -> Rule | None:
    """The rule that a type carries, or None."""
    if get_origin(kind) is not Annotated:
        return None
    return next((extra for extra in get_args(kind)[1:] if isinstance(extra, Rule)), None)


def present_type(kind: Any) -> Any:
    """The type of a field when it is not None."""
    kinds = get_args(kind)
    if NoneType not in kinds:
        return kind
    (present,) = (each for each in kinds if each is not NoneType)
    return present


def parse_moment(text: str) -> datetime:
    """
    Read an ISO 8601 time with an offset, such as `2026-01-31T12:00:00Z`.

    A space may stand for the `T`, as in RFC 3339, and the offset may do without its colon.
    Digits beyond microseconds are rounded, halves up. The result is in UTC.
    Raises ValueError or OverflowError for anything else, a time without an offset included.
    """
    match = _MOMENT.fullmatch(text)
    if match is None:
        raise ValueError(text)
    seconds, fraction, hours, minutes = match.groups()
    # Python 3.10 reads neither a "Z" nor any other number of digits.
    micros = (fraction or "").ljust(6, "0")
    offset = "+00:00" if hours is None else f"{hours}:{minutes}"
    moment = datetime.fromisoformat(f"{seconds}.{micros[:6]}{offset}")
    if micros[6:7] >= "5":
        moment += timedelta(microseconds=1)
    return to_utc(moment)


def format_moment(moment: datetime) -> str:
    """Write a moment in UTC as ISO 8601 with `Z`. Raises ValueError as `to_utc` does."""
    return to_utc(moment).isoformat().removesuffix("+00:00") + "Z"


def to_utc(moment: datetime) -> datetime:
    """
    The same instant in UTC.

    Raises ValueError for what is no moment, has no offset, or is so near the first or the
    last year that UTC cannot tell it.
    """
    if not isinstance(moment, datetime) or moment.utcoffset() is None:
        raise Unexpected("a time with an offset", moment)
    try:
        return moment.astimezone(timezone.utc)
    except OverflowError as error:
        raise ValueError(f"UTC cannot tell {moment.isoformat()}") from error


def _shown(value: Any) -> str:
    """A value as a person reads it in an error: short, on one line."""
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, int) and abs(value) >= 10**30:
        return "a number too long to show"
    text = json.dumps(value, ensure_ascii=False, default=repr)
    if not text.isprintable():
        text = json.dumps(value, default=repr)
    return text if len(text) <= 60 else f"{text[:59]}…"


def _text(value: Any) -> str:
    # A NUL or half a surrogate pair has no place in UTF-8 or in PostgreSQL.
    # Neither is printable; most texts are, and that is a quick thing to ask.
    if isinstance(value, str) and (value.isprintable() or _UNSTORABLE.search(value) is None):
        return value
    raise ValueError(value)


def _server_id(value: Any) -> str:
    if 1 <= len(_text(value)) <= 255 and (value.isprintable() or not _CONTROL.search(value)):
        return str(value)
    raise ValueError(value)


def _address(value: Any) -> str:
    if not _is_ipv4(value):
        _ipv6(value)
    return str(value)


@lru_cache(maxsize=2**16)
def _ipv6(value: str) -> ipaddress.IPv6Address:
    # A zone, as in fe80::1%eth0, means something on its own host only.
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


def _whole(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
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
    """Any finite number, as a plain float."""
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    raise ValueError(value)


_MOMENT = re.compile(
    r"(\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d)(?:\.(\d+))?(?:[Zz]|([+-]\d\d):?([0-5]\d))", re.ASCII
)
_BYTE = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_is_ipv4 = re.compile(rf"{_BYTE}(?:\.{_BYTE}){{3}}").fullmatch
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_IN_URL = r"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/]|%[0-9A-Fa-f]{2})"
# RFC 3986 without a user and a password: those are not for everybody who sees the fleet.
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

IpAddress = Annotated[
    str,
    Rule(
        "an IP address",
        {"type": "string", "anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]},
        _address,
    ),
]

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

Moment = Annotated[
    datetime,
    Rule(
        "an ISO 8601 time with an offset",
        {"type": "string", "format": "date-time"},
        to_utc,
        parse_moment,
    ),
]

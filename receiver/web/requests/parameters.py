"""Reading query parameters: each by a function, and all that is wrong told at once."""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from enum import Enum
from typing import Any, TypeVar

from starlette.requests import Request

from contract import Problem
from contract.fields import parse_moment
from receiver.domain.errors import Refusal

__all__ = [
    "DEFAULT_LIMIT",
    "MAX_LIMIT",
    "MAX_SEARCH_BYTES",
    "Parameter",
    "is_number",
    "read_flag",
    "read_limit",
    "read_one_of",
    "read_parameters",
    "read_text",
    "read_time",
]

Named = TypeVar("Named", bound=Enum)
Parameter = tuple[str, Callable[[str], Any]]
"""The attribute that a query parameter sets, and the function that parses the parameter's text."""

DEFAULT_LIMIT = 100
MAX_LIMIT = 1000
MAX_SEARCH_BYTES = 1000
_MAX_PARAMETERS = 100
_MAX_TEXT_BYTES = 4000  # a page repeats the filters in many links


def read_parameters(request: Request, allowed: Mapping[str, Parameter]) -> dict[str, Any]:
    """
    Read the query parameters of a request: their values, by the attributes that they set.

    Raises Refusal (400), which lists all parameters that are wrong, and those that are not allowed.

    Args:
        request: The request.
        allowed: The parameters that the query may have, by their names.
    """
    found: dict[str, Any] = {}
    of_route = request.scope.get("parameter_of_route")
    given = [each for each in request.query_params.multi_items() if each[0] != of_route]
    if len(given) > _MAX_PARAMETERS:
        problem = Problem("", f"expected at most {_MAX_PARAMETERS} parameters, got {len(given)}")
        raise Refusal(400, "invalid_parameter", str(problem), errors=[problem])
    problems = []
    for name, text in given:
        try:
            _set_parameter(found, allowed, name, text)
        except ValueError as error:
            problem = Problem(name, str(error))
            if problem not in problems:
                problems.append(problem)
    if problems:
        detail = "; ".join(map(str, problems))
        raise Refusal(400, "invalid_parameter", detail, errors=problems)
    return found


def _set_parameter(
    found: dict[str, Any], allowed: Mapping[str, Parameter], name: str, text: str
) -> None:
    if name not in allowed:
        raise ValueError(f"is no parameter here; these are: {', '.join(allowed)}")
    key, read = allowed[name]
    value = read(text)
    if isinstance(value, frozenset):  # may be there several times
        value |= found.pop(key, frozenset())
    if key in found:
        raise ValueError("is there more than once")
    found[key] = value


def read_one_of(kind: type[Named], text: str) -> Named:
    """The member of an enumeration with this value. Raises ValueError if there is none."""
    names = [each.value for each in kind]
    if text not in names:
        raise ValueError(f"expected one of {', '.join(names)}")
    return kind(text)


def read_time(text: str) -> datetime:
    """A time with an offset from UTC. Raises ValueError for any other text."""
    try:
        return parse_moment(text)
    except (ValueError, OverflowError):
        raise ValueError(
            "expected an ISO 8601 time with an offset, such as 2026-01-31T12:00:00Z"
        ) from None


def read_limit(text: str) -> int:
    """How many things a page has at most. Raises ValueError unless it is from 1 to `MAX_LIMIT`."""
    if not (is_number(text) and 1 <= int(text) <= MAX_LIMIT):
        raise ValueError(f"expected a whole number from 1 to {MAX_LIMIT}")
    return int(text)


is_number = re.compile("[1-9][0-9]{0,4}").fullmatch
"""Whether a text is a whole number from 1 to 99,999."""


def _text(text: str) -> str:
    if "\x00" in text:
        raise ValueError("expected text without a NUL")
    return text


def read_text(text: str, *, at_most: int = _MAX_TEXT_BYTES) -> str:
    """The text. Raises ValueError if it has more than `at_most` bytes of UTF-8, or a NUL."""
    if len(text.encode()) > at_most:
        raise ValueError(f"expected at most {at_most} bytes of text")
    return _text(text)


def read_flag(text: str) -> bool:
    """Whether the text is `true`. Raises ValueError unless it is `true` or `false`."""
    if text not in {"true", "false"}:
        raise ValueError("expected true or false")
    return text == "true"

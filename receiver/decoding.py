"""
The quick way from JSON to a message.

msgspec makes the objects, several times as fast as Python code can; the rules of the
contract then check what a type alone does not say.
What is not plainly right is read again by the contract, which says what is wrong.
"""

from collections.abc import Callable
from typing import Any, Generic, TypeVar, get_args, get_origin

import msgspec
from attrs import fields, has

from contract import parse, structure
from contract.fields import BROKEN, Moment, Text, present_type, rule_of

__all__ = ["Reader", "is_plain"]

T = TypeVar("T")

_NOT_PLAIN = (msgspec.ValidationError, *BROKEN)
Check = Callable[[Any], object]


class Reader(Generic[T]):
    """Reads messages of one class of the contract."""

    def __init__(self, kind: type[T]) -> None:
        self._kind = kind
        self._moments = _moments(kind)
        self._check = _all_of(kind)

    def read(self, body: bytes) -> T:
        """
        The message that a body holds.

        Raises MalformedJSON and InvalidMessage, as `contract.loads` does.
        """
        return self.of(parse(body), plain=is_plain(body))

    def of(self, value: object, *, plain: bool) -> T:
        """The message that a decoded value is. Raises InvalidMessage."""
        if plain and isinstance(value, dict):
            try:
                return self._quickly(value)
            except _NOT_PLAIN:
                return structure(value, self._kind)
        return structure(value, self._kind)

    def _quickly(self, value: dict[str, Any]) -> T:
        """Raises anything when the value is not plainly right."""
        for name, parse_moment in self._moments:
            if isinstance(text := value.get(name), str):
                value = {**value, name: parse_moment(text)}
        message = msgspec.convert(value, self._kind)
        self._check(message)
        return message


def is_plain(body: bytes) -> bool:
    """Whether no text in it holds a NUL, which JSON can only write as an escape."""
    return b"\\" not in body or b"\\u0000" not in body


def _moments(kind: type) -> list[tuple[str, Check]]:
    rules = {each.name: rule_of(present_type(each.type)) for each in fields(kind)}
    return [
        (name, rule.from_json) for name, rule in rules.items() if rule and rule is rule_of(Moment)
    ]


def _check_of(kind: Any) -> Check | None:
    """What is to be checked in a value of a type; None when its type says it all."""
    if (rule := rule_of(kind)) is not None:
        return None if rule in (rule_of(Text), rule_of(Moment)) else rule.from_python
    if get_origin(kind) is tuple:
        return _each(get_args(kind)[0])
    assert has(kind)
    return _all_of(kind)


def _each(kind: Any) -> Check | None:
    check = _check_of(kind)
    if check is None:
        return None

    def check_each(values: Any) -> None:
        for value in values:
            check(value)

    return check_each


def _all_of(kind: Any) -> Check:
    checks = [(each.name, _check_of(present_type(each.type))) for each in fields(kind)]
    relevant = [(name, check) for name, check in checks if check is not None]

    def check_all(instance: Any) -> None:
        for name, check in relevant:
            value = getattr(instance, name)
            if value is not None:
                check(value)

    return check_all

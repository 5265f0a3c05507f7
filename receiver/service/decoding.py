"""
The quick way from JSON to a message.

msgspec makes the objects, several times as fast as Python code can; the rules of the
contract then check what a type alone does not say.
What is not plainly right is read again by the contract, which says what is wrong.
"""

from collections.abc import Callable
from datetime import timezone
from typing import Any, Generic, TypeVar, get_args, get_origin

import msgspec
from attrs import fields, has

from contract import InvalidMessage, MalformedJSON, Problem, loads, parse
from contract.fields import BROKEN, Moment, Text, present_type, rule_of

__all__ = ["Reader"]

T = TypeVar("T")
Item = TypeVar("Item")

_NOT_PLAIN = (msgspec.MsgspecError, RecursionError, *BROKEN)
Check = Callable[[Any], object]


class Reader(Generic[T]):
    """
    Reads messages of one class of the contract.

    It finds what `contract.loads` finds, but for one thing: a number too large for a
    float in a field that nobody knows is ignored with it, where the rest is plainly right.
    """

    def __init__(self, kind: type[T]) -> None:
        self._kind = kind
        self._name = kind.__name__.lower()
        self._decode = msgspec.json.Decoder(kind).decode
        self._check = _all_of(kind)

    def read(self, body: bytes) -> T:
        """The message that a body holds. Raises MalformedJSON and InvalidMessage."""
        if not _may_hold_nul(body) and _is_utf8(body):
            try:
                return self._quickly(body)
            except _NOT_PLAIN:
                pass
        return loads(body, self._kind)

    def read_list(self, body: bytes, *, at_most: int, longest: int) -> list[T | InvalidMessage]:
        """
        The messages of a list, each of which may be wrong for itself, or longer than it may.

        Raises MalformedJSON, and InvalidMessage for what is no list or has too many items.
        """
        has_nul = _may_hold_nul(body)
        return [
            self._message_or_error(each, has_nul=has_nul)
            if len(each) <= longest
            else InvalidMessage([Problem("", f"has more than {longest} bytes")])
            for each in self._bounded(self._items(body), at_most)
        ]

    def _items(self, body: bytes) -> list[msgspec.Raw]:
        """Each item of a list, as it is written."""
        if _is_utf8(body):
            try:
                return _ITEMS(body)
            except _NOT_PLAIN:
                pass
        is_list = isinstance(parse(body), list)
        problem = "is nested too deeply" if is_list else f"expected a list of {self._name}s"
        raise InvalidMessage([Problem("", problem)])

    def _bounded(self, items: list[Item], at_most: int) -> list[Item]:
        if len(items) > at_most:
            problem = f"expected at most {at_most} {self._name}s, got {len(items)}"
            raise InvalidMessage([Problem("", problem)])
        return items

    def _quickly(self, body: bytes | msgspec.Raw) -> T:
        """Raises one of `_NOT_PLAIN` when the message is not plainly right."""
        message = self._decode(body)
        self._check(message)
        return message

    def _message_or_error(self, item: msgspec.Raw, *, has_nul: bool) -> T | InvalidMessage:
        if not has_nul:
            try:
                return self._quickly(item)
            except _NOT_PLAIN:
                pass
        try:
            return loads(bytes(item), self._kind)
        except InvalidMessage as error:
            refused = error
        except MalformedJSON as error:
            refused = InvalidMessage([Problem("", str(error))])
        # Its frames would keep all that was read.
        refused.__traceback__ = refused.__cause__ = refused.__context__ = None
        return refused


_ITEMS = msgspec.json.Decoder(list[msgspec.Raw]).decode


def _may_hold_nul(body: bytes) -> bool:
    """Whether a text in it may hold a NUL, which JSON can only write as an escape."""
    return b"\\" in body and b"\\u0000" in body


def _is_utf8(body: bytes) -> bool:
    """Whether it is; msgspec does not look into what it skips."""
    if body.isascii():
        return True
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_in_utc(moment: Any) -> None:
    """A time without an offset must be refused, and one with another be converted."""
    if moment.tzinfo is not timezone.utc:
        raise ValueError(moment)


def _check_of(kind: Any) -> Check | None:
    """What is to be checked in a value of a type; None when its type says it all."""
    if (rule := rule_of(kind)) is not None:
        if rule is rule_of(Text):
            return None
        return _is_in_utc if rule is rule_of(Moment) else rule.from_python
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

"""
Decodes the bodies of requests to messages.

msgspec decodes JSON to the classes of the contract, several times as fast as Python code can;
then the rules of the contract check what a type alone does not say. A message that fails either
step is decoded once more by `contract.loads`, whose errors say what is wrong.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import timezone
from typing import Any, Generic, TypeVar, get_args, get_origin

import msgspec
from attrs import fields, has

from contract import (
    Heartbeat,
    InvalidMessage,
    MalformedJSON,
    Problem,
    Registration,
    loads,
    parse,
)
from contract.fields import BROKEN, Distinct, Moment, Text, distinct_of, present_type, rule_of
from receiver.domain.outcomes import BodyKind
from receiver.service.json_items import cut, is_too_deep

__all__ = [
    "MAX_BATCH_BYTES",
    "MAX_BATCH_SIZE",
    "MAX_MESSAGE_BYTES",
    "Messages",
    "Reader",
    "decode",
]

Messages = Sequence[Heartbeat | Registration | InvalidMessage]

MAX_MESSAGE_BYTES = 64 * 1024
MAX_BATCH_BYTES = 1024 * 1024
MAX_BATCH_SIZE = 1000
"""How many heartbeats a batch may hold."""

T = TypeVar("T")

_NOT_PLAIN = (msgspec.MsgspecError, RecursionError, *BROKEN)
Check = Callable[[Any], object]


def decode(kind: BodyKind, body: bytes) -> Messages:
    """
    The messages of a body; in place of each wrong item of a batch, an InvalidMessage.

    Raises MalformedJSON and InvalidMessage when no message of the body can be used.
    """
    return _DECODE[kind](body)


class Reader(Generic[T]):
    """
    Decodes messages of one class of the contract.

    The result equals that of `contract.loads`, with one exception: a number too large for a
    float in an unknown field does not make an otherwise right message wrong.
    """

    def __init__(self, kind: type[T]) -> None:
        self._kind = kind
        self._name = kind.__name__.lower()
        self._decode = msgspec.json.Decoder(kind).decode
        self._check = _all_of(kind)

    def read(self, body: bytes) -> T:
        """The message in a body. Raises MalformedJSON and InvalidMessage."""
        if not _may_hold_nul(body) and _is_utf8(body):
            try:
                return self._quickly(body)
            except _NOT_PLAIN:
                pass
        return loads(body, self._kind)

    def read_list(self, body: bytes, *, at_most: int, longest: int) -> list[T | InvalidMessage]:
        """
        The messages in a list; in place of a wrong or too long item, its InvalidMessage.

        An item that is no JSON is a wrong item, as long as the text can be cut into items and one
        of them is JSON. Raises MalformedJSON for another text, and InvalidMessage for a body that
        is no list or has too many items.
        """
        items, is_valid = self._items(body)
        if len(items) > at_most:
            problem = f"expected at most {at_most} {self._name}s, got {len(items)}"
            raise InvalidMessage([Problem("", problem)])
        may_be_plain = is_valid and not _may_hold_nul(body)
        return [
            self._message_or_error(each, may_be_plain=may_be_plain)
            if len(each) <= longest
            else InvalidMessage([Problem("", f"has more than {longest} bytes")])
            for each in items
        ]

    def _items(self, body: bytes) -> tuple[Sequence[bytes | msgspec.Raw], bool]:
        """The JSON of each item of a list, and whether all of the list is valid JSON."""
        if _is_utf8(body):
            try:
                return _ITEMS(body), True
            except _NOT_PLAIN:
                pass
        items = cut(body)
        if items is None or not any(map(_is_json, items)):
            parse(body)
            raise InvalidMessage([Problem("", f"expected a list of {self._name}s")])
        return items, False

    def _quickly(self, body: bytes | msgspec.Raw) -> T:
        """Decode by msgspec. Raises one of `_NOT_PLAIN` for a message that may be wrong."""
        message = self._decode(body)
        self._check(message)
        return message

    def _message_or_error(
        self, item: bytes | msgspec.Raw, *, may_be_plain: bool
    ) -> T | InvalidMessage:
        if may_be_plain:
            try:
                return self._quickly(item)
            except _NOT_PLAIN:
                pass
        text = bytes(item)
        try:
            return loads(text, self._kind)
        except InvalidMessage as error:
            refused = error
        except MalformedJSON as error:
            message = "is nested too deeply" if is_too_deep(text) else str(error)
            refused = InvalidMessage([Problem("", message)])
        # The frames of the traceback would keep the whole body in memory.
        refused.__traceback__ = refused.__cause__ = refused.__context__ = None
        return refused


_ITEMS = msgspec.json.Decoder(list[msgspec.Raw]).decode


def _may_hold_nul(body: bytes) -> bool:
    """Whether a text in a body may hold a NUL, which JSON can only write as an escape."""
    return b"\\" in body and b"\\u0000" in body


def _is_utf8(body: bytes) -> bool:
    """Whether a body is UTF-8; msgspec does not check the values of fields that it skips."""
    if body.isascii():
        return True
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_json(text: bytes) -> bool:
    """Whether a text is JSON, however deeply it is nested."""
    try:
        parse(text)
    except MalformedJSON:
        return is_too_deep(text)
    return True


def _is_in_utc(moment: Any) -> None:
    """Raise for a time that has no offset, or one that the contract would convert to UTC."""
    if moment.tzinfo is not timezone.utc:
        raise ValueError(moment)


def _check_of(kind: Any) -> Check | None:
    """The check that a value of a type needs after msgspec; None when it needs none."""
    if (rule := rule_of(kind)) is not None:
        if rule is rule_of(Text):
            return None
        return _is_in_utc if rule is rule_of(Moment) else rule.from_python
    if (distinct := distinct_of(kind)) is not None:
        return _each_once(get_args(kind)[0], distinct)
    if get_origin(kind) is tuple:
        return _each(kind)
    assert has(kind)
    return _all_of(kind)


def _each(kind: Any) -> Check:
    check = _check_of(get_args(kind)[0])
    assert check is not None  # the lists of messages hold nothing that needs no check

    def check_each(values: Any) -> None:
        for value in values:
            check(value)

    return check_each


def _each_once(kind: Any, distinct: Distinct) -> Check:
    """A check that raises for items that the contract would not keep as they are."""
    check = _each(kind)

    def check_items(values: Any) -> None:
        check(values)
        if len(distinct.keep(values)) < len(values):
            raise ValueError(values)

    return check_items


def _all_of(kind: Any) -> Check:
    checks = [(each.name, _check_of(present_type(each.type))) for each in fields(kind)]
    relevant = [(name, check) for name, check in checks if check is not None]

    def check_all(instance: Any) -> None:
        for name, check in relevant:
            value = getattr(instance, name)
            if value is not None:
                check(value)

    return check_all


_heartbeats = Reader(Heartbeat)
_registrations = Reader(Registration)


def _decode_batch(body: bytes) -> Messages:
    return _heartbeats.read_list(body, at_most=MAX_BATCH_SIZE, longest=MAX_MESSAGE_BYTES)


_DECODE: Mapping[BodyKind, Callable[[bytes], Messages]] = {
    BodyKind.REGISTER: lambda body: [_registrations.read(body)],
    BodyKind.HEARTBEAT: lambda body: [_heartbeats.read(body)],
    BodyKind.HEARTBEATS: _decode_batch,
}

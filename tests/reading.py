"""What reading a body gives: helpers to compare two ways to read one."""

from collections.abc import Callable, Generator
from datetime import datetime
from typing import Any, TypeVar

from attrs import fields, has

from contract import FleetError, InvalidMessage

__all__ = ["finished", "message", "outcome", "typed"]

T = TypeVar("T")


def finished(steps: Generator[None, None, T]) -> T:
    """What a generator returns in the end."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result


def message(found: Any) -> Any:
    """The message of a `Decoded`; raises what a reader found in place of a message."""
    if isinstance(found, InvalidMessage):
        raise found
    decoded, _ = found
    return decoded


def outcome(make: Callable[[], object]) -> object:
    """A comparable form of the object that `make` returns, or of its error."""
    try:
        made = make()
    except InvalidMessage as error:
        return InvalidMessage, error.problems
    except FleetError as error:
        return type(error), str(error)
    return typed(made)


def typed(value: Any) -> object:
    """A value with the types of all its parts, since `1 == 1.0` would hide a wrong type."""
    if has(type(value)):
        parts = {field.name: getattr(value, field.name) for field in fields(type(value))}
        return type(value), {name: typed(part) for name, part in parts.items()}
    if isinstance(value, tuple):
        return tuple, [typed(item) for item in value]
    if isinstance(value, datetime):
        return type(value), value.tzinfo, value.replace(tzinfo=None), value.fold
    return type(value), repr(value)

"""A field transformer that holds attrs classes to the rules of their field types."""

from __future__ import annotations

from collections.abc import Callable
from types import NoneType
from typing import Any, get_args, get_origin

from attrs import Attribute

from contract.errors import InvalidMessage, Problem
from contract.fields import Unexpected, rule_of

__all__ = ["checked"]

Take = Callable[[Any], Any]


def checked(_: type, attributes: list[Attribute[Any]]) -> list[Attribute[Any]]:
    """
    Let each field take only what the rule of its type allows.

    The class then raises `InvalidMessage` for the first field that breaks its rule.
    """
    return [each.evolve(converter=_converter(each.name, each.type)) for each in attributes]


def _converter(name: str, kind: Any) -> Take:
    present = [each for each in get_args(kind) if each is not NoneType]
    optional = NoneType in get_args(kind)
    take = _take(present[0] if optional else kind)

    # Every message comes through here once for each of its fields.
    def convert(value: Any) -> Any:
        if value is None and optional:
            return None
        try:
            return take(value)
        except Unexpected as error:
            raise InvalidMessage([Problem(name + error.path, str(error))]) from error

    return convert


def _take(kind: Any) -> Take:
    if (rule := rule_of(kind)) is not None:
        return rule.take
    if get_origin(kind) is tuple:
        return _each(_take(get_args(kind)[0]))
    return _instance_of(kind)


def _each(take: Take) -> Take:
    def take_each(values: Any) -> Any:
        if not isinstance(values, list | tuple):
            raise Unexpected("a list", values)
        return tuple([_at(index, take, value) for index, value in enumerate(values)])

    return take_each


def _at(index: int, take: Take, value: Any) -> Any:
    try:
        return take(value)
    except Unexpected as error:
        error.path = f"[{index}]"
        raise


def _instance_of(kind: type) -> Take:
    def take_instance(value: Any) -> Any:
        if not isinstance(value, kind):
            raise Unexpected(kind.__name__, value)
        return value

    return take_instance

"""A field transformer that holds attrs classes to the rules of their field types."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args, get_origin

from attrs import Attribute, Converter

from contract.errors import InvalidMessage, Problem
from contract.fields import Unexpected, rule_of

__all__ = ["checked"]

Take = Callable[[Any], Any]


def checked(_: type, attributes: list[Attribute[Any]]) -> list[Attribute[Any]]:
    """
    Let each field take only what the rule of its type allows.

    The class then raises `InvalidMessage` for the first field that breaks its rule.
    """
    return [attribute.evolve(converter=_converter(attribute.type)) for attribute in attributes]


def _converter(kind: Any) -> Any:
    take = _take(kind)

    def convert(value: Any, attribute: Attribute[Any]) -> Any:
        try:
            return take(value)
        except Unexpected as error:
            path = attribute.name + error.path
            raise InvalidMessage([Problem(path, str(error))]) from error

    return Converter(convert, takes_field=True)


def _take(kind: Any) -> Take:
    if (rule := rule_of(kind)) is not None:
        return rule.take
    if get_origin(kind) is tuple:
        return _each(_take(get_args(kind)[0]))
    if isinstance(kind, type):
        return _instance_of(kind)
    (present,) = (arg for arg in get_args(kind) if arg is not type(None))
    return _unless_absent(_take(present))


def _unless_absent(take: Take) -> Take:
    return lambda value: None if value is None else take(value)


def _each(take: Take) -> Take:
    def take_each(values: Any) -> Any:
        if not isinstance(values, list | tuple):
            raise Unexpected("a list", values)
        return tuple(_at(index, take, value) for index, value in enumerate(values))

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
            raise Unexpected(f"{kind.__name__}", value)
        return value

    return take_instance

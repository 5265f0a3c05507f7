"""A field transformer for attrs that makes constructors validate each field by its type."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args, get_origin

from attrs import Attribute

from contract.errors import InvalidMessage, Problem
from contract.fields import BROKEN, Unexpected, distinct_of, present_type, rule_of

__all__ = ["checked"]

Take = Callable[[Any], Any]


def checked(_: type, attributes: list[Attribute[Any]]) -> list[Attribute[Any]]:
    """
    Give each field of an attrs class a converter that applies the validation rule of its type.

    It is written `@frozen(field_transformer=checked)`. The rules are those of `contract.fields`.
    The constructor of such a class brings each value into its normal form, and raises
    `InvalidMessage` for the first field whose value breaks its rule.
    """
    return [each.evolve(converter=_converter(each.name, each.type)) for each in attributes]


def _converter(name: str, kind: Any) -> Take:
    present = present_type(kind)
    optional = present is not kind
    take = _take(present)

    # The hot path: it runs for every field of every message.
    def convert(value: Any) -> Any:
        if value is None and optional:
            return None
        try:
            return take(value)
        except BROKEN as error:
            unexpected = _unexpected(present, value, error)
            raise InvalidMessage([Problem(name + unexpected.path, str(unexpected))]) from error

    return convert


def _take(kind: Any) -> Take:
    """Return a function that normalises a value of a type, or raises one of `BROKEN`."""
    if (rule := rule_of(kind)) is not None:
        return rule.from_python
    if (distinct := distinct_of(kind)) is not None:
        take_each = _take(get_args(kind)[0])
        return lambda values: distinct.keep(take_each(values))
    if get_origin(kind) is tuple:
        return _each(get_args(kind)[0])
    return _instance_of(kind)


def _unexpected(kind: Any, value: Any, error: Exception) -> Unexpected:
    if (rule := rule_of(kind)) is not None:
        return Unexpected(rule.expected, value)
    assert isinstance(error, Unexpected)
    return error


def _each(kind: Any) -> Take:
    take = _take(kind)

    def take_each(values: Any) -> Any:
        if not isinstance(values, list | tuple):
            raise Unexpected("a list", values)
        items = []
        for index, value in enumerate(values):
            try:
                items.append(take(value))
            except BROKEN as error:
                unexpected = _unexpected(kind, value, error)
                unexpected.path = f"[{index}]"
                raise unexpected from error
        return tuple(items)

    return take_each


def _instance_of(kind: type) -> Take:
    def take_instance(value: Any) -> Any:
        if not isinstance(value, kind):
            raise Unexpected(kind.__name__, value)
        return value

    return take_instance

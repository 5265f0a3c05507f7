"""
The codec between JSON and the classes of the contract, which are the attrs classes of this package.

It never converts a value to another type. The wire form of each type:

    str, int, float     a JSON string or number; a float may be written without a fraction
    datetime            ISO 8601 text, written in UTC with `Z`; read with any offset
    tuple               an array
    attrs class         an object; unknown members are ignored
    None                in a message: the field is omitted; a null is read like an omitted field
                        in a record: null

A value of another type is an error: `"8768"` and `true` are refused as a port, and `5` as a
hostname.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, TypeVar, cast, get_args, get_origin

import orjson
from attrs import fields, has
from cattrs import BaseValidationError, ClassValidationError, Converter
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override
from cattrs.preconf.orjson import OrjsonConverter, make_converter

from contract.errors import InvalidMessage, MalformedJSON, Problem
from contract.fields import (
    BROKEN,
    Distinct,
    Moment,
    Rule,
    Unexpected,
    distinct_of,
    format_moment,
    present_type,
    rule_of,
)
from contract.messages import Heartbeat, IpAddresses, Registration, ServerPayload
from contract.record import ServerRecord
from contract.tools import Tool, ToolAnnotations

__all__ = ["dumps", "loads", "parse", "structure", "unstructure"]

MOST_BAD_ITEMS = 10
"""Reading a list stops after this many invalid items, to bound the work for one message."""

T = TypeVar("T")
Hook = Callable[[Any, Any], Any]


class _BadItems(ValueError):
    """The invalid items of a list: `errors` maps the index of each to its error."""

    def __init__(self, errors: Mapping[int, Exception]) -> None:
        self.errors = errors


def loads(data: bytes | str, kind: type[T]) -> T:
    """
    Decode JSON, as bytes in UTF-8 or as text, into an instance of `kind`, a class of the contract.

    Raises MalformedJSON for data that is not JSON, and InvalidMessage for JSON that does not
    describe a valid `kind`.
    """
    return structure(parse(data), kind)


def parse(data: bytes | str) -> object:
    """
    Decode strict JSON (RFC 8259: no NaN, no invalid Unicode) into dicts, lists and scalars.

    Raises MalformedJSON for any other data.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise MalformedJSON(f"not valid JSON: {error}") from error


def structure(value: object, kind: type[T]) -> T:
    """
    Turn decoded JSON into an instance of `kind`, a class of the contract.

    Raises InvalidMessage if the value does not describe a valid `kind`. The error names every
    problem, but of each list at most ten invalid items.
    """
    if kind in _CHECKED:
        with suppress(InvalidMessage, KeyError, *BROKEN):
            return _quick.structure(value, kind)
    return structure_in_detail(value, kind)


def structure_in_detail(value: object, kind: type[T]) -> T:
    """
    Turn decoded JSON into an instance of `kind`, and find the path of every problem in it.

    `structure` gives the same result and is faster: it first tries a converter that finds no
    paths, and calls this function only when that converter fails. Raises InvalidMessage, which
    names the problems.
    """
    try:
        return _detailed.structure(value, kind)
    except (BaseValidationError, Unexpected, _BadItems) as error:
        raise InvalidMessage(_problems(error, "")) from error


def dumps(value: object) -> bytes:
    """Encode an instance of a class of the contract as JSON in UTF-8."""
    return orjson.dumps(unstructure(value))


def unstructure(value: object) -> Any:
    """Turn an instance of a class of the contract into dicts, lists and scalars for JSON."""
    return _detailed.unstructure(value)


def _problems(error: BaseException, path: str) -> Iterator[Problem]:
    if isinstance(error, ClassValidationError):
        for inner, note in error.group_exceptions()[0]:
            yield from _problems(inner, f"{path}.{note.name}" if path else note.name)
    elif isinstance(error, _BadItems):
        for index, inner in error.errors.items():
            yield from _problems(inner, f"{path}[{index}]")
        if len(error.errors) == MOST_BAD_ITEMS:
            yield Problem(path, "and perhaps more: the rest of the list was not looked at")
    elif isinstance(error, KeyError):
        yield Problem(path, "is required")
    else:
        yield Problem(path, str(error))


def _make_detailed() -> OrjsonConverter:
    """The slow cattrs converter: it validates each value itself, so each problem has its path."""
    converter = make_converter(omit_if_default=True)
    converter.register_structure_hook_factory(has, _class_hook)
    converter.register_structure_hook_factory(_is_tuple, _tuple_hook)
    converter.register_structure_hook_factory(_has_rule, _checking_hook)
    converter.register_structure_hook_factory(_is_distinct, _distinct_hook)
    converter.register_unstructure_hook_func(lambda kind: kind is Moment, format_moment)
    converter.register_unstructure_hook(
        ServerRecord,
        make_dict_unstructure_fn(ServerRecord, converter, _cattrs_omit_if_default=False),
    )
    return converter


def _make_quick() -> OrjsonConverter:
    """
    The fast cattrs converter, only for the classes in `_CHECKED`, whose constructors validate.

    It is many times as fast as the converter that `_make_detailed` makes, but stops at the first
    problem and does not tell its path.
    """
    converter = make_converter(detailed_validation=False)
    converter.register_structure_hook_factory(has, _quick_class_hook)
    return converter


def _has_rule(kind: Any) -> bool:
    return rule_of(kind) is not None


def _is_distinct(kind: Any) -> bool:
    return distinct_of(kind) is not None


def _is_tuple(kind: Any) -> bool:
    return get_origin(kind) is tuple


def _checking_hook(kind: Any) -> Hook:
    read = cast("Rule", rule_of(kind)).read
    return lambda value, _: read(value)


def _class_hook(kind: Any, converter: Converter) -> Hook:
    return _requiring(dict, "an object", make_dict_structure_fn(kind, converter))


def _quick_class_hook(kind: Any, converter: Converter) -> Hook:
    """
    Return a cattrs hook that makes an instance of `kind` from a JSON object.

    It converts only fields whose JSON value the constructor would refuse, such as the text of a
    time. All other values go to the constructor unchanged, which saves one call for each field.
    """
    converted: Any = {
        each.name: override(struct_hook=hook)
        for each in fields(kind)
        if (hook := _conversion(present_type(each.type), converter)) is not None
    }
    hook = make_dict_structure_fn(
        kind, converter, _cattrs_prefer_attrib_converters=True, **converted
    )
    # Without this check, any text or list would be an object that lacks all its optional fields.
    return _requiring(dict, "an object", hook)


def _conversion(kind: Any, converter: Converter) -> Hook | None:
    """A hook that makes the constructor argument of a field from JSON; None if none is needed."""
    if has(kind):
        hook = converter.get_structure_hook(kind)
        return lambda value, _: None if value is None else hook(value, kind)
    if has(item := _item_of(kind)):
        hook = converter.get_structure_hook(item)
        # The constructor refuses what is no list.
        return lambda value, _: [hook(each, item) for each in value] if value else value
    rule = rule_of(kind)
    if rule is None or rule.from_json is rule.from_python:
        return None
    return lambda value, _: None if value is None else rule.from_json(value)


def _item_of(kind: Any) -> Any:
    """The type of a tuple's items; None for another type."""
    items = get_args(kind)[0] if _is_distinct(kind) else kind
    return get_args(items)[0] if _is_tuple(items) else None


def _tuple_hook(kind: Any, converter: Converter) -> Hook:
    item = get_args(kind)[0]
    hook = converter.get_structure_hook(item)

    def structure_items(values: Any, _: Any) -> tuple[Any, ...]:
        items = []
        errors: dict[int, Exception] = {}
        for index, value in enumerate(values):
            try:
                items.append(hook(value, item))
            except (BaseValidationError, Unexpected) as error:
                errors[index] = error
                if len(errors) == MOST_BAD_ITEMS:
                    break
        if errors:
            raise _BadItems(errors)
        return tuple(items)

    return _requiring(list, "a list", structure_items)


def _distinct_hook(kind: Any, converter: Converter) -> Hook:
    distinct = cast("Distinct", distinct_of(kind))
    items = get_args(kind)[0]
    hook = converter.get_structure_hook(items)
    return lambda values, _: distinct.keep(hook(values, items))


def _requiring(json_type: type, expected: str, hook: Hook) -> Hook:
    def structure_checked(value: Any, kind: Any) -> Any:
        if not isinstance(value, json_type):
            raise Unexpected(expected, value)
        return hook(value, kind)

    return structure_checked


_detailed = _make_detailed()
_quick = _make_quick()
_CHECKED = frozenset({Heartbeat, IpAddresses, Registration, ServerPayload, Tool, ToolAnnotations})

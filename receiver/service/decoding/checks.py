"""
Checks of what msgspec does not check of a message: the rules of the fields of the contract.

A check is a function that gets a value, and raises an error of `NOT_PLAIN` if the value may be
invalid. `contract.loads` says then what is wrong.
"""

from collections.abc import Callable
from datetime import timezone
from functools import lru_cache
from typing import Any, get_args, get_origin

import msgspec
from attrs import fields, has

from contract.fields import (
    BROKEN,
    Distinct,
    Moment,
    Text,
    ToolNames,
    distinct_of,
    present_type,
    rule_of,
)

__all__ = ["NOT_PLAIN", "Check", "check_of", "check_of_fields"]

NOT_PLAIN = (msgspec.MsgspecError, RecursionError, *BROKEN)
"""The errors that tell that a message may be invalid."""

Check = Callable[[Any], object]
_SHORT = 64


def _require_utc(moment: Any) -> None:
    """Raise ValueError for a time without an offset, or with one that is not written as UTC."""
    if moment.tzinfo is not timezone.utc:
        raise ValueError(moment)


def check_of(kind: Any) -> Check | None:
    """The check of what msgspec does not check of a value of a type; None if it checks all."""
    if (rule := rule_of(kind)) is not None:
        if rule is rule_of(Text):
            return None
        return _require_utc if rule is rule_of(Moment) else rule.from_python
    if (distinct := distinct_of(kind)) is not None:
        check = _each_once(get_args(kind)[0], distinct)
        return _known_names(check) if kind == ToolNames else check
    if get_origin(kind) is tuple:
        return _each(kind)
    assert has(kind)
    return check_of_fields(kind)


def _each(kind: Any) -> Check:
    check = check_of(get_args(kind)[0])
    assert check is not None  # in every list of a message, the items need a check

    def check_each(values: Any) -> None:
        for value in values:
            check(value)

    return check_each


def _each_once(kind: Any, distinct: Distinct) -> Check:
    """A check for the items of a list, which also raises ValueError if an item is there twice."""
    check = _each(kind)

    def check_items(values: Any) -> None:
        check(values)
        if len(distinct.keep(values)) < len(values):
            raise ValueError(values)

    return check_items


def _known_names(check: Check) -> Check:
    """
    A check of a list of names that remembers the short lists which have passed `check`.

    A fleet offers the same few lists of tools again and again: to find a list of seven names takes
    0.1 µs, to check it 0.5. It is only short lists, and few, to bound the memory.
    """
    check_new = lru_cache(maxsize=256)(check)

    def check_names(names: Any) -> None:
        (check_new if len(names) <= _SHORT else check)(names)

    return check_names


def check_of_fields(kind: Any, is_checked: Callable[[str, Any], bool] = lambda *_: True) -> Check:
    """A check of those fields of a class whose name and type satisfy `is_checked`."""
    types = [(each.name, present_type(each.type)) for each in fields(kind)]
    checks = [(name, check_of(type_)) for name, type_ in types if is_checked(name, type_)]
    relevant = [(name, check) for name, check in checks if check is not None]

    def check_all(instance: Any) -> None:
        for name, check in relevant:
            value = getattr(instance, name)
            if value is not None:
                check(value)

    return check_all

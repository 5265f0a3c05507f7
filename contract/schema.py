"""JSON Schema (2020-12) of the wire format, generated from the rules of the fields."""

import inspect
import re
from copy import deepcopy
from typing import Any, get_args, get_origin

from attrs import NOTHING, fields, has

from contract.fields import distinct_of, rule_of
from contract.messages import ServerPayload

__all__ = ["json_schema"]


def json_schema(kind: type) -> dict[str, Any]:
    """
    Return the JSON Schema of a class of the contract, without `$ref`, as a new dict.

    The schema allows additional members, because the codec ignores them. It takes the description
    of a field from the section "Attributes:" in the docstring of the class, or else of its base
    classes, or else of `ServerPayload`.
    """
    docs = _field_docs(kind)
    return {
        "type": "object",
        "properties": {
            field.name: _described(_schema(field.type), docs.get(field.name))
            for field in fields(kind)
        },
        "required": [field.name for field in fields(kind) if field.default is NOTHING],
    }


def _schema(kind: Any) -> dict[str, Any]:
    if (rule := rule_of(kind)) is not None:
        return deepcopy(dict(rule.schema))
    if (distinct := distinct_of(kind)) is not None:
        return {**_schema(get_args(kind)[0]), "maxItems": distinct.most}
    if get_origin(kind) is tuple:
        return {"type": "array", "items": _schema(get_args(kind)[0])}
    if has(kind):
        return json_schema(kind)
    return {
        "anyOf": [{"type": "null"} if arg is type(None) else _schema(arg) for arg in get_args(kind)]
    }


def _described(schema: dict[str, Any], doc: str | None) -> dict[str, Any]:
    return schema if doc is None else {"description": doc, **schema}


def _field_docs(kind: type) -> dict[str, str]:
    docs: dict[str, str] = {}
    for source in (ServerPayload, *reversed(kind.__mro__)):
        docs.update(_attributes_section(source))
    return docs


def _attributes_section(kind: type) -> dict[str, str]:
    text = inspect.cleandoc(kind.__doc__ or "")
    _, _, section = text.partition("Attributes:\n")
    entries = re.findall(r"^    (\w+): (.+(?:\n {8}.+)*)", section, re.MULTILINE)
    return {name: re.sub(r"\s+", " ", doc) for name, doc in entries}

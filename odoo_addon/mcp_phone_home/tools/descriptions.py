"""
What the MCP tools of this Odoo tell of themselves, for the receiver.

A tool of another addon may be anything: an object, a dict or a record, with members spelled as in
MCP or as in Python. What cannot be used is left out.
"""

import json
from collections.abc import Mapping
from hashlib import sha256

from attrs import frozen

from odoo.tools.translate import LazyGettext

MOST_CHARACTERS = 4000
"""How many characters of a description are kept, which is what a message may hold."""

# The hints of MCP, and what they are called in Python.
_HINTS = {
    "readOnlyHint": "read_only_hint",
    "destructiveHint": "destructive_hint",
    "idempotentHint": "idempotent_hint",
    "openWorldHint": "open_world_hint",
}

# The last names are those of Odoo's server actions.
_DESCRIPTION = ("description", "ai_tool_description")
_INPUT_SCHEMA = ("input_schema", "inputSchema", "ai_tool_schema")


@frozen(kw_only=True)
class Description:
    """
    What a tool tells of itself, as far as it can be read.

    Attributes:
        title: Its name for people; None for none.
        text: What it does; None for none. It may be cut, and ends with `…` then.
        hints: The hints of MCP that it gives, each with True or False.
        schema_digest: SHA-256 of the JSON Schema of its arguments, in hexadecimal digits; None
            where that is not known or no JSON.
    """

    title: str | None = None
    text: str | None = None
    hints: tuple[tuple[str, bool], ...] = ()
    schema_digest: str | None = None


def description_of(tool) -> Description:
    """What a tool tells of itself. Raises whatever its members raise."""
    define = getattr(tool, "_get_tool_definition", None)
    # The records of OCA's `ai.tool` do not hold their schemas.
    tool = define() if callable(define) else tool
    return Description(
        title=_text(_first(tool, ("title",))),
        text=_shortened(_text(_first(tool, _DESCRIPTION))),
        hints=_hints(tool),
        schema_digest=schema_digest(_first(tool, _INPUT_SCHEMA)),
    )


def schema_digest(schema) -> str | None:
    """
    SHA-256 of a JSON Schema in canonical form (sorted keys, no blanks), in hexadecimal digits.

    The schema may be text that holds JSON. None for anything that is no JSON object.
    """
    try:
        schema = json.loads(schema) if isinstance(schema, str) else schema
        if not isinstance(schema, Mapping):
            return None
        text = json.dumps(dict(schema), sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return None
    return sha256(text.encode()).hexdigest()


def _hints(tool) -> tuple[tuple[str, bool], ...]:
    annotations = _member(tool, "annotations")
    found = {
        hint: _member(tool, name) if annotations is None else _member(annotations, hint)
        for hint, name in _HINTS.items()
    }
    return tuple((hint, value) for hint, value in found.items() if isinstance(value, bool))


def _first(tool, names):
    """The first member of these names that is an object or a text that is not empty; else None."""
    for name in names:
        value = _member(tool, name)
        if isinstance(value, Mapping) or (isinstance(value, str | LazyGettext) and value):
            return value
    return None


def _member(tool, name):
    return tool.get(name) if isinstance(tool, Mapping) else getattr(tool, name, None)


def _text(value) -> str | None:
    """A text that is not blank, in English; None for any other value."""
    if isinstance(value, LazyGettext):
        # A lazy translation, in the language of its source: that of a user would make the
        # description depend on who caused the message.
        value = value._translate("en_US")  # noqa: SLF001 - `env._` calls it too
    return value if isinstance(value, str) and value.strip() else None


def _shortened(text) -> str | None:
    if text is None or len(text) <= MOST_CHARACTERS:
        return text
    return f"{text[: MOST_CHARACTERS - 1]}…"

"""
What a tool returns, as the result object of MCP's `tools/call`.

A tool may return

- a dict, which an agent gets as text and as `structuredContent`;
- a list of content blocks of MCP, such as `[{"type": "image", "data": "...", "mimeType":
  "image/png"}]`: an image, audio, a resource, a link to one or text, in any mixture;
- a whole result of MCP, `{"content": [...]}`, with `structuredContent`, `isError` and `_meta` if
  it likes;
- any other value that JSON can hold, which an agent gets as text.

A list or a dict is only taken for content when each of its blocks is a valid one.
"""

import json

from jsonschema import Draft202012Validator

_TEXT = {"type": "string"}
_BASE64 = {"type": "string", "pattern": "^[A-Za-z0-9+/]*={0,2}$"}
_MEDIA_TYPE = {"type": "string", "pattern": "^[^/ ]+/[^/ ]+$"}
_RESOURCE = {
    "type": "object",
    "properties": {"uri": _TEXT, "mimeType": _MEDIA_TYPE, "text": _TEXT, "blob": _BASE64},
    "required": ["uri"],
    "oneOf": [{"required": ["text"]}, {"required": ["blob"]}],
}
_MEDIA = {"data": _BASE64, "mimeType": _MEDIA_TYPE}

# The members that each type of block must have, with the schema of each.
_BLOCKS = {
    "text": {"text": _TEXT},
    "image": _MEDIA,
    "audio": _MEDIA,
    "resource_link": {"uri": _TEXT, "name": _TEXT},
    "resource": {"resource": _RESOURCE},
}
_CONTENT = {
    "type": "array",
    "items": {
        "oneOf": [
            {
                "type": "object",
                "properties": {"type": {"const": kind}, **members},
                "required": ["type", *members],
            }
            for kind, members in _BLOCKS.items()
        ]
    },
}
_is_content = Draft202012Validator({**_CONTENT, "minItems": 1}).is_valid
_is_result = Draft202012Validator(
    {
        "type": "object",
        "properties": {
            "content": _CONTENT,
            "structuredContent": {"type": "object"},
            "isError": {"type": "boolean"},
            "_meta": {"type": "object"},
        },
        "required": ["content"],
        "additionalProperties": False,
    }
).is_valid


class UnusableResult(Exception):
    """A tool has returned a value that JSON cannot hold, or not what its schema says."""


def success(value, *, output_schema=None) -> dict:
    """The result object for what a tool has returned. Raises UnusableResult."""
    text = _as_json(value)
    found = json.loads(text)
    if _is_result(found):
        result = found
    elif _is_content(found):
        result = {"content": found}
    else:
        result = {"content": [{"type": "text", "text": text}]}
        # MCP allows only an object as `structuredContent`.
        if isinstance(found, dict):
            result["structuredContent"] = found
    if output_schema is not None and not result.get("isError"):
        _check(result, output_schema)
    return result


def failure(sentence) -> dict:
    """The result object of a call that has failed, with the reason."""
    text = sentence.encode("utf-8", "replace").decode("utf-8")
    return {"content": [{"type": "text", "text": text}], "isError": True}


def _check(result, schema):
    if "structuredContent" not in result:
        raise UnusableResult("the tool has an output_schema, and its result is no object")
    found = next(Draft202012Validator(schema).iter_errors(result["structuredContent"]), None)
    if found is not None:
        raise UnusableResult(
            f"the result is not what output_schema says: {found.json_path}: {found.message:.300}"
        )


def _as_json(value) -> str:
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False)
        # Raises for a lone surrogate.
        text.encode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:
        raise UnusableResult("the result is nothing that JSON can hold") from error
    return text

"""
Cuts a JSON list into the texts of its items without reading the items.

A JSON parser gives up on a whole list when a single item is nested too deeply, or is no JSON.
The functions here look only at brackets, quotes and commas, so that the other items of such a list
can be used. They are slow, because they read the text in Python, and pause now and then; they are
for lists that a parser has refused.
"""

import re
from collections.abc import Generator

__all__ = ["cut", "is_too_deep"]

_MAX_DEPTH = 1024
"""How deeply the parser of the contract lets arrays and objects be nested."""

# A string may also end with the text: otherwise the search would begin again at each quote.
_TOKENS = re.compile(
    rb"""
    "[^"\\]*(?:\\.[^"\\]*)*(?:(?P<closing_quote>")|\\?\Z)   # a string
    | (?P<opening>[\[{]+)
    | (?P<closing>[\]}]+)
    | (?P<comma>,)
    """,
    re.DOTALL | re.VERBOSE,
)
_BLANK = b" \t\n\r"

_STEP = 5_000
"""After how many tokens the generator yields; reading them takes some milliseconds."""


def cut(text: bytes) -> Generator[None, None, list[bytes] | None]:
    """
    Cut a JSON list into the texts of its items; return None if the text is no list.

    If the text is valid JSON, each item is, too; if the text is not, at least one item is not. A
    generator that returns the texts, and yields None now and then, so that the caller can do
    something else in between.
    """
    text = text.strip(_BLANK)
    if not (text.startswith(b"[") and text.endswith(b"]")):
        return None
    text = text[1:-1]
    items = []
    begin = depth = 0
    for number, token in enumerate(_TOKENS.finditer(text), 1):
        if number % _STEP == 0:
            yield
        match token.lastgroup:
            case "opening":
                depth += len(token[0])
            case "closing":
                depth -= len(token[0])
            case "comma" if depth == 0:
                items.append(text[begin : token.start()].strip(_BLANK))
                begin = token.end()
            case None:  # a string without an end
                return None
        if depth < 0:
            return None
    items.append(text[begin:].strip(_BLANK))
    return items if depth == 0 and all(items) else None


def is_too_deep(text: bytes) -> bool:
    """Whether arrays and objects are nested more deeply than the contract's parser can read."""
    depth = 0
    for token in _TOKENS.finditer(text):
        if token.lastgroup == "opening":
            depth += len(token[0])
            if depth > _MAX_DEPTH:
                return True
        elif token.lastgroup == "closing":
            depth -= len(token[0])
    return False

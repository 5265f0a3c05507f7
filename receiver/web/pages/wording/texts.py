"""Texts that others have written, as far as a page shows them."""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from contract import ServerRecord, State

__all__ = [
    "apart",
    "brief",
    "called",
    "called_apart",
    "counted_stages",
    "is_seen",
    "names",
    "shown",
    "titled",
    "worded",
]


def is_seen(text: str) -> bool:
    """Whether a text has a visible character."""
    if text.isascii() and text.isprintable():  # as nearly all are: all but spaces are visible
        return bool(text.strip(" "))
    return any(
        unicodedata.category(each) not in _INVISIBLE_CATEGORIES and each not in _BLANK_CHARACTERS
        for each in text
    )


def shown(text: str) -> str:
    """The text, or `(blank)` if it has no visible character."""
    return text if is_seen(text) else "(blank)"


def brief(text: str, most: int = 255) -> str:
    """The text, cut to `most` characters with `…`; `(blank)` if nothing of it is visible."""
    if len(text) <= most and text.isascii() and text.isprintable() and text.strip(" "):
        return text  # as nearly all are
    text = shown(text)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def titled(text: str) -> str:
    """The text with its first letter as a capital letter."""
    return text[:1].upper() + text[1:]


def called(record: ServerRecord) -> str:
    """
    What a page calls a server: the name of its database, or else its `server_id`.

    The `server_id` is taken if the name is unknown or has no visible character. If the `server_id`
    has none either, it is `(blank)`.
    """
    database = record.database or ""
    return shown(database if is_seen(database) else record.server_id)


def apart(names_of: Mapping[str, str]) -> Mapping[str, str]:
    """
    What a page calls servers that it names together, by their ids: by name, if no two share it.

    Servers of the same name, as copies of a database often have, are called by their ids.
    """
    number = Counter(names_of.values())
    return {
        each: name if number[name] == 1 and (name == each or name not in names_of) else each
        for each, name in names_of.items()
    }


def called_apart(records: Iterable[ServerRecord]) -> Mapping[str, str]:
    """What a page calls servers that it names together, by their ids; see `called` and `apart`."""
    return apart({record.server_id: called(record) for record in records})


def counted_stages(
    found: Sequence[tuple[str, int]], totals: Mapping[str, int] | None = None
) -> list[str]:
    """
    The first three stages of some servers in words, such as `2 of 60 production`.

    Args:
        found: The stages, each with the number of its servers; "" for servers without a stage.
        totals: How many servers the whole fleet has in each stage; None if that is not known. Then
            the texts are such as `3 production` and `1 without stage`, or `only staging` if there
            is no other.
    """
    texts = [brief(stage, 40) if stage else "without stage" for stage, _ in found[:_MAX_STAGES]]
    if totals is None and len(found) == 1:
        return [f"only {texts[0]}"]
    return [
        f"{_part(number, (totals or {}).get(stage, 0))} {text}"
        for (stage, number), text in zip(found, texts, strict=False)
    ]


def _part(number: int, total: int) -> str:
    """A number of servers and of how many; alone, if that was counted at another moment."""
    return f"{number:,} of {total:,}" if total >= number else f"{number:,}"


def worded(value: Any) -> str:
    """A value of a record or an event as a text: `unknown` for None, `none` if it is empty."""
    match value:
        case None:
            return "unknown"
        case "":
            return "none"
        case State():
            return value.value
        case {"primary": primary, "all": others}:
            return names([*dict.fromkeys([primary, *others])])
        case list():
            return names(value) or "none"
        case _:
            return shown(str(value))


def names(texts: Sequence[str]) -> str:
    """The first five texts, with commas between them, and how many more there are."""
    first = ", ".join(map(shown, texts[:_MAX_NAMES]))
    return f"{first} and {len(texts) - _MAX_NAMES:,} more" if len(texts) > _MAX_NAMES else first


_MAX_NAMES = 5
_MAX_STAGES = 3

# Spaces, control and format characters, and combining marks.
_INVISIBLE_CATEGORIES = {"Zs", "Zl", "Zp", "Cc", "Cf", "Mn"}
# Hangul fillers and the empty Braille pattern.
_BLANK_CHARACTERS = "\u115f\u1160\u2800\u3164\uffa0"

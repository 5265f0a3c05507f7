"""What has changed of a server, in words: lines such as `Odoo: 18.0 → 19.0`."""

from collections.abc import Mapping, Sequence
from typing import Any

from contract.fields import parse_moment
from receiver.web.pages.wording.records import LABELS
from receiver.web.pages.wording.texts import names, worded
from receiver.web.pages.wording.times import duration, exactly

__all__ = ["GAINED", "change_lines", "gains_and_losses", "with_changed"]


def change_lines(name: str, change: Mapping[str, Any]) -> list[tuple[str, str]]:
    """
    Lines about a field of a record that has changed, each a label and a text.

    Args:
        name: The name of the field.
        change: The values `from` and `to`, in their wire form.
    """
    label, old, new = LABELS.get(name, name), change.get("from"), change.get("to")
    if name == "ip_addresses" and old and new:
        return _addresses(label, old, new)
    return [(label, " → ".join(_text(name, value) for value in (old, new)))]


def _text(name: str, value: Any) -> str:
    """A value of a field of a record, in its wire form, as a text."""
    if value is not None and name.endswith("_seconds"):
        return duration(value)
    if value is not None and name.endswith("_at"):
        return exactly(parse_moment(value))
    return worded(value)


def _addresses(label: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[tuple[str, str]]:
    """
    Lines about changed addresses, each a label and a text.

    Args:
        label: The label of the line about the primary address; other lines extend it.
        old: The addresses before, in the wire form `{"primary": ..., "all": [...]}`.
        new: The addresses after.
    """
    before, after = old["primary"], new["primary"]
    gained = [each for each in new["all"] if each not in (before, after, *old["all"])]
    lost = [each for each in old["all"] if each not in (before, after, *new["all"])]
    lines = {
        label: f"{before} → {after}" if before != after else "",
        f"{label} added": names(gained),
        f"{label} removed": names(lost),
    }
    return [line for line in lines.items() if line[1]] or [(label, "in another order")]


def gains_and_losses(tools: Mapping[str, Sequence[str]]) -> str:
    """How many tools are new and how many are gone, with a sign before each."""
    signs = {"gained": "+", "lost": "\N{MINUS SIGN}"}
    return " ".join(f"{sign}{len(tools[word])}" for word, sign in signs.items() if tools.get(word))


GAINED = {"gained": "Added", "lost": "Removed"}
"""The labels of what is new and of what is gone, by the names that an event has for them."""


def with_changed(tools: Mapping[str, Sequence[str]], field: str) -> list[str]:
    """The names of the tools of which a field has changed, by the changed fields of each tool."""
    return [name for name, changed in tools.items() if field in changed]

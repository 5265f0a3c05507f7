"""What happened to several servers together, in words."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from contract import EventKind
from receiver.domain.grouping.timeline import Group
from receiver.web.pages.wording.changes import GAINED, change_lines, gains_and_losses, with_changed
from receiver.web.pages.wording.events import Tale
from receiver.web.pages.wording.kinds import FEW_SERVERS, NAMED_SERVERS, OF_TOOLS, many
from receiver.web.pages.wording.texts import apart, brief

__all__ = ["named_apart", "named_servers", "tale_of_many"]


def named_servers(group: Group) -> Sequence[str]:
    """The ids of those servers of a group that a page names: all of them if they are few."""
    ids = group.server_ids
    return ids if len(ids) <= FEW_SERVERS else ids[:NAMED_SERVERS]


def named_apart(group: Group, names: Mapping[str, str]) -> Mapping[str, str]:
    """What a page calls those servers, by their ids; `names` has the names of their databases."""
    return apart({each: names.get(each, each) for each in named_servers(group)})


def tale_of_many(group: Group) -> Tale:
    """
    Describe in words for a page what happened to several servers together.

    If the details of the events are known, the lines of the tale say what became what, such as
    `18.0 → 19.0`, and which tools were added and removed. Of texts that do not hold for all of the
    events, each has the number of events for which it does, as in `18.0 → 19.0 (12)`.
    """
    total = sum(alike.number for alike in group.alike)
    counts: dict[str, Counter[str]] = {}
    for alike in group.alike:
        for label, text in _lines_of_one(group.kind, alike.details):
            counts.setdefault(label, Counter())[text] += alike.number
    says = many(group.kind)
    if group.kind is EventKind.CAPABILITIES_CHANGED and counts:
        tools = {word: [*counts.get(label, ())] for word, label in GAINED.items()}
        says = f"{says}: {gains_and_losses(tools)}"
    more = [(label, _counted(texts, total)) for label, texts in counts.items()]
    return Tale(says=says, more=more)


def _lines_of_one(kind: EventKind, details: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What one of several events says: lines with a label and a text, one for each of its tools."""
    tools = details.get("tools" if kind is EventKind.TOOLS_CHANGED else "capabilities", {})
    match kind:
        case EventKind.CAPABILITIES_CHANGED:
            named = [(GAINED[word], tools.get(word, ())) for word in GAINED]
        case EventKind.TOOLS_CHANGED:
            named = [(label, with_changed(tools, field)) for field, label in OF_TOOLS.items()]
        case _:
            return [line for name, change in details.items() for line in change_lines(name, change)]
    return [(label, name) for label, names_of_tools in named for name in names_of_tools]


def _counted(texts: Counter[str], total: int) -> str:
    """The most frequent texts; with its number each that is there less than `total` times."""
    found = [
        brief(text, _LONGEST_COUNTED) + (f" ({count:,})" if count < total else "")
        for text, count in texts.most_common(_MAX_COUNTED)
    ]
    more = len(texts) - _MAX_COUNTED
    return ", ".join(found) + (f" and {more:,} more" if more > 0 else "")


_MAX_COUNTED = 4
_LONGEST_COUNTED = 50  # so that four with their numbers have less than the 255 characters of a line

"""The tiles with the number of servers in each state, and the values that a list is narrowed by."""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import accumulate
from zlib import crc32

from attrs import evolve, frozen
from markupsafe import escape

from contract import State
from receiver.domain.filter_text import MAX_LENGTH, FilterText
from receiver.domain.grouping.problems import counts_as_production
from receiver.domain.keys import Keyring
from receiver.domain.lists.breakdown import Counts, most_frequent
from receiver.domain.queries import NODE, SUPERSEDED
from receiver.web.pages.browse.view import ListView
from receiver.web.pages.wording import brief

__all__ = ["Group", "Tile", "Value", "facet_groups", "suggestion", "tiles"]


@frozen(kw_only=True)
class Tile:
    """
    How many servers are in a state, or in one of several states.

    Attributes:
        kind: The name of the state; `all` for the tile of all servers, and `away` for that of those
            that are down or late.
        label: The name that people see.
        count: How many servers are in these states, of those that match all filters but those by
            state.
        link: A link to the list of these servers.
        is_current: Whether the page shows exactly this list.
    """

    kind: str
    label: str
    count: int
    link: str
    is_current: bool


@frozen(kw_only=True)
class Value:
    """
    A value of a name, such as of `stage`, that the list can be narrowed by.

    Attributes:
        text: The value; "" for servers without a value, such as without a stage.
        label: What people see.
        count: How many servers have the value, of those that match the filters for other names and
            have no value that the filters exclude. If the filters exclude the value itself, how
            many match without it; None if they exclude other values of the same name, too, so that
            this one has no number of its own.
        link: A link to the list with the value added to the filters, or removed if it is one of
            them; None if the link would be too long.
        without: A link to the list without the servers that have the value; None if the filters
            exclude these already, or if the link would be too long.
        is_chosen: Whether the filters ask for servers with the value.
        is_excluded: Whether the filters exclude servers with the value.
    """

    text: str
    label: str
    count: int | None
    link: str | None
    without: str | None
    is_chosen: bool
    is_excluded: bool

    @property
    def key(self) -> str:
        """A short text for HTML that is different for each value of a name: a checksum."""
        return f"{crc32(self.text.encode()):x}"


@frozen(kw_only=True)
class Group:
    """
    A name that the list can be narrowed by, such as `stage`, and its values.

    Attributes:
        name: The name, as the text of a filter writes it.
        label: What people see.
        values: The values that the filters name, and then the most frequent others that contain
            `find`; of stages, production before the others.
        more: How many more values contain `find`, and are not in `values`.
        find: The text that somebody searches in the values; empty if nobody does.
        is_used: Whether the filters name a value, or somebody searches the values.
    """

    name: str
    label: str
    values: Sequence[Value]
    more: int
    find: str
    is_used: bool

    @property
    def is_searched(self) -> bool:
        """Whether there is a field to search the values."""
        return self.more > 0 or bool(self.find)


def tiles(counts: Counts, view: ListView) -> list[Tile]:
    """
    The tiles: all servers, those that are down or late, and those in each state.

    They count servers that match all filters but those by state. If there are such filters, the
    tile of all servers says that it is about those that match, or if the list has only some states,
    that it is about those in any state.
    """
    single = [(each.value, each.value.capitalize(), (each.value,)) for each in _TILES]
    matching = view.text.in_any_state()
    narrowed = "Matching" if matching == view.text else "In any state"
    several: list[tuple[str, str, tuple[str, ...]]] = [
        ("all", "All servers" if matching == FilterText() else narrowed, ()),
        ("away", "Down or late", _AWAY),
    ]
    return [_tile(counts, view, *each) for each in (*several, *single)]


def _tile(counts: Counts, view: ListView, kind: str, label: str, states: tuple[str, ...]) -> Tile:
    numbers = counts.values["state"]
    counted = states or [each.value for each in _TILES]
    return Tile(
        kind=kind,
        label=label,
        count=sum(numbers.get(each, 0) for each in counted),
        link=view.link(evolve(view.text.in_any_state(), state=states)),
        is_current=view.text.state == states and not dict(view.text.without).get("state"),
    )


def facet_groups(counts: Counts, view: ListView, *, keys: Keyring | None) -> list[Group]:
    """
    The names that the list can be narrowed by, with their most frequent values.

    A name is left out if all servers have the same value of it, unless the filters name a value, or
    somebody searches the values. Labels are there if any server has one, and all states, also those
    in which no server is, unless no server has ever phoned home.

    Args:
        counts: How many servers have which value.
        view: What the page shows.
        keys: The API keys; None if the visitor may not know them, so that the name `key` is left
            out.
    """
    groups: list[Group] = []
    room = _ROOM_OF_ALL
    for name in _LABELS:
        numbers = counts.values[name]
        if name == "state" and (numbers or counts.total or view.is_narrowed):
            numbers = {**dict.fromkeys(_STATES, 0), **numbers}
        if name == "key":
            if keys is None:
                continue
            numbers = _by_name(keys, numbers)
        group = _group(name, numbers, counts.total, view, room)
        room -= sum(map(_size, group.values))
        groups.append(group)
    return [
        each
        for each in groups
        if len(each.values) + each.more >= _LEAST.get(each.name, 2) or each.is_used
    ]


def suggestion(counts: Counts, view: ListView) -> tuple[str, str] | None:
    """
    What somebody may have meant by a filter that finds no server: its text, and a link to the list.

    A value that no server has becomes the most frequent value of its name that contains it, such as
    `stage:production` for `stage:prod`, and a word that is a state or a stage becomes a filter by
    that. None if nothing is like it.

    Args:
        counts: How many servers have which value, of those that match the filters for other names.
        view: What the page shows, which is no server.
    """
    meant = view.text
    for name, numbers in counts.values.items():
        for value in getattr(view.text, name):
            like = most_frequent(numbers, value)
            if value and like and value not in numbers:
                meant = meant.toggled(name, value).toggled(name, like[0][0])
    for name, known in (("state", _STATES), ("stage", _STAGES)):
        for word in meant.words:
            if word.lower() in known:
                rest = [each for each in meant.words if each != word]
                wanted = (*getattr(meant, name), word.lower())
                meant = meant.changed("words", rest).changed(name, wanted)
    link = None if meant == view.text else _link(view, str(meant))
    return None if link is None else (str(meant), link)


def _by_name(keys: Keyring, numbers: Mapping[str, int]) -> Mapping[str, int]:
    """The numbers of servers by the names of keys, or by the ids of keys that share a name."""
    names = Counter(key.name for key in keys)
    found = {}
    for key_id, n in numbers.items():
        key = keys.get(key_id)
        found[key_id if key is None or names[key.name] > 1 else key.name] = n
    return found


def _group(name: str, numbers: Mapping[str, int], total: int, view: ListView, room: int) -> Group:
    """
    The values of a name.

    Args:
        name: The name, such as `stage`.
        numbers: How many servers have which value.
        total: How many servers match the filters.
        view: What the page shows.
        room: About how many bytes of HTML the values may take.
    """
    find = view.find if view.facet == name else ""
    chosen, excluded = getattr(view.text, name), dict(view.text.without).get(name, ())
    used: list[tuple[str, int | None]] = [(each, numbers.get(each, 0)) for each in chosen]
    # All that match lack what is excluded. Of several such values, none has a number of its own.
    lacking = total if len(excluded) == 1 and not chosen else None
    used += [(each, lacking) for each in excluded]
    named = {*chosen, *excluded}
    others = [each for each in most_frequent(numbers, find) if each[0] not in named]
    if name == "state":
        others.sort(key=lambda each: _STATES.index(each[0]))
    if name == "stage":
        others.sort(key=lambda each: not counts_as_production(each[0]))
    most = _MOST_FOUND if find else _MOST_SHOWN
    values = [_value(name, view, value, n) for value, n in used]
    values += _fitting([_value(name, view, *each) for each in others[:most]], room)
    more = len(used) + len(others) - len(values)
    return Group(
        name=name,
        label=_LABELS[name],
        values=values,
        more=more,
        find=find,
        is_used=bool(used or find),
    )


def _fitting(values: Sequence[Value], room: int) -> Sequence[Value]:
    ends = accumulate(map(_size, values))
    return values[: sum(end <= room for end in ends)]


def _size(value: Value) -> int:
    """About how many bytes of HTML a value takes, whose label is there twice."""
    links = sum(len(link) for link in (value.link, value.without) if link is not None)
    return 275 + links + 2 * len(escape(brief(value.label, 60)).encode())


def _value(name: str, view: ListView, value: str, count: int | None) -> Value:
    chosen, excluded = getattr(view.text, name), dict(view.text.without).get(name, ())
    toggled, without = _changed(view.text, name, value)
    return Value(
        text=value,
        label=value or f"No {_LABELS[name].lower()}",
        count=count,
        link=_link(view, toggled),
        without=None if value in excluded else _link(view, without),
        is_chosen=value in chosen,
        is_excluded=value in excluded,
    )


@lru_cache(maxsize=1000)
def _changed(text: FilterText, name: str, value: str) -> tuple[str, str]:
    """The texts of a filter with a value switched, and with it excluded."""
    return str(text.toggled(name, value)), str(text.excluding(name, value))


def _link(view: ListView, text: str) -> str | None:
    """A link to the list with other filters; None if it would be too long."""
    link = view.link(text)
    return link if len(text) <= MAX_LENGTH and len(link) <= _LONGEST_LINK else None


_TILES = (State.DOWN, State.LATE, State.NEW, State.UP)
_AWAY = (State.DOWN.value, State.LATE.value)
_LEAST = {"label": 1}
"""How many values a name must have to be shown; two if it is not here."""

_LABELS = {
    "state": "State",
    "stage": "Stage",
    "label": "Label",
    "odoo": "Odoo",
    "tool": "Tool",
    "version": "MCP server",
    "network": "Network",
    "key": "Key",
}
_STATES = [*(each.value for each in _TILES), State.LEFT.value, SUPERSEDED, NODE]
_STAGES = ("production", "staging", "dev")
"""The stages of Odoo.sh."""

_MOST_SHOWN = 8
"""How many values of a name are shown at most, beside those that the filter names."""

_MOST_FOUND = 20
"""How many values of a name are shown at most if somebody searches its values."""

_ROOM_OF_ALL = 12_500
"""About how many bytes of HTML the values of all names may take."""

_LONGEST_LINK = 1_000

r"""
Filters of servers as one text, such as `stage:production,none database:acme`.

The text consists of words with spaces between them, and a server must match all of them:

- `name:value` means that the server has this value. Several values with commas between them mean
  that it has at least one of them.
- `-name:value` means that the server does not have this value. Several values with commas between
  them mean that it has none of them.
- A word without a name is text that the `server_id`, the hostname, the database, host and port of
  the endpoint, the name of a tool, a label or the note of the database contains, or that a version
  or an IP address begins with.
- A value that contains spaces, commas or double quotes stands in double quotes, in which `\"` is
  a double quote and `\\` a backslash. So does a text without a name that contains a colon, unless
  it is a URL, an address such as fd00::5, or ends with a port.
- `stage:none` means a stage that is empty or unknown; `stage:"none"` means one of that name.
  `key:none` means servers that belong to no key.
"""

import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from functools import lru_cache
from ipaddress import ip_network
from typing import Any

from attrs import evolve, field, frozen

from contract import ServerRecord, State
from receiver.domain.lists.profiles import network_of
from receiver.domain.lists.search_texts import Sought
from receiver.domain.queries import NODE, SUPERSEDED, Filter, Without, rank_of

__all__ = ["MAX_LENGTH", "MOST_WORDS", "NAMES", "NONE", "FilterText"]

MAX_LENGTH = 1000
"""How many characters the text of a filter may have."""

MOST_WORDS = 50
"""
How many words without a name a request may search for at once.

Each of them is searched in all servers, so that hundreds would take the database seconds.
"""


def _distinct(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(values)))


def _values() -> tuple[str, ...]:
    return field(default=(), converter=_distinct)


@frozen(kw_only=True)
class FilterText:
    """
    A filter of servers that can be written as a text.

    A server must match each attribute that is not empty, by at least one of its values unless the
    attribute says otherwise.

    Attributes:
        server: Ids of servers.
        database: Names of databases.
        stage: Stages of Odoo.sh; "", which is written `none`, for an empty or unknown one.
        version: Versions of the MCP server.
        odoo: Versions of Odoo.
        tool: Names of tools.
        state: States; also `superseded`, for servers that another one has replaced, and `node`, for
            servers in place of which lists show another server of their database.
        network: Networks of primary IP addresses: of 24 bits, such as `10.0.3.0/24`, or for IPv6 of
            64 bits.
        key: Ids or names of the API keys that servers belong to; "", which is written `none`, for
            no key. Only lists can be filtered by it; `matches` is false for all servers then.
        label: Labels of databases, in lower case.
        words: Texts, all of which must be found in a server, ignoring case: in its names,
            addresses, versions, tools, labels and note.
        without: Pairs of the name of an attribute above, but not `words`, and values that a server
            must not have.
    """

    server: tuple[str, ...] = _values()
    database: tuple[str, ...] = _values()
    stage: tuple[str, ...] = _values()
    version: tuple[str, ...] = _values()
    odoo: tuple[str, ...] = _values()
    tool: tuple[str, ...] = _values()
    state: tuple[str, ...] = _values()
    network: tuple[str, ...] = _values()
    key: tuple[str, ...] = _values()
    label: tuple[str, ...] = _values()
    words: tuple[str, ...] = _values()
    without: Without = ()

    @classmethod
    def parse(cls, text: str) -> "FilterText":
        """
        Read the text of a filter; the empty text makes a filter that all servers match.

        Raises ValueError, whose message is a sentence for people, if the text cannot be read.
        """
        return _parsed(text)

    @classmethod
    def asked(cls, text: str) -> "FilterText":
        """
        Read the text of a filter that a request brings, which may have `MOST_WORDS` words at most.

        Filters that are stored already may have more, and are read by `parse`. Raises ValueError,
        whose message is a sentence for people, if the text has more words or cannot be read.
        """
        found = cls.parse(text)
        if len(found.words) > MOST_WORDS:
            raise ValueError(
                f"A filter has {MOST_WORDS} words without a name at most; this one has "
                f"{len(found.words)}."
            )
        return found

    @classmethod
    def of(cls, matching: Filter) -> "FilterText":
        """Convert the filter of a list of servers, which `to_filter` converts back."""
        names = {attribute: name for name, attribute in _ATTRIBUTES.items()}
        excluded = {names[attribute]: values for attribute, values in matching.without}
        return cls(
            **{name: getattr(matching, attribute) for name, attribute in _ATTRIBUTES.items()},
            words=matching.words,
            without=_in_order(excluded),
        )

    def matches(self, record: ServerRecord, noted: Collection[str] = ()) -> bool:
        """
        Whether a server matches, by its record.

        If the filter names no state, servers of all states match, also those that have left, are
        nodes or are superseded. No record says which key its server belongs to. So if the filter
        names a key, no server matches; keys that it excludes make no difference.

        Args:
            record: The record of the server.
            noted: Those of `words` that the note of the server's database contains. No record has
                the note.
        """
        return (
            all(
                not (wanted := getattr(self, name)) or any(value in wanted for value in has(record))
                for name, has in _HAS.items()
            )
            and not any(
                value in unwanted for name, unwanted in self.without for value in _HAS[name](record)
            )
            and all(word in noted or Sought.of(word).is_in(record) for word in self.words)
        )

    def toggled(self, name: str, value: str) -> "FilterText":
        """
        Return the filter with one value, such as `production` of the name `stage`, switched.

        If the filter has the value, or excludes it, the value is removed; otherwise it is added.
        """
        plain = self._without_value(name, value)
        if plain != self:
            return plain
        return plain.changed(name, (*getattr(plain, name), value))

    def excluding(self, name: str, value: str) -> "FilterText":
        """Return the filter with a value of a name excluded, and no longer wanted if it was."""
        plain = self._without_value(name, value)
        excluded = dict(plain.without)
        excluded[name] = (*excluded.get(name, ()), value)
        return evolve(plain, without=_in_order(excluded))

    def _without_value(self, name: str, value: str) -> "FilterText":
        wanted = tuple(each for each in getattr(self, name) if each != value)
        excluded = dict(self.without)
        excluded[name] = tuple(each for each in excluded.get(name, ()) if each != value)
        without = _in_order({key: values for key, values in excluded.items() if values})
        return evolve(self.changed(name, wanted), without=without)

    def changed(self, name: str, values: Iterable[str]) -> "FilterText":
        """Return the filter with `values` in place of all values of a name, or of `words`."""
        new: dict[str, Any] = {name: values}
        return evolve(self, **new)

    def names(self) -> set[str]:
        """The names, such as `stage`, of which the filter wants or excludes values."""
        return {name for name in _HAS if getattr(self, name)} | {name for name, _ in self.without}

    def in_any_state(self) -> "FilterText":
        """The same filter without its wanted and excluded states."""
        without = tuple(each for each in self.without if each[0] != "state")
        return evolve(self, state=(), without=without)

    def __str__(self) -> str:
        """The text in its canonical form; `parse` makes the same filter of it."""
        found = [(name, getattr(self, name)) for name in _HAS]
        found += [(f"-{name}", values) for name, values in self.without]
        named = [_named_text(name, values) for name, values in found if values]
        return " ".join([*named, *(_written("", word) for word in self.words)])

    def to_filter(self) -> Filter:
        """
        Convert the filter to one for a list of servers.

        If it names no state, the list leaves out servers that have left, are nodes or are
        superseded, although `matches` is true for them.
        """
        return Filter(
            **{attribute: getattr(self, name) for name, attribute in _ATTRIBUTES.items()},
            words=self.words,
            without=tuple((_ATTRIBUTES[name], values) for name, values in self.without),
        )


def _in_order(excluded: Mapping[str, Iterable[str]]) -> Without:
    return tuple((name, _distinct(excluded[name])) for name in _HAS if name in excluded)


def _named_text(name: str, values: Iterable[str]) -> str:
    """A word with a name, and perhaps a minus before it."""
    plain = name.removeprefix("-")
    return f"{name}:{','.join(_written(plain, value) for value in values)}"


@lru_cache(maxsize=4096)  # rules and silences are read again and again, and change seldom
def _parsed(text: str) -> FilterText:
    if len(text) > MAX_LENGTH:
        raise ValueError(f"A filter has {MAX_LENGTH} characters at most; this one has more.")
    found: dict[str, tuple[str, ...]] = {}
    words: list[str] = []
    for token in _tokens(text):
        name, colon, rest = _split_name(token)
        plain = name.removeprefix("-")
        if not colon:
            words.extend(_bare(token))
        elif plain not in _HAS:
            raise ValueError(
                f"{_quoted(name)} is no name that a filter knows; these are: {', '.join(_HAS)}. "
                "A text that contains a colon stands in double quotes."
            )
        elif name in found:
            raise ValueError(
                f"{name}: is there twice; several values stand after one {name}: with commas "
                "between them."
            )
        else:
            found[name] = tuple(_named(plain, rest))
    wanted = {name: values for name, values in found.items() if name in _HAS}
    excluded = {name[1:]: values for name, values in found.items() if name not in _HAS}
    read = FilterText(words=tuple(words), without=_in_order(excluded), **wanted)
    if len(str(read)) > MAX_LENGTH:  # it is stored in its canonical form, and must be read again
        raise ValueError(
            f"A filter has {MAX_LENGTH} characters at most, with the double quotes that it needs; "
            "this one has more."
        )
    return read


def _tokens(text: str) -> list[str]:
    """The words of a text. Raises ValueError if a double quote is not closed."""
    tokens: list[str] = []
    place = 0
    for match in _TOKEN.finditer(text):
        if text[place : match.start()].strip():
            break
        tokens.append(match[0])
        place = match.end()
    if text[place:].strip():
        raise ValueError(
            f"A double quote is not closed, or a backslash between two of them is neither before "
            f"a double quote nor before a backslash: {_quoted(text[place:].strip())}."
        )
    return tokens


def _split_name(token: str) -> tuple[str, str, str]:
    """The name, the colon and the rest of a word; the name and the colon are "" if it has none."""
    name, colon, rest = token.partition(":")
    plain = name.removeprefix("-")
    is_address = rest.startswith("//") or rest.isdecimal() or not (plain.isalpha() or not name)
    is_text = '"' in name or not colon or (is_address and plain not in _HAS)
    return ("", "", token) if is_text else (name, colon, rest)


def _bare(token: str) -> list[str]:
    """The text of a word without a name, in a list."""
    match = _QUOTED.fullmatch(token)
    if match is None and '"' in token:
        raise ValueError(f"Double quotes stand around a whole text: {_quoted(token)}.")
    return [_checked("A text", token if match is None else _unescaped(match[1]))]


def _named(name: str, rest: str) -> list[str]:
    """The values of a word with a name."""
    if not _LIST.fullmatch(rest):
        raise ValueError(f"{name}: double quotes stand around a whole value: {_quoted(rest)}.")
    values: list[str] = []
    for match in _VALUE.finditer(f",{rest}"):
        if name in _MAY_BE_NONE and match[2] == NONE:
            values.append("")
            continue
        text = match[2] if match[1] is None else _unescaped(match[1])
        text = text.lower() if name == "label" else text
        values.append(_checked(f"{name}:", text))
    if name == "network":
        values = [_network(value) for value in values]
    unknown = [value for value in values if name == "state" and value not in _STATES]
    if unknown:
        raise ValueError(
            f"state: {_quoted(unknown[0])} is no state; these are: {', '.join(_STATES)}."
        )
    return values


def _network(text: str) -> str:
    """The canonical form of a network. Raises ValueError for one that no server is listed by."""
    with suppress(ValueError):
        found = ip_network(text, strict=False)
        if found.prefixlen == (24 if found.version == 4 else 64):
            return str(found)
    raise ValueError(
        f"network: {_quoted(text)} is no network of 24 bits, such as 10.0.3.0/24, or of 64 bits, "
        "such as fd00:1::/64."
    )


def _checked(what: str, text: str) -> str:
    if not text:
        name = what.removesuffix(":")
        hint = f"; write {NONE} for servers without a {name}" if name in _MAY_BE_NONE else ""
        raise ValueError(f"{what} has an empty value{hint}.")
    if any(unicodedata.category(each) in _UNSTORABLE for each in text):
        raise ValueError(f"{what} has a control character in it: {_quoted(text)}.")
    return text


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(r"\1", text)


def _quoted(text: str) -> str:
    """A text in an error message, on one line."""
    return repr(text if len(text) <= _MOST_QUOTED else f"{text[:_MOST_QUOTED]}…")


def _written(name: str, value: str) -> str:
    """A value as it stands in a text; in double quotes if it has to."""
    may_be_none = name in _MAY_BE_NONE
    if may_be_none and not value:
        return NONE
    is_plain = _PLAIN_VALUE.fullmatch(value) if name else _PLAIN_WORD.fullmatch(value)
    if is_plain and not (may_be_none and value == NONE):
        return value
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _network_of(record: ServerRecord) -> str | None:
    return None if record.ip_addresses is None else network_of(record.ip_addresses.primary)


def _one(text: str | None) -> tuple[str, ...]:
    return () if text is None else (text,)


NONE = "none"
"""How a stage or a key that is missing is written in the text of a filter."""

_MAY_BE_NONE = ("stage", "key")
_ATTRIBUTES = {
    "server": "server_id",
    "database": "database",
    "stage": "stage",
    "version": "version",
    "odoo": "odoo_version",
    "tool": "capability",
    "state": "state",
    "network": "network",
    "key": "key",
    "label": "label",
}
"""The attribute of `Filter` for each name."""

_HAS: dict[str, Callable[[ServerRecord], tuple[str, ...]]] = {
    "server": lambda record: (record.server_id,),
    "database": lambda record: _one(record.database),
    "stage": lambda record: (record.odoo_stage or "",),
    "version": lambda record: _one(record.version),
    "odoo": lambda record: _one(record.odoo_version),
    "tool": lambda record: record.capabilities or (),
    "state": lambda record: (rank_of(record).state,),
    "network": lambda record: _one(_network_of(record)),
    "key": lambda _: (),
    "label": lambda record: record.labels or (),
}
"""For each name the values that a server has of it."""

NAMES = tuple(_HAS)
"""The names that the text of a filter knows."""

_STATES = (*(state.value for state in State), SUPERSEDED, NODE)
_IN_QUOTES = r'"((?:[^"\\]|\\["\\])*)"'
_QUOTED = re.compile(_IN_QUOTES, re.DOTALL)
_TOKEN = re.compile(r'(?:[^\s"]|"(?:[^"\\]|\\["\\])*")+')
_VALUE = re.compile(rf',(?:{_IN_QUOTES}|([^",]*))')
_LIST = re.compile(r'(?:"(?:[^"\\]|\\["\\])*"|[^",]*)(?:,(?:"(?:[^"\\]|\\["\\])*"|[^",]*))*')
_PLAIN_VALUE = re.compile(r'[^\s",]+')
_PLAIN_WORD = re.compile(r'[^\s":]+')
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_UNSTORABLE = ("Cc", "Cs")
_MOST_QUOTED = 60

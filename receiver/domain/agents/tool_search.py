"""
Searching for tools by words: which words a text has, and which tools fit a question best.

Words are compared by their English stems (the Porter 2 algorithm): `confirms orders` finds
`sale_order_confirm`.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import chain, islice
from math import log

from attrs import frozen

from contract import Tool

__all__ = [
    "MOST_INDEXED_WORDS",
    "MOST_WORDS",
    "Found",
    "best",
    "words_in",
    "words_of",
    "words_of_question",
]

MOST_WORDS = 30
"""How many words of a question count; the others are ignored."""

MOST_INDEXED_WORDS = 1000
"""How many different words of the names and descriptions of a server's tools are indexed."""

_LONGEST_WORD = 40
_SHORT = 5
_NEAR = 0.6
"""A tool that lacks some words is found if its score is at least this share of the best score."""

_WEIGHTS = {"name": 3.0, "title": 2.0, "description": 1.0}


@frozen(kw_only=True)
class Found:
    """
    A tool that fits a question.

    Attributes:
        tool: The tool.
        catalogues: The ids of the catalogues that contain the tool. A catalogue is a description of
            tools, which servers with the same tools share.
    """

    tool: Tool
    catalogues: Sequence[str]


def words_of(text: str) -> list[str]:
    """
    The stems of the words of a text, in their order, with repetitions.

    `saleOrder` and `sale_order` are two words each.
    """
    return [_stem(part) for part in _parts(text)]


def words_in(tools: Collection[Tool]) -> list[str]:
    """
    The stems of the words in the names, titles and descriptions of some tools, sorted.

    Only the first 1,000 different words count, because finding stems takes time. The words of all
    names come first, then those of the titles, then those of the descriptions.
    """
    parts: dict[str, None] = {}
    for text in (getattr(tool, field) or "" for field in _WEIGHTS for tool in tools):
        parts.update(dict.fromkeys(_parts(text)))
        if len(parts) >= MOST_INDEXED_WORDS:
            break
    return sorted({_stem(part) for part in islice(parts, MOST_INDEXED_WORDS)})


def words_of_question(text: str) -> list[str]:
    """
    The stems of the different words in a question, at most 30, for a search with `best`.

    Words that occur in nearly every question, such as "find", are left out, unless the question has
    no other words. The list is empty if the question has no words.
    """
    words = list(dict.fromkeys(words_of(text)))
    telling = [word for word in words if word not in _COMMON]
    return (telling or words)[:MOST_WORDS]


def best(
    catalogues: Mapping[str, Iterable[Tool]], words: Collection[str], *, is_near_enough: bool
) -> list[Found]:
    """
    Find the tools that fit some words; returns the best ones first, without a limit.

    A word counts for more when few tools have it, and when it is in the name or the title. Equal
    tools in several catalogues are returned as one. Of tools with equal scores, the one whose name
    is first in the alphabet comes first.

    Args:
        catalogues: The tools of each catalogue (a description of tools that servers share), by its
            id.
        words: The stems of the words, as `words_of_question` returns them.
        is_near_enough: If True, a tool may lack some words, but its score must be at least 60 % of
            the best score. If False, a tool must have all words.
    """
    holders: dict[Tool, list[str]] = {}
    for number, tools in catalogues.items():
        for tool in tools:
            holders.setdefault(tool, []).append(number)
    weights = {tool: _weights(tool, words) for tool in holders}
    holding = Counter(chain.from_iterable(weights.values()))
    rarity = {word: log(1 + len(holders) / count) for word, count in holding.items()}
    scores = {
        tool: sum(weight * rarity[word] for word, weight in found.items())
        for tool, found in weights.items()
        if found
    }
    if is_near_enough:
        least = _NEAR * max(scores.values(), default=0.0)
        wanted = [tool for tool, score in scores.items() if score >= least]
    else:
        wanted = [tool for tool in scores if len(weights[tool]) == len(words)]
    wanted.sort(key=lambda tool: (-scores[tool], tool.name))
    return [Found(tool=tool, catalogues=holders[tool]) for tool in wanted]


def _parts(text: str) -> list[str]:
    return [part[:_LONGEST_WORD].lower() for part in _WORD.findall(_CAMEL.sub(" ", text))]


def _weights(tool: Tool, words: Collection[str]) -> dict[str, float]:
    """The words that a tool has, each with the greatest weight of the texts in which it occurs."""
    found: dict[str, float] = {}
    begins = {word[:1] for word in words}, {word[:2] for word in words}
    for field, weight in _WEIGHTS.items():
        for part in {*_parts(getattr(tool, field) or "")}:
            if _may_be_one(part, *begins) and (word := _stem(part)) in words:
                found.setdefault(word, weight)
    return found


def _may_be_one(part: str, firsts: Collection[str], begins: Collection[str]) -> bool:
    """
    Whether the stem of a word may be one of those that are searched.

    `firsts` are the first letters of the searched stems, and `begins` their first two letters.
    """
    # A stem begins like the word, but for a few short words, such as "dying" and "die".
    if not part.isascii():
        return True
    return part[:1] in firsts if len(part) <= _SHORT else part[:2] in begins


@lru_cache(maxsize=2**14)
def _stem(word: str) -> str:
    # It imports the stemmers of thirty languages, and only servers with tools need one.
    import snowballstemmer  # noqa: PLC0415 - see above

    stem = str(snowballstemmer.stemmer("english").stemWord(word))
    # SQLite and Python do not take the same characters for letters.
    return stem if stem.isascii() else stem.encode("unicode_escape").decode().replace("\\", "zz")


_WORD = re.compile(r"[^\W_]+")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_COMMON = {
    *("a", "an", "and", "any", "are", "at", "be", "by", "can", "could", "do", "does", "find"),
    *("for", "from", "has", "have", "how", "i", "in", "is", "it", "me", "my", "of", "on", "or"),
    *("our", "please", "that", "the", "there", "to", "us", "want", "we", "what", "where"),
    *("which", "who", "with", "you", "odoo", "server", "databas", "tool", "mcp", "instanc"),
}
"""The stems of words that say nothing about what a tool does."""

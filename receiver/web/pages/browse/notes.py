"""The notes of databases in the list of servers: that there is one, and where it has a word."""

from collections.abc import Iterable, Mapping

from attrs import frozen

from receiver.domain.lists.search_texts import Sought
from receiver.web.pages.sizes import html_bytes
from receiver.web.pages.wording import brief

__all__ = ["ShownNote", "shown_notes"]


@frozen(kw_only=True)
class ShownNote:
    """
    The note of a server's database, as the list shows it.

    Attributes:
        text: The beginning of the note; a sentence that says where it can be read, if the notes of
            the servers before have taken the room.
        found: A part of the note with a word that somebody searches; empty if it has none of the
            words, or if there is no room.
    """

    text: str
    found: str = ""


def shown_notes(notes: Mapping[str, str], words: Iterable[str]) -> Mapping[str, ShownNote]:
    """
    The notes of the servers of a page, by `server_id`.

    Args:
        notes: The notes, by `server_id`, in the order of the page.
        words: The words that somebody searches.
    """
    sought = [Sought.of(word).label for word in words]
    shown: dict[str, ShownNote] = {}
    room = _ROOM
    for server_id, note in notes.items():
        each = ShownNote(text=brief(note, _LONGEST), found=_part_with(note, sought))
        room -= html_bytes([each.text, each.found])
        shown[server_id] = each if room >= 0 else _ELSEWHERE
    return shown


def _part_with(note: str, sought: Iterable[str]) -> str:
    """The part of a note around the first of the casefolded texts that it has; empty if none."""
    folded = note.casefold()
    places = [place for text in sought if (place := folded.find(text)) >= 0]
    if not places:
        return ""
    begin = max(0, places[0] - _BEFORE)
    return ("…" if begin else "") + brief(note[begin:], _LONGEST)


_LONGEST = 100
"""How many characters of a note the list shows."""

_BEFORE = 30
"""How many characters stand before a word that was found in a note, at most."""

_ROOM = 4_000
"""About how many bytes of HTML the notes of a page may take."""

_ELSEWHERE = ShownNote(text="The page of the server has the note.")

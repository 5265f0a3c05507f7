"""
Labels and a note, which people give to a database: what they may be, and to whom they belong.

They belong to a database and not to one of its servers. So all servers with the same
`database_uuid` have the same labels and the same note: the nodes of a database, a server and those
that it superseded, and the copy of a database until it has a UUID of its own. A server that reports
no UUID has labels and a note of its own.

Labels are stored in lower case, so that one word is one label, however it is typed.
"""

import re
import unicodedata
from collections.abc import Collection, Hashable, Mapping
from datetime import datetime
from typing import Annotated, Any

from attrs import evolve, fields, frozen

from contract import Event, EventKind, InvalidMessage, Problem, ServerRecord, structure
from contract.fields import Rule, format_moment
from receiver.domain.queries import index_text

__all__ = [
    "LONGEST_LABEL",
    "LONGEST_NOTE",
    "MOST_LABELS",
    "NOTHING_NOTED",
    "NO_ANNOTATION",
    "Annotation",
    "Noted",
    "Relabelling",
    "family_of",
    "joined",
    "labels_in",
    "subject_of",
    "told_of_labels",
]

MOST_LABELS = 20
"""How many labels a database may have."""

LONGEST_LABEL = 50
LONGEST_NOTE = 2000
"""How many characters a note may have; for a label, it is `LONGEST_LABEL`."""


def label(text: Any) -> str:
    """
    Return a label in the form in which it is stored: in lower case, with single spaces.

    Raises ValueError if `text` cannot be a label: if it is no text, is empty, has more than 50
    characters, or has a comma, a double quote or an unprintable character in it.
    """
    typed = unicodedata.normalize("NFC", text) if isinstance(text, str) else ""
    found = " ".join(typed.lower().split())
    is_short = 1 <= len(found) <= LONGEST_LABEL
    if not (is_short and found.isprintable()) or "," in found or '"' in found:
        raise ValueError(text)
    return found


def labels_in(text: str) -> list[str]:
    """
    Split what somebody has typed into one field at its commas.

    Returns the texts between them, without spaces around them and without empty texts. Whether each
    can be a label is not checked.
    """
    return [each for each in map(str.strip, text.split(",")) if each]


def _note(text: Any) -> str:
    found = text.replace("\r\n", "\n").strip() if isinstance(text, str) else None
    if found is None or len(found) > LONGEST_NOTE or _UNPRINTABLE.search(found):
        raise ValueError(text)
    return found


_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")

_Label = Annotated[
    str,
    Rule(
        f"1 to {LONGEST_LABEL} printable characters, without commas and double quotes",
        {"type": "string", "minLength": 1, "maxLength": LONGEST_LABEL, "pattern": '^[^,"]*$'},
        label,
    ),
]
_Note = Annotated[
    str,
    Rule(
        f"text of at most {LONGEST_NOTE:,} characters",
        {"type": "string", "maxLength": LONGEST_NOTE},
        _note,
    ),
]


@frozen(kw_only=True)
class Annotation:
    """
    The labels and the note that people have given to a database.

    Of a database that has no labels and no note any more, nothing is stored: neither when somebody
    has removed them, nor who that was. It is as if it had never had any.

    Attributes:
        labels: The labels, sorted; empty if there are none.
        note: The note; empty if there is none.
        changed_at: When the labels or the note were last changed; None if nothing is stored.
        changed_by: The name of the key with which that was done, or `somebody without a key` if the
            receiver required no keys; empty if nothing is stored.
    """

    labels: tuple[str, ...] = ()
    note: str = ""
    changed_at: datetime | None = None
    changed_by: str = ""

    @property
    def version(self) -> str:
        """
        A text that is different after each change of the labels or the note.

        By it, a client says which labels and note it has seen before it changes them. Empty if
        `changed_at` is None.
        """
        return "" if self.changed_at is None else format_moment(self.changed_at)

    @property
    def is_empty(self) -> bool:
        """Whether there is neither a label nor a note."""
        return not (self.labels or self.note)

    def to_json(self, server_id: str) -> dict[str, Any]:
        """
        What the API tells, as an object for JSON.

        `changed_at` and `changed_by` are None if nothing is stored.

        Args:
            server_id: The server of which the client has asked for the labels and the note.
        """
        at = self.changed_at
        return {
            "server_id": server_id,
            "labels": [*self.labels],
            "note": self.note,
            "changed_at": None if at is None else format_moment(at),
            "changed_by": None if at is None else self.changed_by,
        }

    @property
    def search_text(self) -> str:
        """The text in which words are searched: labels and note, casefolded, a line for each."""
        return "\n".join((*self.labels, self.note)).casefold()


NO_ANNOTATION = Annotation()
"""The annotation of a database that has no labels and no note."""


@frozen
class Noted:
    """
    Which words the labels and notes of databases contain.

    Attributes:
        subjects: For each word the subjects (`subject_of`) of the databases whose labels or note
            contain it.
    """

    subjects: Mapping[str, frozenset[str]]

    def words_of(self, record: ServerRecord) -> Collection[str]:
        """Those of the words that the labels or the note of a server's database contain."""
        subject = subject_of(record)
        return [word for word, subjects in self.subjects.items() if subject in subjects]

    @property
    def key(self) -> Hashable:
        """What is equal for objects that are, and can be a part of the key of a cache."""
        return frozenset(self.subjects.items())


NOTHING_NOTED = Noted({})
"""No words, for when there are no words to search."""


@frozen(kw_only=True)
class Relabelling:
    """
    A request to change the labels and the note of a database. What it does not name stays.

    Attributes:
        labels: All labels that the database is to have, in place of those that it has; null to
            change only those in `add` and `remove`, which may not be given beside this.
        add: Labels that the database is to have in addition.
        remove: Labels that the database is not to have any more.
        note: The note that the database is to have, at most 2,000 characters; empty to remove the
            note, null to keep it.
    """

    labels: tuple[_Label, ...] | None = None
    add: tuple[_Label, ...] = ()
    remove: tuple[_Label, ...] = ()
    note: _Note | None = None

    @classmethod
    def of(cls, value: object) -> "Relabelling":
        """
        Read the request from a decoded JSON value.

        Raises InvalidMessage for an invalid request, such as one that changes nothing, or one with
        an unknown field, which may be a misspelt one.
        """
        new = structure(value, cls)
        assert isinstance(value, dict)  # `structure` raises otherwise
        known = [each.name for each in fields(cls)]
        problems = [
            Problem(name, f"is none of {', '.join(known)}") for name in value if name not in known
        ]
        if new.labels is not None and (new.add or new.remove):
            problems.append(Problem("labels", "cannot stand beside add and remove"))
        both = {*new.add} & {*new.remove}
        if both:
            problems.append(Problem("remove", f"{min(both)!r} is to be added, too"))
        if new == cls():
            problems.append(Problem("", f"expected at least one of {', '.join(known)}"))
        if problems:
            raise InvalidMessage(problems)
        return new

    def applied(self, before: Annotation, *, at: datetime, by: str) -> Annotation:
        """
        Return the labels and the note of a database after the change.

        It is `before` itself if they stay the same. Raises InvalidMessage if the database would
        have more labels than `MOST_LABELS`.

        Args:
            before: The labels and the note of the database now.
            at: The time of the change.
            by: The name of the key of whoever changes them.
        """
        kept = before.labels if self.labels is None else self.labels
        labels = tuple(sorted({*kept, *self.add} - {*self.remove}))
        if len(labels) > MOST_LABELS:
            name = "add" if self.labels is None else "labels"
            says = f"a database may have {MOST_LABELS} labels; this one would have {len(labels)}"
            raise InvalidMessage([Problem(name, says)])
        note = before.note if self.note is None else self.note
        if (labels, note) == (before.labels, before.note):
            return before
        return Annotation(labels=labels, note=note, changed_at=at, changed_by=by)


def family_of(record: ServerRecord) -> str | None:
    """
    The form of the `database_uuid` of a server that is stored in an index of the database.

    Servers for which it is equal have the same UUID. None if the server reports no UUID.
    """
    return None if record.database_uuid is None else index_text(record.database_uuid)


def subject_of(record: ServerRecord) -> str:
    """
    The key under which the labels and the note of the database of a server are stored.

    It is `uuid:` and what `family_of` returns; for a server that reports no UUID it is `server:`
    and its id.
    """
    family = family_of(record)
    return f"server:{record.server_id}" if family is None else f"uuid:{family}"


def joined(has: Annotation, gets: Annotation) -> Annotation:
    """
    Put the labels and notes of two database UUIDs together, because a server has moved to another.

    A server that reports another `database_uuid` than before brings along the labels and the note
    that it had under the old one. The result has the labels of both, `MOST_LABELS` at most, and
    both notes one after the other, or only that of `has` if both would be too long.

    Args:
        has: The labels and the note of the new UUID; returned itself if `gets` adds nothing.
        gets: The labels and the note of the old UUID. If it adds something, the result says that
            it was changed when and by whom `gets` was.
    """
    more = [each for each in gets.labels if each not in has.labels]
    labels = tuple(sorted([*has.labels, *more][:MOST_LABELS]))
    notes = [*dict.fromkeys(note for note in (has.note, gets.note) if note)]
    both = "\n\n".join(notes)
    note = both if len(both) <= LONGEST_NOTE else notes[0]
    if (labels, note) == (has.labels, has.note):
        return has
    return evolve(gets, labels=labels, note=note)


def told_of_labels(
    before: Annotation, after: Annotation, *, server_id: str, at: datetime, by: str | None
) -> list[Event]:
    """
    Make the event `labelled`, which tells how the labels and the note of a database have changed.

    Returns it in a list, which is empty if they are the same.

    Args:
        before: The labels and the note before the change.
        after: The labels and the note after the change.
        server_id: The server that the event is about: one of the database.
        at: The time of the change.
        by: The name of the key of whoever made the change; None if nobody did, but the server has
            reported another `database_uuid`, and has the labels and the note of that one now.
    """
    details: dict[str, Any] = {}
    gained, lost = _without(after, before), _without(before, after)
    if gained or lost:
        details["labels"] = {"gained": gained, "lost": lost}
    if before.note != after.note:
        did = "written" if not before.note else "changed" if after.note else "removed"
        details["note"] = did
    if not details:
        return []
    if by is not None:
        details["by"] = by
    return [Event(kind=EventKind.LABELLED, at=at, server_id=server_id, details=details)]


def _without(some: Annotation, others: Annotation) -> list[str]:
    return sorted({*some.labels} - {*others.labels})

"""
Labels and a note, which people give to a database: what they may be, and whose they are.

They belong to a database and not to one of its servers. So all servers with the same
`database_uuid` have the same ones: the nodes of a database, a server and those that it superseded,
and the copy of a database until it has a UUID of its own. A server that has told no UUID has its
own.

Labels are written in lower case, so that one word is one label, however it is typed.
"""

import re
import unicodedata
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
    "NO_ANNOTATION",
    "Annotation",
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
"""How many characters a label and a note may have."""


def label(text: Any) -> str:
    """A label in the form in which it is stored. Raises ValueError for a text that is none."""
    typed = unicodedata.normalize("NFC", text) if isinstance(text, str) else ""
    found = " ".join(typed.lower().split())
    is_short = 1 <= len(found) <= LONGEST_LABEL
    if not (is_short and found.isprintable()) or "," in found or '"' in found:
        raise ValueError(text)
    return found


def labels_in(text: str) -> list[str]:
    """The texts between the commas of what somebody typed into one field, without empty ones."""
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
    What people have said of a database.

    Attributes:
        labels: The labels, sorted.
        note: The note; empty if there is none.
        changed_at: When one of the two was changed last; None for a database that has neither.
        changed_by: The name of the key of whoever changed it.
    """

    labels: tuple[str, ...] = ()
    note: str = ""
    changed_at: datetime | None = None
    changed_by: str = ""

    @property
    def version(self) -> str:
        """A text that changes when the labels or the note do; empty if there never were any."""
        return "" if self.changed_at is None else format_moment(self.changed_at)

    @property
    def is_empty(self) -> bool:
        """Whether there is neither a label nor a note."""
        return not (self.labels or self.note)


NO_ANNOTATION = Annotation()
"""That of a database of which nobody has said anything."""


@frozen(kw_only=True)
class Relabelling:
    """
    A request to change the labels and the note of a database. What it does not name stays.

    Attributes:
        labels: All labels that the database is to have; null to keep those that it has.
        add: Labels that it is to have in addition.
        remove: Labels that it is not to have any more.
        note: The note that it is to have, at most 2,000 characters; empty for none, null to keep
            the one that it has.
    """

    labels: tuple[_Label, ...] | None = None
    add: tuple[_Label, ...] = ()
    remove: tuple[_Label, ...] = ()
    note: _Note | None = None

    @classmethod
    def of(cls, value: object) -> "Relabelling":
        """
        Read the request from a decoded JSON value.

        Raises InvalidMessage for an invalid request. An unknown field is invalid, because it may be
        a misspelt one.
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
        What is said of a database after the change; `before` itself if nothing is different.

        Raises InvalidMessage if it would have more labels than it may have.

        Args:
            before: What is said of it now.
            at: The time of the change.
            by: The name of the key of whoever changes it.
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
    """What stands for the `database_uuid` of a server in an index; None if it has told none."""
    return None if record.database_uuid is None else index_text(record.database_uuid)


def subject_of(record: ServerRecord) -> str:
    """Under which name the labels and the note of the database of a server are stored."""
    family = family_of(record)
    return f"server:{record.server_id}" if family is None else f"uuid:{family}"


def joined(has: Annotation, gets: Annotation) -> Annotation:
    """
    What is said of a database that is known under another name, too, under which more is said.

    It has the labels of both, up to the number that it may have, and both notes, if these fit.
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
    The event of a change of labels and note; none if there is no change.

    Args:
        before: What was said of the database before.
        after: What is said of it now.
        server_id: The server by which the database is known.
        at: The time of the change.
        by: The name of the key of whoever made it; None if the server did, by another UUID.
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

"""Labels and notes of databases: what may be asked for, and what becomes of it."""

from datetime import datetime, timezone
from typing import Any

import pytest
from attrs import evolve

from contract import InvalidMessage
from receiver.domain.databases import (
    NO_ANNOTATION,
    Annotation,
    Relabelling,
    joined,
    labels_in,
    subject_of,
    told_of_labels,
)
from server_records import server_record

NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
RECORD = server_record(at=NOON)
GOLD = Annotation(labels=("eu", "gold"), note="Call Ada.", changed_at=NOON, changed_by="Ada")


def after(before: Annotation, **asked: Any) -> Annotation:
    return Relabelling.of(asked).applied(before, at=NOON, by="Bob")


def problems(**asked: Any) -> list[str]:
    with pytest.raises(InvalidMessage) as raised:
        after(GOLD, **asked)
    return [*map(str, raised.value.problems)]


def test_labels_are_normalised_sorted_and_distinct() -> None:
    typed = ["  Customer:Acme ", "GOLD", "gold", "do  not\ttouch", "Mu\u0308ller"]

    assert ("customer:acme", "do not touch", "gold", "müller") == after(
        NO_ANNOTATION, labels=typed
    ).labels
    assert ["a", "b c"] == labels_in(" a ,, b c,")


@pytest.mark.parametrize(
    ("asked", "labels", "note"),
    [
        ({"add": ["new"]}, ("eu", "gold", "new"), "Call Ada."),
        ({"remove": ["GOLD", "none"]}, ("eu",), "Call Ada."),
        ({"add": ["x"], "remove": ["eu"]}, ("gold", "x"), "Call Ada."),
        ({"labels": []}, (), "Call Ada."),
        ({"labels": ["b", "a"], "note": ""}, ("a", "b"), ""),
        ({"note": " One\r\ntwo\tthree \u00e9\n"}, ("eu", "gold"), "One\ntwo\tthree é"),
    ],
)
def test_labels_and_notes_that_a_change_does_not_name_are_kept(
    asked: dict[str, Any], labels: tuple[str, ...], note: str
) -> None:
    found = after(GOLD, **asked)

    assert (labels, note, "Bob") == (found.labels, found.note, found.changed_by)
    assert (not labels and not note) == found.is_empty


@pytest.mark.parametrize(
    "asked", [{"add": ["gold"]}, {"labels": ["gold", "EU"]}, {"note": "Call Ada. "}, {"remove": []}]
)
def test_label_change_without_effect_keeps_the_name_of_the_last_author(
    asked: dict[str, Any],
) -> None:
    if asked == {"remove": []}:
        assert ["expected at least one of labels, add, remove, note"] == problems(**asked)
    else:
        assert after(GOLD, **asked) is GOLD


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"add": [""]}, "add[0]: expected 1 to 50 printable characters"),
        ({"add": ["a,b"]}, "add[0]: expected 1 to 50 printable characters"),
        ({"add": ['a"b']}, "add[0]: expected"),
        ({"add": ["a\u202eb"]}, "add[0]: expected"),
        ({"labels": ["x" * 51]}, "labels[0]: expected"),
        ({"labels": [7]}, "labels[0]: expected"),
        ({"labels": "gold"}, "labels: expected a list"),
        ({"note": "a\0b"}, "note: expected text of at most 2,000 characters"),
        ({"note": "x" * 2001}, "note: expected"),
        ({"note": 7}, "note: expected"),
        ({"label": ["a"], "note": ""}, "label: is none of labels, add, remove, note"),
        ({"labels": ["a"], "add": ["b"]}, "labels: cannot stand beside add and remove"),
        ({"add": ["a", "b"], "remove": ["B"]}, "remove: 'b' is to be added, too"),
        ({"add": [f"{n}" for n in range(19)]}, "add: a database may have 20 labels; this one"),
        ({"labels": [f"{n}" for n in range(21)]}, "labels: a database may have 20 labels"),
    ],
)
def test_invalid_label_change_is_explained(asked: dict[str, Any], says: str) -> None:
    (problem,) = problems(**asked)

    assert problem.startswith(says)


def test_labels_belong_to_the_database_or_else_to_the_server() -> None:
    known = evolve(RECORD, database_uuid="u-1")

    assert ("server:a", "uuid:u-1") == (subject_of(RECORD), subject_of(known))
    assert 76 == len(subject_of(evolve(known, database_uuid=300 * "u")))


def test_joined_annotation_has_the_labels_and_notes_of_both() -> None:
    other = Annotation(labels=("eu", "x"), note="Call Bob.", changed_at=NOON, changed_by="Bob")

    both = joined(GOLD, other)
    assert (("eu", "gold", "x"), "Call Ada.\n\nCall Bob.", "Bob") == (
        both.labels,
        both.note,
        both.changed_by,
    )
    assert joined(GOLD, evolve(GOLD, labels=("eu",), changed_by="Bob")) is GOLD
    assert GOLD == joined(NO_ANNOTATION, GOLD)
    assert "Call Ada." == joined(GOLD, evolve(other, note="x" * 2000)).note
    many = evolve(other, labels=tuple(f"{n:02}" for n in range(20)))
    assert {"eu", "gold"} < {*joined(GOLD, many).labels}
    assert 20 == len(joined(GOLD, many).labels)


def test_label_event_says_what_was_changed() -> None:
    def told(before: Annotation, now: Annotation, by: str | None = "Ada") -> list[Any]:
        events = told_of_labels(before, now, server_id="a", at=NOON, by=by)
        return [dict(event.details) for event in events]

    assert [
        {"labels": {"gained": ["eu", "gold"], "lost": []}, "note": "written", "by": "Ada"}
    ] == told(NO_ANNOTATION, GOLD)
    assert [{"labels": {"gained": [], "lost": ["eu"]}}] == told(
        GOLD, evolve(GOLD, labels=("gold",)), by=None
    )
    assert [{"note": "changed", "by": "Ada"}] == told(GOLD, evolve(GOLD, note="x"))
    assert [{"note": "removed", "by": "Ada"}] == told(GOLD, evolve(GOLD, note=""))
    assert [] == told(GOLD, GOLD)

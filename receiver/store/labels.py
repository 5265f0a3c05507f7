"""
The SQL of the labels and notes of databases.

The table `annotations` has them. The row of each server has the labels of its database, too, so
that lists can be filtered by them. A transaction that changes any of this locks the numbering of
events before it reads the table. So of two transactions about one database at the same time, the
second one sees what the first one has written.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from attrs import asdict, evolve
from sqlalchemy import Connection, bindparam, delete, func, insert, select

from contract import Event, ServerRecord
from receiver.domain.databases import (
    NO_ANNOTATION,
    NOTHING_NOTED,
    Annotation,
    Noted,
    Relabelling,
    family_of,
    joined,
    subject_of,
    told_of_labels,
)
from receiver.domain.errors import Refusal
from receiver.domain.lists.search_texts import Sought
from receiver.domain.rows import Row
from receiver.store.dialects import Dialect
from receiver.store.events import write_events
from receiver.store.rows import Committed, RowCache, read_rows, write_rows
from receiver.store.tables import among, annotations, facets, is_listed, servers
from receiver.store.transactions import Transactions

__all__ = [
    "Labels",
    "drop_annotations",
    "inherited",
    "moved_between_databases",
    "noted",
    "subjects_of",
]

Pairs = Sequence[tuple[Row | None, Row]]
"""The rows of servers before and after a change; None for a new server."""


class Labels:
    """
    The labels and notes of the databases of a fleet; all servers of a database share them.

    Each method is one transaction, and raises StoreUnavailable when the database does not answer.

    Args:
        transactions: Runs the transactions.
        cache: The cached rows of servers.
        on_events: Called with the events of each transaction after its commit.
    """

    def __init__(
        self,
        transactions: Transactions,
        cache: RowCache,
        *,
        on_events: Callable[[Sequence[Event]], None],
    ) -> None:
        self._transactions = transactions
        self._cache = cache
        self._on_events = on_events

    def of(self, server_id: str) -> Annotation | None:
        """
        The labels and the note of the database of a server; `NO_ANNOTATION` if it has neither.

        None if there is no such server.
        """
        if "\x00" in server_id:  # PostgreSQL refuses it in a parameter
            return None
        with self._transactions.read() as connection:
            row = connection.execute(_FAMILY_OF, {"key": server_id}).first()
            if row is None:
                return None
            family = row.family
            subject = f"{_SERVER}{server_id}" if family is None else f"{_UUID}{family}"
            return _read(connection, [subject]).get(subject, NO_ANNOTATION)

    def notes(self, records: Iterable[ServerRecord]) -> Mapping[str, str]:
        """The notes of the databases of servers, by `server_id`; without those that have none."""
        subjects = {record.server_id: subject_of(record) for record in records}
        with self._transactions.read_once() as connection:
            found = _read(connection, {*subjects.values()})
        notes = {
            server_id: found.get(subject, NO_ANNOTATION).note
            for server_id, subject in subjects.items()
        }
        return {server_id: note for server_id, note in notes.items() if note}

    def all(self) -> Sequence[tuple[str, int]]:
        """All labels that servers in lists have, sorted, each with the number of these servers."""
        with self._transactions.read_once() as connection:
            return [(label, count) for label, count in connection.execute(_COUNTS)]

    def noted(self, words: Collection[str]) -> Noted:
        """Find out which of some words the labels and notes of which databases contain."""
        if not words:
            return NOTHING_NOTED
        with self._transactions.read() as connection:
            return noted(connection, words)

    def change(
        self,
        ids: Sequence[str],
        asked: Relabelling,
        *,
        at: datetime,
        by: str,
        seen: str | None = None,
    ) -> dict[str, Annotation]:
        """
        Change the labels and notes of the databases of some servers, and tell so by events.

        Raises InvalidMessage if one of the databases would have too many labels, and Refusal (409)
        if the labels or the note of one are not those that the client has seen. Then nothing is
        changed.

        Args:
            ids: The ids of the servers. Those that do not exist are ignored.
            asked: The change.
            at: The time of the change.
            by: The name of the key of whoever makes the change.
            seen: The `Annotation.version` that the client has read, which must still be that of
                each of the databases; None if they may have any.

        Returns the labels and notes as they are stored then, by the ids of the servers that exist.
        """
        dialect = self._transactions.dialect
        possible = [each for each in ids if "\x00" not in each]

        def work(connection: Connection) -> tuple[dict[str, Annotation], Committed]:
            rows = _locked(dialect, connection, possible, self._cache)
            subjects = {each: subject_of(rows[each].record) for each in possible if each in rows}
            found = _read(connection, {*subjects.values()})
            new, events = _applied(asked, subjects, found, seen, at=at, by=by)
            changed = {name: each for name, each in new.items() if each is not found.get(name)}
            _write(connection, changed)
            stored = {
                server_id: NO_ANNOTATION if new[subject].is_empty else new[subject]
                for server_id, subject in subjects.items()
            }
            return stored, _relabelled(dialect, connection, rows.values(), new, events)

        with self._transactions.turn:
            stored, committed = self._transactions.write(work)
            self._cache.keep(committed)
        if committed.events:
            self._on_events(committed.events)
        return stored


def _applied(  # noqa: PLR0913 - the change, and to what it is applied
    asked: Relabelling,
    subjects: Mapping[str, str],
    found: Mapping[str, Annotation],
    seen: str | None,
    *,
    at: datetime,
    by: str,
) -> tuple[dict[str, Annotation], list[Event]]:
    """
    Apply a change once to each database of some servers, as `Labels.change` says. Writes nothing.

    Args:
        asked: The change.
        subjects: The subjects of the databases (`subject_of`), by the ids of the servers.
        found: The labels and notes before the change, by subject; without those that are empty.
        seen: The `Annotation.version` that each must have; None if any will do.
        at: The time of the change.
        by: The name of the key of whoever makes the change.

    Returns the labels and notes after the change, by subject, and the events that tell of them.
    """
    new: dict[str, Annotation] = {}
    events: list[Event] = []
    for server_id, subject in subjects.items():
        if subject in new:
            continue
        before = found.get(subject, NO_ANNOTATION)
        if seen is not None and seen != before.version:
            raise Refusal(409, "changed_meanwhile", _MEANWHILE)
        new[subject] = after = asked.applied(before, at=at, by=by)
        events += told_of_labels(before, after, server_id=server_id, at=at, by=by)
    return new, events


def moved_between_databases(changed: Pairs) -> Pairs:
    """Those of the servers that are new, or whose `database_uuid` is new, before and after that."""
    return [
        (before, after)
        for before, after in changed
        if before is None or family_of(before.record) != family_of(after.record)
    ]


def subjects_of(pairs: Pairs) -> set[str]:
    """The subjects (`subject_of`) of the databases that servers have left, and have moved to."""
    return {subject_of(row.record) for pair in pairs for row in pair if row is not None}


def inherited(
    dialect: Dialect,
    connection: Connection,
    moved: Pairs,
    cache: RowCache,
    known: Mapping[str, Row],
) -> Committed:
    """
    Give servers that are new, or whose `database_uuid` is new, the labels of their databases.

    A server that had labels under its old UUID, or when it had told no UUID, brings them along,
    unless servers of another key have its new UUID: no key may label what belongs to another key.
    The rows of the servers must be written already, and the numbering of events must be locked.
    Writes those rows again that get other labels, but leaves it to the caller to write the events.

    Args:
        dialect: The dialect of the database.
        connection: The transaction.
        moved: What `moved_between_databases` returns of the servers that the transaction changes.
        cache: The cache of rows, which does not have yet what the transaction has written.
        known: All rows that the transaction has written, by `server_id`.

    Returns the rows that were written again, and the events to write.
    """
    found = _read(connection, subjects_of(moved))
    said, events = _brought_along(connection, moved, found)
    new = {name: each for name, each in said.items() if each is not found.get(name, NO_ANNOTATION)}
    _write(connection, new)
    _drop(connection, {subject_of(before.record) for before, _ in moved if before is not None})
    families = [each.removeprefix(_UUID) for each in new if each.startswith(_UUID)]
    relatives = _in_families(connection, families)
    others = read_rows(dialect, connection, sorted(relatives - known.keys()), cache)
    rows = [*known.values(), *others.values()]
    return _relabelled(dialect, connection, rows, said, events, is_told=False)


def _brought_along(
    connection: Connection, moved: Pairs, found: Mapping[str, Annotation]
) -> tuple[dict[str, Annotation], list[Event]]:
    """
    Find out which labels and notes databases have after servers have moved to them.

    Writes nothing.

    Args:
        connection: The transaction.
        moved: The rows of servers that are new or whose `database_uuid` is new, before and after
            the transaction.
        found: The labels and notes of the databases that the servers have left and of those to
            which they have moved, by the subjects of the databases.

    Returns `found` with what the servers have brought along, and the events that tell which other
    labels and notes the servers have because they have moved.
    """
    said = dict(found)
    events: list[Event] = []
    for before, after in moved:
        subject = subject_of(after.record)
        has = said.get(subject, NO_ANNOTATION)
        if before is not None:
            had = said.get(subject_of(before.record), NO_ANNOTATION)
            if not had.is_empty and _is_of_one_key(connection, after):
                has = joined(has, had)
            at = after.record.last_seen
            events += told_of_labels(had, has, server_id=after.server_id, at=at, by=None)
        said[subject] = has
    return said, events


def _is_of_one_key(connection: Connection, row: Row) -> bool:
    """Whether all servers with the UUID of a server belong to the same key as this one."""
    family = family_of(row.record)
    owners = connection.execute(_OWNERS, {"family": family}).scalars()
    return all(owner == row.owner for owner in owners)


def noted(connection: Connection, words: Iterable[str]) -> Noted:
    """Find out which of some words the labels and notes of which databases contain."""
    column = annotations.c.search_text
    return Noted(
        {
            word: frozenset(
                connection.execute(
                    select(annotations.c.subject).where(
                        column.contains(Sought.of(word).label, autoescape=True)
                    )
                ).scalars()
            )
            for word in words
        }
    )


def drop_annotations(dialect: Dialect, connection: Connection, deleted: Iterable[Row]) -> None:
    """Delete the labels and notes of databases of deleted servers that have no server any more."""
    dialect.lock_events(connection)
    _drop(connection, {subject_of(row.record) for row in deleted})


def _locked(
    dialect: Dialect, connection: Connection, ids: Sequence[str], cache: RowCache
) -> dict[str, Row]:
    """Lock the rows of servers and of all others with their UUIDs, and the numbering of events."""
    wanted = _with_families(connection, ids)
    rows = read_rows(dialect, connection, sorted(wanted), cache)
    dialect.lock_events(connection)
    # A transaction that adds a server to these databases takes this lock too, so none can do so
    # from now on. Servers may have been added after the first query and before the lock.
    late = _with_families(connection, ids) - wanted
    return rows | read_rows(dialect, connection, sorted(late), cache)


def _relabelled(  # noqa: PLR0913 - the transaction, and what is to be written
    dialect: Dialect,
    connection: Connection,
    rows: Iterable[Row],
    said: Mapping[str, Annotation],
    events: list[Event],
    *,
    is_told: bool = True,
) -> Committed:
    """Write the labels of databases into rows of servers, and then the events if `is_told`."""
    pairs = []
    for row in rows:
        annotation = said.get(subject_of(row.record))
        labels = (annotation.labels or None) if annotation is not None else None
        if annotation is not None and labels != row.record.labels:
            record = evolve(row.record, labels=labels)
            pairs.append((row, row._replace(record=record, revision=row.revision + 1)))
    pairs.sort(key=lambda pair: pair[0].server_id)
    write_rows(dialect, connection, pairs)
    if is_told:
        write_events(dialect, connection, events)
    written = {after.server_id: after for _, after in pairs}
    return Committed(written, events, described=written.keys())


def _read(connection: Connection, subjects: Collection[str]) -> Mapping[str, Annotation]:
    """Labels and notes, by the subjects of databases; subjects with neither are left out."""
    found = connection.execute(_READ, {"subjects": sorted(subjects)})
    return {
        row.subject: Annotation(
            labels=row.labels or (),
            note=row.note,
            changed_at=row.changed_at,
            changed_by=row.changed_by,
        )
        for row in found
    }


def _write(connection: Connection, said: Mapping[str, Annotation]) -> None:
    full = [_columns(subject, each) for subject, each in said.items() if not each.is_empty]
    if said:
        connection.execute(_DELETE, {"subjects": sorted(said)})
    if full:
        connection.execute(insert(annotations), full)


def _columns(subject: str, annotation: Annotation) -> dict[str, Any]:
    labels = annotation.labels or None
    return {
        **asdict(annotation, recurse=False),
        "subject": subject,
        "labels": labels,
        "search_text": annotation.search_text,
    }


def _drop(connection: Connection, subjects: Collection[str]) -> None:
    """Delete the labels and notes under those of the subjects to which no server belongs."""
    found = _read(connection, subjects)
    if not found:
        return
    families = sorted(each.removeprefix(_UUID) for each in found if each.startswith(_UUID))
    there = connection.execute(_FAMILIES, {"families": families}).scalars()
    ids = sorted(each.removeprefix(_SERVER) for each in found if each.startswith(_SERVER))
    alone = connection.execute(_ALONE, {"ids": ids}).scalars()
    kept = {f"{_UUID}{each}" for each in there} | {f"{_SERVER}{each}" for each in alone}
    connection.execute(_DELETE, {"subjects": sorted(found.keys() - kept)})


def _with_families(connection: Connection, ids: Sequence[str]) -> set[str]:
    """Those of the ids that exist, and the ids of all other servers with the UUIDs of these."""
    found = connection.execute(_FAMILIES_OF, {"ids": [*ids]}).all()
    relatives = _in_families(connection, {row.family for row in found} - {None})
    return {row.server_id for row in found} | relatives


def _in_families(connection: Connection, families: Iterable[str]) -> set[str]:
    """The ids of the servers with one of the UUIDs, in the form that `family_of` returns."""
    return {*connection.execute(_RELATIVES, {"families": sorted(families)}).scalars()}


_UUID, _SERVER = "uuid:", "server:"  # as in `subject_of`
_MEANWHILE = "Somebody else has changed the labels or the note meanwhile. Nothing was changed."

_FAMILY_OF = select(servers.c.family).where(servers.c.server_id == bindparam("key"))
_FAMILIES_OF = select(servers.c.server_id, servers.c.family).where(
    among(servers.c.server_id, "ids")
)
_RELATIVES = select(servers.c.server_id).where(
    among(servers.c.family, "families"), servers.c.family.is_not(None)
)
_FAMILIES = (
    select(servers.c.family)
    .where(among(servers.c.family, "families"), servers.c.family.is_not(None))
    .distinct()
)
_OWNERS = select(servers.c.owner).where(servers.c.family == bindparam("family")).distinct()
_ALONE = select(servers.c.server_id).where(
    among(servers.c.server_id, "ids"), servers.c.family.is_(None)
)
_READ = select(annotations).where(among(annotations.c.subject, "subjects"))
_DELETE = delete(annotations).where(among(annotations.c.subject, "subjects"))
_COUNTS = (
    select(facets.c.value, func.count())
    .join(servers, servers.c.server_id == facets.c.server_id)
    .where(facets.c.name == "label", is_listed)
    .group_by(facets.c.value)
    .order_by(facets.c.value)
)

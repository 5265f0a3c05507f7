"""Inserting rows into several tables at once, also where some are stored already."""

from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import Connection, Table, make_url, select
from sqlalchemy.exc import IntegrityError

from receiver.store import SqlStore
from receiver.store.dialects import IfStored, Inserted
from receiver.store.tables import search_texts, tallies

TEXTS = ("server_id", "names", "addresses")
ROWS = [(f"s{n}", f"name {n}", "") for n in range(13)]
NUMBERS = ("profile", "rank", "writer", "number")


def insert(store: SqlStore, *given: Inserted) -> None:
    store.transactions.write(
        lambda connection: store.transactions.dialect.insert(connection, *given)
    )


def texts(rows: Sequence[Sequence[str]], if_stored: IfStored = IfStored.FAIL) -> Inserted:
    return Inserted(search_texts, TEXTS, rows, if_stored)


def stored(store: SqlStore, table: Table) -> Sequence[tuple[Any, ...]]:
    with store.transactions.read() as connection:
        found = connection.execute(select(table).order_by(*table.primary_key))
        return [tuple(row) for row in found]


def test_rows_of_several_tables_are_inserted_together(store: SqlStore) -> None:
    numbers = [(n, 1, "w", n) for n in range(7)]

    insert(store, texts(ROWS), Inserted(tallies, NUMBERS, numbers))

    assert (sorted(ROWS), numbers) == (stored(store, search_texts), stored(store, tallies))


def test_values_may_be_in_another_order_than_the_columns_of_the_table(store: SqlStore) -> None:
    insert(store, Inserted(search_texts, TEXTS[::-1], [row[::-1] for row in ROWS]))

    assert sorted(ROWS) == stored(store, search_texts)


def test_no_rows_are_inserted_where_none_are_given(store: SqlStore) -> None:
    insert(store, Inserted(tallies, NUMBERS, []), texts(ROWS[:1]))
    insert(store, Inserted(tallies, NUMBERS, []))

    assert (ROWS[:1], []) == (stored(store, search_texts), stored(store, tallies))


def test_row_that_is_stored_already_fails_the_statement(store: SqlStore) -> None:
    insert(store, texts(ROWS[:1]))

    with pytest.raises(IntegrityError):
        insert(store, texts(ROWS))

    assert ROWS[:1] == stored(store, search_texts)


@pytest.mark.parametrize(
    ("if_stored", "names"), [(IfStored.LOCK, "name 0"), (IfStored.REPLACE, "another")]
)
def test_row_that_is_stored_already_stays_or_is_replaced(
    store: SqlStore, if_stored: IfStored, names: str
) -> None:
    insert(store, texts(ROWS[:1]))

    insert(store, texts([("s0", "another", ""), ROWS[1]], if_stored))

    assert [("s0", names, ""), ROWS[1]] == stored(store, search_texts)


def test_row_that_is_stored_already_and_stays_is_locked(postgresql_url: str) -> None:
    """No other transaction can delete the row, until the one that relies on it has ended."""
    store = SqlStore(make_url(postgresql_url))
    unlocked = select(search_texts.c.server_id).with_for_update(skip_locked=True)
    insert(store, texts(ROWS[:2]))

    def work(connection: Connection) -> Sequence[str]:
        again = texts(ROWS[:1], IfStored.LOCK)
        store.transactions.dialect.insert(connection, again)
        with store.transactions.read() as other:
            return other.execute(unlocked).scalars().all()

    found = store.transactions.write(work)
    store.close()

    assert ["s1"] == found


def test_numbers_are_added_to_those_that_are_stored(store: SqlStore) -> None:
    for number in (5, -2):
        insert(store, Inserted(tallies, NUMBERS, [(1, 1, "w", number)], IfStored.ADD))

    assert [(1, 1, "w", 3)] == stored(store, tallies)

"""Inserting rows into several tables at once, also where some are stored already."""

from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import Connection, Table, make_url, select
from sqlalchemy.exc import IntegrityError

from receiver.store import SqlStore
from receiver.store.dialects import IfStored, Inserted
from receiver.store.tables import search_texts, tallies

ROWS = [{"server_id": f"s{n}", "names": f"name {n}", "addresses": ""} for n in range(13)]


def insert(store: SqlStore, *given: Inserted) -> None:
    store.transactions.write(
        lambda connection: store.transactions.dialect.insert(connection, *given)
    )


def stored(store: SqlStore, table: Table) -> Sequence[dict[str, Any]]:
    with store.transactions.read() as connection:
        found = connection.execute(select(table).order_by(*table.primary_key)).mappings()
        return [dict(row) for row in found]


def test_rows_of_several_tables_are_inserted_together(store: SqlStore) -> None:
    numbers = [{"profile": n, "rank": 1, "writer": "w", "number": n} for n in range(7)]

    insert(store, Inserted(search_texts, ROWS), Inserted(tallies, numbers))

    by_id = sorted(ROWS, key=lambda row: row["server_id"])
    assert (by_id, numbers) == (stored(store, search_texts), stored(store, tallies))


def test_no_rows_are_inserted_where_none_are_given(store: SqlStore) -> None:
    insert(store, Inserted(tallies, []), Inserted(search_texts, ROWS[:1]))
    insert(store, Inserted(tallies, []))

    assert (ROWS[:1], []) == (stored(store, search_texts), stored(store, tallies))


def test_row_that_is_stored_already_fails_the_statement(store: SqlStore) -> None:
    insert(store, Inserted(search_texts, ROWS[:1]))

    with pytest.raises(IntegrityError):
        insert(store, Inserted(search_texts, ROWS))

    assert ROWS[:1] == stored(store, search_texts)


@pytest.mark.parametrize(
    ("if_stored", "names"), [(IfStored.LOCK, "name 0"), (IfStored.REPLACE, "another")]
)
def test_row_that_is_stored_already_stays_or_is_replaced(
    store: SqlStore, if_stored: IfStored, names: str
) -> None:
    insert(store, Inserted(search_texts, ROWS[:1]))

    insert(store, Inserted(search_texts, [{**ROWS[0], "names": "another"}, ROWS[1]], if_stored))

    assert [{**ROWS[0], "names": names}, ROWS[1]] == stored(store, search_texts)


def test_row_that_is_stored_already_and_stays_is_locked(postgresql_url: str) -> None:
    """No other transaction can delete the row, until the one that relies on it has ended."""
    store = SqlStore(make_url(postgresql_url))
    unlocked = select(search_texts.c.server_id).with_for_update(skip_locked=True)
    insert(store, Inserted(search_texts, ROWS[:2]))

    def work(connection: Connection) -> Sequence[str]:
        again = Inserted(search_texts, ROWS[:1], IfStored.LOCK)
        store.transactions.dialect.insert(connection, again)
        with store.transactions.read() as other:
            return other.execute(unlocked).scalars().all()

    found = store.transactions.write(work)
    store.close()

    assert ["s1"] == found


def test_numbers_are_added_to_those_that_are_stored(store: SqlStore) -> None:
    row = {"profile": 1, "rank": 1, "writer": "w", "number": 5}

    for number in (5, -2):
        insert(store, Inserted(tallies, [{**row, "number": number}], IfStored.ADD))

    assert [{**row, "number": 3}] == stored(store, tallies)

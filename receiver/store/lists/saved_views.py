"""Saved views of the list of servers, in the database."""

from collections.abc import Sequence

from attrs import asdict
from sqlalchemy import Connection, bindparam, delete, insert, select

from receiver.domain.errors import Refusal
from receiver.domain.lists.saved_views import MOST_VIEWS, SavedView
from receiver.store.tables import saved_views
from receiver.store.transactions import Transactions

__all__ = ["SavedViews"]


class SavedViews:
    """
    The saved views in a database: filters and an order of the list of servers, under a name.

    Each method is one transaction, and raises StoreUnavailable when the database does not answer.
    """

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    def all(self) -> Sequence[SavedView]:
        """All views, sorted by name, ignoring case."""
        with self._transactions.read_once() as connection:
            return _all(connection)

    def find(self, view_id: str) -> SavedView | None:
        """The view with this id; None when there is none."""
        with self._transactions.read_once() as connection:
            row = connection.execute(_ONE, {"view": view_id}).mappings().one_or_none()
        return None if row is None else SavedView(**row)

    def add(self, view: SavedView) -> None:
        """
        Store a new view.

        Raises Refusal (409) when another view has its name, ignoring case, or when there are
        `MOST_VIEWS` already.
        """

        def work(connection: Connection) -> None:
            known = _all(connection)
            if any(each.name.casefold() == view.name.casefold() for each in known):
                raise Refusal(409, "name_taken", "There is a view of this name already.")
            if len(known) >= MOST_VIEWS:
                raise Refusal(
                    409, "too_many_views", f"There are {MOST_VIEWS} views already: delete one."
                )
            connection.execute(insert(saved_views), asdict(view))

        self._transactions.write(work)

    def delete(self, view_id: str) -> None:
        """Delete the view with this id, if it exists."""
        self._transactions.write(lambda connection: connection.execute(_DELETE, {"view": view_id}))


def _all(connection: Connection) -> list[SavedView]:
    found = [SavedView(**row) for row in connection.execute(_ALL).mappings()]
    return sorted(found, key=lambda each: (each.name.casefold(), each.id))


_ALL = select(saved_views)
_ONE = _ALL.where(saved_views.c.id == bindparam("view"))
_DELETE = delete(saved_views).where(saved_views.c.id == bindparam("view"))

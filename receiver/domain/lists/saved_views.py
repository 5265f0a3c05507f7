"""Saved views: filters and an order of the list under a name, for all who may read the fleet."""

from datetime import datetime
from secrets import token_hex

from attrs import field, frozen

__all__ = ["LONGEST_NAME", "MOST_VIEWS", "SavedView"]

MOST_VIEWS = 30
"""How many views there may be: the page of the list shows all of them."""

LONGEST_NAME = 40
"""How many characters the name of a view may have."""


@frozen(kw_only=True)
class SavedView:
    """
    A view of the list of servers that somebody has saved.

    Attributes:
        id: The id of the view.
        name: Its name, which no other view has.
        query: The filters, as `receiver.domain.filter_text` writes them.
        sort: The order; None for the one that the page has by default.
        key_id: The id of the key of the author; None if the receiver required no keys.
        author: The name of that key, or an empty text.
        created_at: When it was saved.
    """

    id: str = field(factory=lambda: token_hex(6))
    name: str
    query: str
    sort: str | None
    key_id: str | None
    author: str
    created_at: datetime

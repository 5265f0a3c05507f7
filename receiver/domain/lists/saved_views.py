"""Saved views: a filter and an order of the list under a name, for all who may read the fleet."""

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
        id: The id of the view: 12 random hexadecimal digits.
        name: Its name, which no other view has.
        query: The filter as a text, such as `stage:production`; empty for none.
        sort: The order of the list, such as `-last_seen`; None for the order that the page has by
            default.
        key_id: The id of the key of whoever saved the view; None if the receiver required no keys.
        author: The name of this key at that time; empty if the receiver required no keys.
        created_at: When the view was saved.
    """

    id: str = field(factory=lambda: token_hex(6))
    name: str
    query: str
    sort: str | None
    key_id: str | None
    author: str
    created_at: datetime

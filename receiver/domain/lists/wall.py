"""
What the wallboard, a page for a large screen with a cell for each server, shows of servers.

The servers are grouped by the value of one field, such as their stage.
"""

from datetime import datetime
from typing import NamedTuple

from contract import State

__all__ = ["GroupCount", "OnWall"]


class OnWall(NamedTuple):
    """
    What the wallboard shows of a server.

    Attributes:
        group: The server's value of the field by which servers are grouped; "" if it is not known.
        state: The state in the database.
        since: Since when it has been in this state.
        is_flapping: Whether it stops sending and comes back again and again.
    """

    server_id: str
    database: str | None
    group: str
    state: State
    since: datetime
    is_flapping: bool


class GroupCount(NamedTuple):
    """
    How many servers of a group are in a state.

    Attributes:
        group: The value of the field by which servers are grouped; "" if it is not known.
        state: The state in the database.
        servers: How many servers have both.
    """

    group: str
    state: State
    servers: int

"""The SQL of lists of servers: those of the API and the pages, and that of the MCP registry."""

from receiver.store.indexes.conditions import apply_conditions, apply_filter, conditions_of
from receiver.store.lists.breakdown import Breakdowns
from receiver.store.lists.registry import claims_like, claims_of, identities_of, registered
from receiver.store.lists.saved_views import SavedViews
from receiver.store.lists.servers import ServerList, reachable
from receiver.store.lists.troubled import numbers_owned, troubled
from receiver.store.lists.wall import on_wall, wall_counts

__all__ = [
    "Breakdowns",
    "SavedViews",
    "ServerList",
    "apply_conditions",
    "apply_filter",
    "claims_like",
    "claims_of",
    "conditions_of",
    "identities_of",
    "numbers_owned",
    "on_wall",
    "reachable",
    "registered",
    "troubled",
    "wall_counts",
]

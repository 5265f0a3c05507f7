"""The SQL of lists of servers: those of the API and the pages, and that of the MCP registry."""

from receiver.store.lists.registry import claims_like, claims_of, identities_of, registered
from receiver.store.lists.servers import ServerList, apply_filter, reachable
from receiver.store.lists.troubled import numbers_owned, troubled

__all__ = [
    "ServerList",
    "apply_filter",
    "claims_like",
    "claims_of",
    "identities_of",
    "numbers_owned",
    "reachable",
    "registered",
    "troubled",
]

"""
Catalogues and sets of tool names, each of which is stored once for all servers that have it.

A catalogue is the description of all tools of a server, and a set of tool names only has the names
of these tools.
"""

from receiver.store.catalogues.inventory import Inventory
from receiver.store.catalogues.search import Candidates, candidates
from receiver.store.catalogues.toolsets import is_stored, toolset_of, write_toolsets
from receiver.store.catalogues.writing import NewCatalogue, read_tools, write_catalogues

__all__ = [
    "Candidates",
    "Inventory",
    "NewCatalogue",
    "candidates",
    "is_stored",
    "read_tools",
    "toolset_of",
    "write_catalogues",
    "write_toolsets",
]

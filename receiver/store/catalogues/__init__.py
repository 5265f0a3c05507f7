"""
Catalogues: descriptions of all tools of a server, shared by servers that send the same one.

And sets of tool names, shared by servers that offer the same tools.
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

"""Catalogues: the descriptions of servers' tools, each stored once for all servers that send it."""

from receiver.store.catalogues.search import Candidates, candidates
from receiver.store.catalogues.writing import NewCatalogue, read_tools, write_catalogues

__all__ = ["Candidates", "NewCatalogue", "candidates", "read_tools", "write_catalogues"]

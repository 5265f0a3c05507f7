"""Catalogues: descriptions of all tools of a server, shared by servers that send the same one."""

from receiver.store.catalogues.search import Candidates, candidates
from receiver.store.catalogues.writing import NewCatalogue, read_tools, write_catalogues

__all__ = ["Candidates", "NewCatalogue", "candidates", "read_tools", "write_catalogues"]

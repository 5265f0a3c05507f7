"""Catalogues: the descriptions of servers' tools, each stored once for all servers that send it."""

from receiver.store.catalogues.search import find_tools
from receiver.store.catalogues.writing import read_tools, write_catalogues

__all__ = ["find_tools", "read_tools", "write_catalogues"]

"""
The servers in a database.

`Servers` reads and writes them, `Watch` gives them their states as time passes, `RegistrySource`
reads what the MCP registry tells of them.
"""

from receiver.store.servers.commits import OnEvents
from receiver.store.servers.registry import RegistrySource
from receiver.store.servers.watch import Watch
from receiver.store.servers.writing import Servers

__all__ = ["OnEvents", "RegistrySource", "Servers", "Watch"]

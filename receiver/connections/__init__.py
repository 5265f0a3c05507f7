"""
`Careful`, an HTTP protocol for uvicorn that limits slow and oversized clients.

`uvicorn receiver.app:app --http receiver.connections:Careful` uses it.
"""

from receiver.connections.careful import Careful, max_connections

__all__ = ["Careful", "max_connections"]

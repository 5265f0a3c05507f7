"""The HTTP side of the receiver: routes, reading requests, writing answers."""

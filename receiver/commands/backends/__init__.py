"""The ways in which commands reach a fleet: over HTTP with a key, or by its database."""

from receiver.commands.backends.backend import AlertBackend, Backend, Forgotten, Json
from receiver.commands.backends.opening import Context, check_folder, database_of, opened, reaching

__all__ = [
    "AlertBackend",
    "Backend",
    "Context",
    "Forgotten",
    "Json",
    "check_folder",
    "database_of",
    "opened",
    "reaching",
]

"""Copies a whole database: to another database, to a file and back again, or as a backup."""

from receiver.store.copying.backups import back_up, backups_in
from receiver.store.copying.examining import examine
from receiver.store.copying.files import read_fleet, write_fleet
from receiver.store.copying.moving import bring_back, move

__all__ = [
    "back_up",
    "backups_in",
    "bring_back",
    "examine",
    "move",
    "read_fleet",
    "write_fleet",
]

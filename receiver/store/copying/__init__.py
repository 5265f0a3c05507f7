"""Copies a whole database: to another database, to a file and back again, or as a backup."""

from receiver.store.copying.backups import back_up, backups_in
from receiver.store.copying.examining import Examined, examine
from receiver.store.copying.files import read_fleet, write_fleet
from receiver.store.copying.moving import Moved, Progress, bring_back, move

__all__ = [
    "Examined",
    "Moved",
    "Progress",
    "back_up",
    "backups_in",
    "bring_back",
    "examine",
    "move",
    "read_fleet",
    "write_fleet",
]

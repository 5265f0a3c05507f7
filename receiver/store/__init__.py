"""The SQL store: all code that touches the database."""

from sqlalchemy import URL

from receiver.store.alerts import Alerts
from receiver.store.catalogues import Inventory
from receiver.store.copying import (
    back_up,
    backups_in,
    bring_back,
    examine,
    move,
    read_fleet,
    write_fleet,
)
from receiver.store.dialects import check_url, listen, parse_url
from receiver.store.forgetting import BATCH
from receiver.store.ownership import SERVERS_PER_KEY
from receiver.store.servers import RegistrySource, Servers, Watch
from receiver.store.sql_store import SqlStore

__all__ = [
    "BATCH",
    "SERVERS_PER_KEY",
    "URL",
    "Alerts",
    "Inventory",
    "RegistrySource",
    "Servers",
    "SqlStore",
    "Watch",
    "back_up",
    "backups_in",
    "bring_back",
    "check_url",
    "examine",
    "listen",
    "move",
    "parse_url",
    "read_fleet",
    "write_fleet",
]

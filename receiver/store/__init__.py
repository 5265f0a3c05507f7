"""The SQL store: all code that touches the database."""

from sqlalchemy import URL

from receiver.store.alerts import Alerts, OutboxCounts
from receiver.store.catalogues import Inventory
from receiver.store.copying import (
    Examined,
    Moved,
    Progress,
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
from receiver.store.lists import GroupCount, OnWall
from receiver.store.ownership import SERVERS_PER_KEY
from receiver.store.silence import Look, Rules
from receiver.store.sql_store import Servers, SqlStore, Vitals
from receiver.store.state_changes import StateChange, StateLog

__all__ = [
    "BATCH",
    "SERVERS_PER_KEY",
    "URL",
    "Alerts",
    "Examined",
    "GroupCount",
    "Inventory",
    "Look",
    "Moved",
    "OnWall",
    "OutboxCounts",
    "Progress",
    "Rules",
    "Servers",
    "SqlStore",
    "StateChange",
    "StateLog",
    "Vitals",
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

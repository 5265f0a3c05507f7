"""The tables, the column types that store Python values, and conditions of several queries."""

from receiver.store.tables.columns import Json, Key, Member, Moment, columns_of, constant, metadata
from receiver.store.tables.events import events, of_state, tombstones
from receiver.store.tables.indexes import (
    INDEXED_FIELDS,
    IndexEntry,
    facets,
    profiles,
    search_texts,
    tallies,
)
from receiver.store.tables.keys import (
    count_of_lapsed_keys,
    is_lapsed,
    is_of_lapsed_key,
    key_revisions,
    keys,
    sessions,
)
from receiver.store.tables.liveness import (
    COLUMNS,
    DUE_COLUMNS,
    HEARTBEAT_COLUMNS,
    LIVENESS_COLUMNS,
    liveness,
    whole_servers,
)
from receiver.store.tables.people import annotations, saved_views
from receiver.store.tables.receivers import commits, pauses, secrets, watches
from receiver.store.tables.servers import is_in_state, is_listed, servers
from receiver.store.tables.tools import (
    catalogues,
    has_all_words,
    has_any_word,
    offers_one_of,
    toolsets,
)
from receiver.store.tables.value_lists import among, among_these

__all__ = [
    "COLUMNS",
    "DUE_COLUMNS",
    "HEARTBEAT_COLUMNS",
    "INDEXED_FIELDS",
    "LIVENESS_COLUMNS",
    "IndexEntry",
    "Json",
    "Key",
    "Member",
    "Moment",
    "among",
    "among_these",
    "annotations",
    "catalogues",
    "columns_of",
    "commits",
    "constant",
    "count_of_lapsed_keys",
    "events",
    "facets",
    "has_all_words",
    "has_any_word",
    "is_in_state",
    "is_lapsed",
    "is_listed",
    "is_of_lapsed_key",
    "key_revisions",
    "keys",
    "liveness",
    "metadata",
    "of_state",
    "offers_one_of",
    "pauses",
    "profiles",
    "saved_views",
    "search_texts",
    "secrets",
    "servers",
    "sessions",
    "tallies",
    "tombstones",
    "toolsets",
    "watches",
    "whole_servers",
]

"""Tables beside `servers`, by which lists find and count servers."""

from receiver.store.indexes.profiles import drop_profiles, write_profiles
from receiver.store.indexes.search_texts import drop_search_texts, write_search_texts
from receiver.store.indexes.tallies import write_tallies

__all__ = [
    "drop_profiles",
    "drop_search_texts",
    "write_profiles",
    "write_search_texts",
    "write_tallies",
]

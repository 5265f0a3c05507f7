"""Tables beside `servers`, by which lists find and count servers."""

from receiver.store.indexes.profiles import drop_profiles, write_profiles
from receiver.store.indexes.search_texts import drop_search_texts, write_search_texts
from receiver.store.indexes.tallies import (
    are_tallies_right,
    count_tallies_anew,
    write_tallies,
)

__all__ = [
    "are_tallies_right",
    "count_tallies_anew",
    "drop_profiles",
    "drop_search_texts",
    "write_profiles",
    "write_search_texts",
    "write_tallies",
]

"""Tables beside `servers`, by which lists find and count servers."""

from receiver.store.indexes.profiles import drop_profiles, inserted_profiles, lock_profiles
from receiver.store.indexes.search_texts import drop_search_texts, inserted_search_texts
from receiver.store.indexes.tallies import (
    are_tallies_right,
    count_tallies_anew,
    drop_tallies,
    inserted_tallies,
)

__all__ = [
    "are_tallies_right",
    "count_tallies_anew",
    "drop_profiles",
    "drop_search_texts",
    "drop_tallies",
    "inserted_profiles",
    "inserted_search_texts",
    "inserted_tallies",
    "lock_profiles",
]

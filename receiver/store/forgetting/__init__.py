"""Deletes ("forgets") servers: one, or all that match a filter, some in each transaction."""

from receiver.store.forgetting.batches import BATCH, Chosen, chosen_after, forget, forgettable
from receiver.store.forgetting.deletion import delete_server

__all__ = ["BATCH", "Chosen", "chosen_after", "delete_server", "forget", "forgettable"]

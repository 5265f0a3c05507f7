"""Deletes ("forgets") all servers that match a filter, a limited number in each transaction."""

from receiver.store.forgetting.batches import BATCH, Chosen, chosen_after, forget, forgettable

__all__ = ["BATCH", "Chosen", "chosen_after", "forget", "forgettable"]

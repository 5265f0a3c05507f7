"""Forgetting servers in bulk: chosen by a filter, deleted in bounded transactions."""

from receiver.store.forgetting.batches import BATCH, Chosen, chosen_after, forget, forgettable

__all__ = ["BATCH", "Chosen", "chosen_after", "forget", "forgettable"]

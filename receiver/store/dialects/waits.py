"""How long transactions wait for locks at most."""

__all__ = ["LOCK_SECONDS", "MIGRATION_SECONDS"]

LOCK_SECONDS = 2.0
"""
How many seconds a transaction waits at most for a lock that another process holds.

The sender of a message gives up after 5 seconds. A message may have to wait for two transactions:
for the one that runs when the message arrives, and then for its own. If each of them waits for a
lock as long as it may, that takes 4 seconds, so the sender still gets an answer.
"""

MIGRATION_SECONDS = 60.0
"""How many seconds a start waits at most while another process brings the tables up to date."""

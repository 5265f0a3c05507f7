"""The history of the fleet in the database: a row for each hour, and the SQL that counts."""

from receiver.store.history.census import take_census
from receiver.store.history.hours import Hours, is_counted, leave_no_future, note_minute

__all__ = ["Hours", "is_counted", "leave_no_future", "note_minute", "take_census"]

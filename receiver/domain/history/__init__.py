"""
The history of the fleet: what is kept of each hour, and the figures of a day or longer.

Also the states of a single server in the past.
"""

from receiver.domain.history.hours import (
    MOST_HOURS,
    NOTHING_TAKEN,
    Census,
    Hour,
    Minute,
    Shares,
    Taken,
    begin_of_hour,
    begin_of_minute,
    most_frequent,
)
from receiver.domain.history.periods import Figures, Period, Slot, figures
from receiver.domain.history.state_logs import StateChange, StateLog

__all__ = [
    "MOST_HOURS",
    "NOTHING_TAKEN",
    "Census",
    "Figures",
    "Hour",
    "Minute",
    "Period",
    "Shares",
    "Slot",
    "StateChange",
    "StateLog",
    "Taken",
    "begin_of_hour",
    "begin_of_minute",
    "figures",
    "most_frequent",
]

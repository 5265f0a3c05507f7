"""The history of the fleet: what is kept of each hour, and the figures of a day or longer."""

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
    "Taken",
    "begin_of_hour",
    "begin_of_minute",
    "figures",
    "most_frequent",
]

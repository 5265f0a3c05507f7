"""
The parameters of the sweep, which finds servers that have fallen silent.

Also what a receiver finds when it notes in the database that it runs. The sweep itself,
`note_presence` and `lacks_note` are in `receiver.store.silence`.
"""

from datetime import datetime, timedelta
from typing import NamedTuple

from attrs import field, frozen

from receiver.domain.history import NOTHING_TAKEN, Minute, Taken

__all__ = ["Presence", "Rules", "SweepOptions"]


@frozen(kw_only=True)
class Rules:
    """
    The thresholds for the event `fleet_silent`, which says that many servers stopped at once.

    The event is written when both `share` and `servers` are reached. Only servers that became late
    within the time `within` before the check, and are still late or down, count as silent.

    Attributes:
        share: Which part of the fleet must be silent at least, from 0.5 to 1. The fleet is the
            silent servers and those that are up or new.
        servers: How many servers must be silent at least.
        within: How long before the check a server may have become late.
    """

    share: float = 0.5
    servers: int = 5
    within: timedelta = timedelta(minutes=5)


@frozen(kw_only=True)
class SweepOptions:
    """
    The parameters of one `sweep`.

    Attributes:
        now: The time of the sweep.
        heard_since: Since when receivers have been running without an interruption.
        rules: How many servers must be silent for an event `fleet_silent`.
        limit: How many of the servers that are due are checked at most.
        is_any_due: Whether any server is due, as `note_presence` has just found; None if it is not
            known.
        noted_at: The time of this receiver's last note that it runs; None before the first. If the
            database does not have this note (`lacks_note`), no server is checked.
            `Watch.sweep` sets it.
        taken: How many heartbeats this process has written since it started, and how many requests
            with heartbeats it could not write.
        minute: What is added to the history of the fleet; None if this is not the first sweep in a
            minute. `Watch.sweep` sets it.
    """

    now: datetime
    heard_since: datetime
    rules: Rules = field(factory=Rules)
    limit: int = 50
    is_any_due: bool | None = None
    noted_at: datetime | None = None
    taken: Taken = NOTHING_TAKEN
    minute: Minute | None = None


class Presence(NamedTuple):
    """
    What a receiver finds when it notes in the database that it is running.

    Attributes:
        heard_since: Since when receivers have been running without an interruption.
        is_any_due: Whether any server is due, so that there is something to `sweep`. It is always
            true after the first note in a database.
    """

    heard_since: datetime
    is_any_due: bool

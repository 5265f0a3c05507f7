"""The states of a server in the past, from which is computed how available it was."""

from collections.abc import Sequence

from attrs import frozen

from contract import ServerRecord
from receiver.domain.instants import microseconds

__all__ = ["StateChange", "StateLog"]

StateChange = tuple[str, int]
"""The kind of an event that changes a state, and its time in microseconds since 1970."""


@frozen(kw_only=True)
class StateLog:
    """
    The states of one server in a period that ends now, as they are stored in the database.

    Attributes:
        first_seen: When a receiver first heard of the server, in microseconds since 1970.
        state: The state in the database now, a value of `contract.State`.
        state_since: When the server entered this state, in microseconds since 1970.
        is_superseded: Whether its database was rebuilt, and runs under another `server_id` now.
        flapping_since: Since when the server has been flapping, in microseconds since 1970: its
            state changes so often that its changes cause no events. None when it does not flap.
        changes: The changes of its state in the period, and the last one before the period, oldest
            first; empty if the state has never changed.
        is_cut: Whether older changes in the period were left out because there are too many. Then
            nothing is known of the time before the first of `changes`.
        away_seconds: If the first change is in the period, and from late or down to up: for how
            many seconds the server had sent nothing before that change. Otherwise 0.
    """

    first_seen: int
    state: str
    state_since: int
    is_superseded: bool = False
    flapping_since: int | None = None
    changes: Sequence[StateChange] = ()
    is_cut: bool = False
    away_seconds: float = 0.0

    @classmethod
    def of(cls, record: ServerRecord) -> "StateLog":
        """The log of a server whose state never changed."""
        flapping_since = record.flapping_since
        return cls(
            first_seen=microseconds(record.first_seen),
            state=record.state.value,
            state_since=microseconds(record.state_since),
            is_superseded=record.superseded_by is not None,
            flapping_since=None if flapping_since is None else microseconds(flapping_since),
        )

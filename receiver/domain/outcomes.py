"""The messages that clients post, and the result of merging each of them."""

from datetime import datetime
from enum import Enum
from typing import NamedTuple

from contract import Heartbeat, Registration, ServerRecord, interval
from receiver.domain.keys import Key

__all__ = ["Applied", "BodyKind", "Incoming", "Outcome"]


class BodyKind(str, Enum):
    """What clients post to a receiver; each value is the path of the URL without the slash."""

    REGISTER = "register"
    HEARTBEAT = "heartbeat"
    HEARTBEATS = "heartbeats"


class Incoming(NamedTuple):
    """
    A message to merge into the record of its server.

    Attributes:
        message: The message.
        received_at: When the receiver received the message.
        key: The API key that came with the message; None if the receiver requires no keys.
        repeated: A record that the message was found to repeat, in the sense of
            `contract.repeats`; it may be older than the record of the server. None if there is no
            such record at hand.
    """

    message: Registration | Heartbeat
    received_at: datetime
    key: Key | None = None
    repeated: ServerRecord | None = None


class Applied(NamedTuple):
    """
    The result of merging a message.

    Attributes:
        record: The server's record after the merge.
        created: Whether the message created the record.
        lacks_tools: Whether the message is a heartbeat, and the receiver does not know the
            description of tools that the server's latest `tools_digest` stands for.
        is_early: Whether the message is a heartbeat, and less than half of the interval that the
            server declares has passed since its previous message.
    """

    record: ServerRecord
    created: bool
    lacks_tools: bool = False
    is_early: bool = False

    def next_heartbeat_seconds(self, waited_seconds: float) -> float | None:
        """
        After how many seconds the receiver would like the next heartbeat; None if it has no wish.

        If a heartbeat waited for more than a second, the receiver gets too many of them. Then it
        asks the server for twice its interval, or for 10 minutes if twice the interval is longer,
        but never for less than the interval. After such a pause the server is not late yet.
        Otherwise, the receiver has a wish only if the heartbeat `is_early`: the declared interval.

        Args:
            waited_seconds: How long the heartbeat waited to be written to the database.
        """
        has_waited = waited_seconds > _LONG_WAIT_SECONDS
        if not (has_waited or self.is_early):
            return None
        declared = interval(self.record).total_seconds()
        return min(2 * declared, max(declared, _LONGEST_PACE_SECONDS)) if has_waited else declared


_LONG_WAIT_SECONDS = 1.0
_LONGEST_PACE_SECONDS = 600.0

Outcome = list[Applied | Exception]
"""
The result of each message of a body, in the order of the body.

A result is an `Applied`, after the commit, or the error because of which the message changed
nothing: an InvalidMessage, a Refusal, or an error of the database. If the error is an
OutcomeUnknown, it is not known whether the message was written.
"""

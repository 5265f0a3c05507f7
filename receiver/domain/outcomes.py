"""The messages that clients post, and the result of merging each of them."""

from datetime import datetime
from enum import Enum
from typing import NamedTuple

from contract import Heartbeat, InvalidMessage, Registration, ServerRecord
from receiver.domain.errors import Refusal
from receiver.domain.keys import Key

__all__ = ["Applied", "BodyKind", "Incoming", "Outcome"]


class BodyKind(str, Enum):
    """The kinds of bodies that clients post; each value is the path, without its slash."""

    REGISTER = "register"
    HEARTBEAT = "heartbeat"
    HEARTBEATS = "heartbeats"


class Incoming(NamedTuple):
    """A message to merge, when it was received, and its key; None if the receiver needs no keys."""

    message: Registration | Heartbeat
    received_at: datetime
    key: Key | None = None


class Applied(NamedTuple):
    """The record after a message was merged, and whether the message created the record."""

    record: ServerRecord
    created: bool


Outcome = list[Applied | InvalidMessage | Refusal]
"""What became of each message of a body, in the order of the body."""

"""What clients post, and what became of it."""

from datetime import datetime
from enum import Enum
from typing import NamedTuple

from contract import Heartbeat, InvalidMessage, Registration, ServerRecord
from receiver.domain.errors import Refusal
from receiver.domain.keys import Key

__all__ = ["Applied", "BodyKind", "Incoming", "Outcome"]


class BodyKind(str, Enum):
    """What the body of a POST request holds; the value is the name of its path."""

    REGISTER = "register"
    HEARTBEAT = "heartbeat"
    HEARTBEATS = "heartbeats"


class Incoming(NamedTuple):
    """A message to merge, when it was received, and the key it came with; None without keys."""

    message: Registration | Heartbeat
    received_at: datetime
    key: Key | None = None


class Applied(NamedTuple):
    """The record after a message was merged, and whether the message created the record."""

    record: ServerRecord
    created: bool


Outcome = list[Applied | InvalidMessage | Refusal]
"""What became of each message of a body, in the order of the body."""

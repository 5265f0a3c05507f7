"""The messages that clients post, and the result of merging each of them."""

from datetime import datetime
from enum import Enum
from typing import NamedTuple

from contract import Heartbeat, Registration, ServerRecord
from receiver.domain.keys import Key

__all__ = ["Applied", "BodyKind", "Incoming", "Outcome"]


class BodyKind(str, Enum):
    """The kinds of bodies that clients post; each value is the URL's path without the slash."""

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
    """

    message: Registration | Heartbeat
    received_at: datetime
    key: Key | None = None


class Applied(NamedTuple):
    """A server's record after a message was merged, and whether the message created the record."""

    record: ServerRecord
    created: bool


Outcome = list[Applied | Exception]
"""
The result of each message of a body, in the order of the body.

A result is the record after the commit, or the error because of which the message changed nothing:
an InvalidMessage, a Refusal, or an error of the database. If the error is an OutcomeUnknown, it is
not known whether the message was written.
"""

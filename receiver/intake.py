"""From what was posted to what became of it."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple

from contract import FleetError, Heartbeat, InvalidMessage, Registration
from receiver.batch import Applied, Incoming

__all__ = ["Outcome", "Read", "Submission", "take_in"]

Read = Callable[[bytes], Sequence[Heartbeat | Registration | InvalidMessage]]
"""Reads a body. Raises FleetError when none of it can be used."""

Outcome = list[Applied | InvalidMessage]
"""What became of each message of a body."""


class Submission(NamedTuple):
    """A body as it was posted, how to read it, and when it was received."""

    body: bytes
    read: Read
    received_at: datetime


def take_in(
    apply: Callable[[Sequence[Incoming]], Sequence[Applied]], submissions: Sequence[Submission]
) -> list[Outcome | FleetError]:
    """
    Read what was posted, and let `apply` merge and commit all messages together.

    One body after the other is read, which takes half the time of reading each when it
    comes, between all that the event loop does.
    """
    read = [_read(each) for each in submissions]
    incoming = [
        Incoming(message, submission.received_at)
        for submission, messages in zip(submissions, read, strict=True)
        if not isinstance(messages, FleetError)
        for message in messages
        if not isinstance(message, InvalidMessage)
    ]
    applied = iter(apply(incoming) if incoming else ())
    return [
        messages
        if isinstance(messages, FleetError)
        else [each if isinstance(each, InvalidMessage) else next(applied) for each in messages]
        for messages in read
    ]


def _read(
    submission: Submission,
) -> Sequence[Heartbeat | Registration | InvalidMessage] | FleetError:
    try:
        return submission.read(submission.body)
    except FleetError as error:
        # Its frames would keep the whole crowd, and be kept by it.
        error.__traceback__ = error.__cause__ = error.__context__ = None
        return error

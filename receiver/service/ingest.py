"""From what was posted to what became of it."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple

from contract import FleetError, Heartbeat, InvalidMessage, Registration
from receiver.domain.errors import Refusal
from receiver.domain.keys import Key
from receiver.domain.rate_limits import Limits
from receiver.store.merging import Applied, Incoming

__all__ = ["Outcome", "Read", "Submission", "take_in"]

Messages = Sequence[Heartbeat | Registration | InvalidMessage]

Outcome = list[Applied | InvalidMessage | Refusal]
"""What became of each message of a body."""

Read = Callable[[bytes], Messages]
"""Reads a body. Raises FleetError when none of it can be used."""


class Submission(NamedTuple):
    """A body as it was posted, how to read it, when it was received, and with which key."""

    body: bytes
    read: Read
    received_at: datetime
    key: Key | None = None


def take_in(
    apply: Callable[[Sequence[Incoming]], Sequence[Applied | Refusal]],
    limits: Limits,
    submissions: Sequence[Submission],
) -> list[Outcome | FleetError]:
    """
    Read what was posted, and let `apply` merge and commit all messages together.

    A body that exceeds the limit of its key is refused as a whole.

    One body after the other is read, which takes half the time of reading each when it
    comes, between all that the event loop does.
    """
    read = [_read(each) for each in submissions]
    spent = _hold_to(limits, submissions, read)
    incoming = [
        Incoming(message, submission.received_at, submission.key)
        for submission, messages in zip(submissions, read, strict=True)
        if not isinstance(messages, FleetError)
        for message in messages
        if not isinstance(message, InvalidMessage)
    ]
    applied = iter(apply(incoming) if incoming else ())
    for key_id, cost in spent.items():
        limits.spend(key_id, cost)
    return [
        messages
        if isinstance(messages, FleetError)
        else [each if isinstance(each, InvalidMessage) else next(applied) for each in messages]
        for messages in read
    ]


def _hold_to(
    limits: Limits, submissions: Sequence[Submission], read: list[Messages | FleetError]
) -> dict[str, int]:
    """
    Put a refusal in the place of what exceeds the limit of its key.

    Gives back what the others cost, by key: each message one, or one for each 4 KiB.
    """
    left: dict[str, int] = {}
    spent: dict[str, int] = {}
    for place, (body, _, _, key) in enumerate(submissions):
        if key is None:
            continue
        room = left.get(key.id)
        if room is None:
            room = limits.left(key.id)
            spent[key.id] = 0
        messages = read[place]
        count = 1 if isinstance(messages, FleetError) else len(messages)
        cost = max(count, len(body) // _LONG, 1)
        if cost <= room:
            room -= cost
            spent[key.id] += cost
        else:
            room = 0
            read[place] = limits.exceeded(key.id, cost)
        left[key.id] = room
    return spent


_LONG = 4096


def _read(submission: Submission) -> Messages | FleetError:
    try:
        return submission.read(submission.body)
    except FleetError as error:
        # Its frames would keep the whole crowd, and be kept by it.
        error.__traceback__ = error.__cause__ = error.__context__ = None
        return error

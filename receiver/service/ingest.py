"""Decodes posted bodies, refuses those over the rate limit of their key, and writes the others."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple

from contract import FleetError, InvalidMessage
from receiver.domain.errors import Refusal
from receiver.domain.keys import Key
from receiver.domain.outcomes import Applied, BodyKind, Incoming, Outcome
from receiver.domain.rate_limits import RateLimits
from receiver.service.decoding import Messages, decode

__all__ = ["Apply", "Submission", "ingest"]

Apply = Callable[[Sequence[Incoming]], Sequence[Applied | Refusal]]
"""Merges messages and commits them in one transaction, such as `Servers.apply`."""


class Submission(NamedTuple):
    """A body as a client posted it: of which kind, when it was received, and with which key."""

    body: bytes
    kind: BodyKind
    received_at: datetime
    key: Key | None = None


def ingest(
    apply: Apply, limits: RateLimits, submissions: Sequence[Submission]
) -> list[Outcome | FleetError]:
    """
    Decode bodies, and let `apply` merge and commit all their messages together.

    A body that exceeds the rate limit of its key is refused as a whole.

    Decoding many bodies in one go takes half the time of decoding each when it arrives, in
    between everything else that the event loop does.
    """
    decoded = [_decode(each) for each in submissions]
    spent = _hold_to_limits(limits, submissions, decoded)
    incoming = [
        Incoming(message, submission.received_at, submission.key)
        for submission, messages in zip(submissions, decoded, strict=True)
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
        for messages in decoded
    ]


def _hold_to_limits(
    limits: RateLimits, submissions: Sequence[Submission], decoded: list[Messages | FleetError]
) -> dict[str, int]:
    """
    Replace the messages of a body that exceeds the limit of its key by a refusal.

    Returns what the other bodies cost each key: one for a message, or one for each 4 KiB.
    """
    left: dict[str, int] = {}
    spent: dict[str, int] = {}
    for index, (body, _, _, key) in enumerate(submissions):
        if key is None:
            continue
        room = left.get(key.id)
        if room is None:
            room = limits.left(key.id)
            spent[key.id] = 0
        messages = decoded[index]
        count = 1 if isinstance(messages, FleetError) else len(messages)
        cost = max(count, len(body) // _COST_BYTES, 1)
        if cost <= room:
            room -= cost
            spent[key.id] += cost
        else:
            room = 0
            decoded[index] = limits.exceeded(key.id, cost)
        left[key.id] = room
    return spent


_COST_BYTES = 4096


def _decode(submission: Submission) -> Messages | FleetError:
    try:
        return decode(submission.kind, submission.body)
    except FleetError as error:
        # The frames of the traceback would keep all bodies in memory, in a reference cycle.
        error.__traceback__ = error.__cause__ = error.__context__ = None
        return error

"""Decodes posted bodies, refuses those over the rate limit of their key, and writes the others."""

from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from datetime import datetime
from time import perf_counter
from typing import NamedTuple, TypeVar, cast

from contract import FleetError, InvalidMessage
from receiver.domain.errors import Refusal
from receiver.domain.keys import Key
from receiver.domain.outcomes import Applied, BodyKind, Incoming, Outcome
from receiver.domain.rate_limits import RateLimits
from receiver.service.decoding import (
    Found,
    Known,
    Messages,
    decode,
    decode_batch,
)

__all__ = ["MOST_MESSAGES", "Apply", "Body", "QueueName", "Submission", "ingest"]

T = TypeVar("T")

Apply = Callable[[Sequence[Incoming]], Sequence[Applied | Refusal]]
"""
A function that merges messages and commits them in one transaction, such as `Servers.apply`.

Returns the result of each message, in the same order. It may leave the last messages to another
transaction, and then returns fewer results than there are messages, but at least one.
"""

QueueName = tuple[str | None, bool]
"""The name of a queue of bodies: the id of their key, and whether they are batches."""

MOST_MESSAGES = 1000
"""How many messages are decoded for a transaction at most."""

_FEWEST_MESSAGES = 64

_Message = Incoming | InvalidMessage


class Submission(NamedTuple):
    """
    The body of a request, with its kind, its time of receipt, and the key of the request.

    The key is None if the receiver requires no keys.
    """

    body: bytes
    kind: BodyKind
    received_at: datetime
    key: Key | None = None


class Body:
    """
    A posted body while its messages are written, which may take several transactions.

    Attributes:
        submission: The body as it was posted.
        key_id: The id of the key of the request; None without a key.
        queue: The name of the queue in which the body waits.
        size: How many bytes the body has.
        outcomes: The results of its first messages; the other messages are not written yet.
        error: Why no message of the body is written; None as long as there is no such reason.
        cost: How many messages the rate limit of the key must still count for this body; 0 once
            they are counted.
        is_taken: Whether messages of the body were taken for the latest transaction.
        has_advanced: Whether the latest transaction got further with the body: it gave a result to
            some of its messages or to the whole body, or decoded more of a body that is too large
            to be decoded at once.
        decoded: Messages that were decoded for a transaction which had no time for them; the next
            one takes them first.
    """

    error: Exception | None = None
    cost = 0
    is_taken = False
    has_advanced = False
    decoded: deque[_Message] | None = None
    _opening: Generator[None, None, Messages] | None = None
    _count: int | None = None
    _undecoded: Iterator[Found] = iter(())

    def __init__(self, submission: Submission) -> None:
        self.submission = submission
        self.key_id = None if submission.key is None else submission.key.id
        self.queue: QueueName = (self.key_id, submission.kind is BodyKind.HEARTBEATS)
        self.size = len(submission.body)
        self.outcomes: Outcome = []

    @property
    def is_done(self) -> bool:
        """Whether all messages of the body have a result, or the body as a whole an `error`."""
        return self.error is not None or len(self.outcomes) == self._count

    def take(self) -> Iterator[Found]:
        """The messages that were never taken; each is decoded when the iterator reaches it."""
        return self._undecoded

    def put_back(self, message: _Message) -> None:
        """Return a message that was taken, but not written, to the head of the queue `decoded`."""
        if self.decoded is None:
            self.decoded = deque()
        self.decoded.appendleft(message)

    def fail(self, error: Exception) -> None:
        """
        Give up the messages that are not written yet, and mark the body as done.

        If some messages of the body are committed, the error becomes the result of each of the
        remaining ones. Otherwise it becomes the `error` of the body. A client that got an error for
        the whole body would send it again, and the committed messages would count twice.
        """
        if any(isinstance(each, Applied) for each in self.outcomes):
            assert self._count is not None  # or there would be no outcomes
            self.outcomes += [error] * (self._count - len(self.outcomes))
        else:
            self.error = error

    def open(self, limits: "_Limits", known: Known | None) -> bool:
        """
        Find out how many messages the body has, and whether the rate limit of its key allows them.

        This may take several calls: returns False if it must be called again. Sets `error` if the
        body is refused as a whole.
        """
        if self._count is not None:
            return True
        try:
            messages = self._messages(known)
        except FleetError as error:
            # The frames of the traceback would keep all bodies in memory, in a reference cycle.
            error.__traceback__ = error.__cause__ = error.__context__ = None
            self.error = error
            self._count = 1
        else:
            if messages is None:
                return False
            self._count = len(messages)
            self._undecoded = iter(messages)
        if self.key_id is not None:
            self._charge(self.key_id, self._count, limits)
        return True

    def _messages(self, known: Known | None) -> Messages | None:
        """Decode a single message, or go on with a batch; return None while that takes longer."""
        kind, body = self.submission.kind, self.submission.body
        if kind is not BodyKind.HEARTBEATS:
            return (decode(kind, body, known),)
        if self._opening is None:
            self._opening = decode_batch(body, known)
        try:
            next(self._opening)
        except StopIteration as end:
            return cast("Messages", end.value)
        return None

    def _charge(self, key_id: str, count: int, limits: "_Limits") -> None:
        cost = max(count, self.size // _COST_BYTES, 1)
        refusal = limits.refusal(key_id, cost)
        if refusal is None:
            self.cost = cost
        else:
            self.error = refusal


def ingest(  # noqa: PLR0913 - all but what it works with by name
    apply: Apply,
    limits: RateLimits,
    bodies: Iterable[Body],
    *,
    reading_seconds: float,
    most_messages: int = MOST_MESSAGES,
    known: Known | None = None,
) -> int:
    """
    Decode messages of bodies, and let `apply` merge and commit them together.

    Blocks until the commit. The results are added to the bodies. A body that exceeds the rate limit
    of its key is refused as a whole.

    The queues of the bodies take turns: first comes the first message of each queue, then the
    second one of each, and so on. The messages that cannot be decoded within `reading_seconds`,
    those after the first `most_messages`, and those that `apply` leaves are for the next call.

    `known` is what heartbeats may repeat, so that it need not be decoded or checked again.

    Returns the `most_messages` for the next call: not many more than `apply` has merged, because
    `apply` looks up the servers of all messages that it gets. Raises the errors of `apply`; then
    all messages are left for the next call.

    Decoding many bodies at once takes half the time of decoding each when it arrives, in between
    everything else that the event loop does.
    """
    bodies = [*bodies]
    taken: list[tuple[Body, _Message]] = []
    written = 0
    try:
        until = perf_counter() + reading_seconds
        for body, message in _messages_of(bodies, _Limits(limits), known):
            if message is not None:
                taken.append((body, message))
            if len(taken) == most_messages or perf_counter() > until:
                break
        incoming = [message for _, message in taken if isinstance(message, Incoming)]
        applied = iter(apply(incoming) if incoming else ())
        _spend(bodies, limits)
        for body, message in taken:
            outcome = next(applied, None) if isinstance(message, Incoming) else message
            if outcome is None:
                break
            body.outcomes.append(outcome)
            body.has_advanced = True
            written += 1
    finally:
        for body, message in reversed(taken[written:]):
            body.put_back(message)
    if written < len(taken):
        return max(_FEWEST_MESSAGES, written + written // 4)
    return min(MOST_MESSAGES, 2 * most_messages)


def _messages_of(
    bodies: Iterable[Body], limits: "_Limits", known: Known | None
) -> Iterator[tuple[Body, _Message | None]]:
    """Take the messages of bodies, whose queues take turns; None stands as in `_of_queue`."""
    queues: dict[QueueName, list[Body]] = {}
    for body in bodies:
        body.is_taken = body.has_advanced = False
        queues.setdefault(body.queue, []).append(body)
    return _in_turn([_of_queue(each, limits, known) for each in queues.values()])


def _of_queue(
    bodies: Iterable[Body], limits: "_Limits", known: Known | None
) -> Iterator[tuple[Body, _Message | None]]:
    """
    Take the messages of bodies in their order; None stands for work on a body that gave none.

    Nothing is decoded as long as there is something decoded, which takes more memory.
    """
    for body in bodies:
        if body.decoded:
            body.is_taken = True
            while body.decoded:
                yield body, body.decoded.popleft()
            return
        while not body.open(limits, known):
            body.has_advanced = True
            yield body, None
        if body.error is not None:
            body.has_advanced = True
            yield body, None
        else:
            body.is_taken = True
            _, _, received_at, key = body.submission
            for found in body.take():
                if isinstance(found, tuple):
                    message, repeated = found
                    yield body, Incoming(message, received_at, key, repeated)
                else:
                    yield body, found


def _in_turn(iterators: Sequence[Iterator[T]]) -> Iterator[T]:
    """The first item of each iterator, then the second one of each, and so on."""
    return iterators[0] if len(iterators) == 1 else _one_of_each(iterators)


def _one_of_each(iterators: Iterable[Iterator[T]]) -> Iterator[T]:
    waiting = deque(iterators)
    while waiting:
        iterator = waiting.popleft()
        for item in iterator:
            waiting.append(iterator)
            yield item
            break


class _Limits:
    """How many messages each key may still send, less those of the bodies that were let through."""

    def __init__(self, limits: RateLimits) -> None:
        self._limits = limits
        self._left: dict[str, int] = {}

    def refusal(self, key_id: str, cost: int) -> Refusal | None:
        """
        Let a body of `cost` messages through, and return None, or return why it is refused.

        A body that is let through leaves fewer messages for the next ones of its key. Once one is
        refused, so are the key's next ones.
        """
        left = self._left.get(key_id)
        if left is None:
            left = self._limits.left(key_id)
        if cost <= left:
            self._left[key_id] = left - cost
            return None
        self._left[key_id] = 0
        return self._limits.exceeded(key_id, cost)


def _spend(bodies: Iterable[Body], limits: RateLimits) -> None:
    """Count the messages of the bodies that were let through."""
    spent: Counter[str] = Counter()
    for body in bodies:
        if body.cost and body.key_id is not None:
            spent[body.key_id] += body.cost
            body.cost = 0
    for key_id, cost in spent.items():
        limits.spend(key_id, cost)


_COST_BYTES = 4096

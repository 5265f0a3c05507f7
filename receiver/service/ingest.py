"""Decodes posted bodies, refuses those over the rate limit of their key, and writes the others."""

from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from datetime import datetime
from time import perf_counter
from typing import NamedTuple, TypeVar, cast

from contract import FleetError, Heartbeat, InvalidMessage, Registration
from receiver.domain.errors import Refusal
from receiver.domain.keys import Key
from receiver.domain.outcomes import Applied, BodyKind, Incoming, Outcome
from receiver.domain.rate_limits import RateLimits
from receiver.service.decoding import Messages, decode, decode_batch

__all__ = ["MOST_MESSAGES", "Apply", "Body", "QueueName", "Submission", "ingest"]

T = TypeVar("T")

Apply = Callable[[Sequence[Incoming]], Sequence[Applied | Refusal]]
"""
Merges messages and commits them in one transaction, such as `Servers.apply`.

Returns what became of each message in their order. It may leave the last ones to another
transaction, of which it returns nothing, but never the first one.
"""

QueueName = tuple[str | None, bool]
"""A queue of bodies: the id of their key, and whether they are batches."""

MOST_MESSAGES = 1000
"""How many messages are decoded for a transaction at most."""

_FEWEST_MESSAGES = 64

_Message = Heartbeat | Registration | InvalidMessage


class Submission(NamedTuple):
    """A body as a client posted it: of which kind, when it was received, and with which key."""

    body: bytes
    kind: BodyKind
    received_at: datetime
    key: Key | None = None


class Body:
    """
    A posted body on its way into the database, which may take several transactions.

    Attributes:
        submission: The body as it was posted.
        key_id: The id of its key.
        queue: The queue that it waits in.
        size: How many bytes it has.
        outcomes: What became of its first messages; the others are not written yet.
        error: Why nothing of it is written; None as long as something may be.
        cost: How many messages it counts for in the rate limit of its key, until they are counted.
        is_taken: Whether the latest transaction has been given messages of it.
        has_advanced: Whether that transaction brought it further.
        decoded: The messages that were put back.
    """

    error: Exception | None = None
    cost = 0
    is_taken = False
    has_advanced = False
    decoded: deque[_Message] | None = None
    _opening: Generator[None, None, Messages] | None = None
    _count: int | None = None
    _undecoded: Iterator[_Message] = iter(())

    def __init__(self, submission: Submission) -> None:
        self.submission = submission
        self.key_id = None if submission.key is None else submission.key.id
        self.queue: QueueName = (self.key_id, submission.kind is BodyKind.HEARTBEATS)
        self.size = len(submission.body)
        self.outcomes: Outcome = []

    @property
    def is_done(self) -> bool:
        """Whether it is known what became of all messages."""
        return self.error is not None or len(self.outcomes) == self._count

    def take(self) -> Iterator[_Message]:
        """Take messages that were not taken yet, each of which is decoded at that moment."""
        return self._undecoded

    def put_back(self, message: _Message) -> None:
        """Keep a message that was taken, but is not written now, for the next transaction."""
        if self.decoded is None:
            self.decoded = deque()
        self.decoded.appendleft(message)

    def fail(self, error: Exception) -> None:
        """
        Give up: the messages that are not written will not be.

        If others are committed, the error is that of the rest alone. Whoever sent the body would
        otherwise send all of it again, and the others would count twice.
        """
        if any(isinstance(each, Applied) for each in self.outcomes):
            assert self._count is not None  # or there would be no outcomes
            self.outcomes += [error] * (self._count - len(self.outcomes))
        else:
            self.error = error

    def open(self, limits: "_Limits") -> bool:
        """
        Find out which messages there are; return whether it is known.

        If it is not, as that takes long, the next call goes on. A body that is refused as a whole
        has its `error` then.
        """
        if self._count is not None:
            return True
        try:
            messages = self._messages()
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
        self._charge(self._count, limits)
        return True

    def _messages(self) -> Messages | None:
        """Decode a single message, or go on with a batch; return None while that takes longer."""
        kind, body = self.submission.kind, self.submission.body
        if kind is not BodyKind.HEARTBEATS:
            return (decode(kind, body),)
        if self._opening is None:
            self._opening = decode_batch(body)
        try:
            next(self._opening)
        except StopIteration as end:
            return cast("Messages", end.value)
        return None

    def _charge(self, count: int, limits: "_Limits") -> None:
        if self.key_id is not None:
            cost = max(count, self.size // _COST_BYTES, 1)
            refusal = limits.refusal(self.key_id, cost)
            if refusal is None:
                self.cost = cost
            else:
                self.error = refusal


def ingest(
    apply: Apply,
    limits: RateLimits,
    bodies: Iterable[Body],
    *,
    reading_seconds: float,
    most_messages: int = MOST_MESSAGES,
) -> int:
    """
    Decode messages of bodies, and let `apply` merge and commit them together.

    The queues take turns: the first message of each, then the second one of each, and so on. What
    neither `apply` takes nor can be decoded in `reading_seconds` is left for the next call, and so
    is what comes after `most_messages`. A body that exceeds the rate limit of its key is refused as
    a whole.

    Returns how many messages the next call should decode at most: not many more than `apply`
    takes, as it looks up the servers of all of them.

    Decoding many bodies in one go takes half the time of decoding each when it arrives, in
    between everything else that the event loop does.
    """
    bodies = [*bodies]
    taken: list[tuple[Body, _Message]] = []
    written = 0
    try:
        taken.extend(_take(bodies, _Limits(limits), reading_seconds, most_messages))
        incoming = [
            Incoming(message, body.submission.received_at, body.submission.key)
            for body, message in taken
            if not isinstance(message, InvalidMessage)
        ]
        applied = iter(apply(incoming) if incoming else ())
        _spend(bodies, limits)
        for body, message in taken:
            outcome = message if isinstance(message, InvalidMessage) else next(applied, None)
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


def _take(
    bodies: Iterable[Body], limits: "_Limits", reading_seconds: float, most_messages: int
) -> Iterator[tuple[Body, _Message]]:
    """Take the messages for a transaction."""
    queues: dict[QueueName, list[Body]] = {}
    for body in bodies:
        body.is_taken = body.has_advanced = False
        queues.setdefault(body.queue, []).append(body)
    count = 0
    until = perf_counter() + reading_seconds
    for body, message in _in_turn([_of_queue(each, limits) for each in queues.values()]):
        if message is not None:
            count += 1
            yield body, message
        if count == most_messages or perf_counter() > until:
            break


def _of_queue(bodies: Iterable[Body], limits: "_Limits") -> Iterator[tuple[Body, _Message | None]]:
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
        while not body.open(limits):
            body.has_advanced = True
            yield body, None
        if body.error is not None:
            body.has_advanced = True
            yield body, None
        else:
            body.is_taken = True
            for message in body.take():
                yield body, message


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
    """How many messages keys may still send, counted down while their bodies are looked at."""

    def __init__(self, limits: RateLimits) -> None:
        self._limits = limits
        self._left: dict[str, int] = {}

    def refusal(self, key_id: str, cost: int) -> Refusal | None:
        """Why a body of so many messages is refused; None when it is not."""
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

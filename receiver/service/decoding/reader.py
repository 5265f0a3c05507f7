"""
Decodes the bodies of requests to registrations and heartbeats.

msgspec decodes JSON to the classes of the package `contract`, several times as fast as Python code
can. Then the rules of their fields, such as the range of a port, are checked. A message that fails
one of these two steps is decoded once more by `contract.loads`, whose errors say what is wrong.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Generic, Protocol, TypeVar, cast

import msgspec

from contract import (
    MOVING,
    Heartbeat,
    InvalidMessage,
    MalformedJSON,
    Problem,
    Registration,
    ServerRecord,
    loads,
    parse,
    repeats,
)
from contract.fields import Moment, ToolNames, rule_of
from contract.merging import repetition
from receiver.domain.outcomes import BodyKind
from receiver.service.decoding.checks import NOT_PLAIN, check_of_fields
from receiver.service.decoding.json_items import cut, is_too_deep
from receiver.service.decoding.known import Known

__all__ = [
    "MAX_BATCH_BYTES",
    "MAX_BATCH_SIZE",
    "MAX_MESSAGE_BYTES",
    "MAX_REGISTRATION_BYTES",
    "Found",
    "Items",
    "Messages",
    "Reader",
    "decode",
    "decode_batch",
]

MAX_MESSAGE_BYTES = 64 * 1024
MAX_REGISTRATION_BYTES = 512 * 1024
"""More than a heartbeat may have, because a registration describes the tools of its server."""
MAX_BATCH_BYTES = 1024 * 1024
MAX_BATCH_SIZE = 1000
"""How many heartbeats a batch may hold."""

T = TypeVar("T")
Decoded = tuple[T, ServerRecord | None]
"""
A message, and the record that the message `repeats`.

None if no record of its server was at hand, or the message differs from that.
"""

Found = Decoded[Heartbeat | Registration] | InvalidMessage
"""A message of a body, or what is wrong with an item of a batch that is none."""


class Messages(Protocol):
    """The messages of a body, where an InvalidMessage stands for each invalid item of a batch."""

    def __len__(self) -> int:
        """How many messages there are, invalid ones included."""

    def __iter__(self) -> Iterator[Found]:
        """The messages in the order of the body; each is decoded when the iterator reaches it."""


def decode(
    kind: BodyKind, body: bytes, known: Known | None = None
) -> Decoded[Heartbeat | Registration]:
    """Decode a body that is one message of this kind. Raises MalformedJSON and InvalidMessage."""
    if kind is BodyKind.HEARTBEAT:
        return _heartbeats.read(body, known)
    return _registrations.read(body)


def decode_batch(body: bytes, known: Known | None = None) -> Generator[None, None, Messages]:
    """
    Decode a list of heartbeats; an invalid item becomes an InvalidMessage.

    A generator that yields nothing but None, and returns the messages. A body that is not valid
    JSON is read in a slow way, and then the generator yields now and then, so that the caller can
    do something else in between. Raises MalformedJSON or InvalidMessage when the body as a whole is
    refused, because it is no list or has more than 1,000 items.
    """
    return _heartbeats.read_list(
        body, at_most=MAX_BATCH_SIZE, longest=MAX_MESSAGE_BYTES, known=known
    )


class Reader(Generic[T]):
    """
    Decodes messages of one class, Heartbeat or Registration.

    The result equals that of `contract.loads`, with one exception: a number too large for a
    float in an unknown field does not make an otherwise valid message invalid.
    """

    def __init__(self, kind: type[T]) -> None:
        self._kind = kind
        self._name = kind.__name__.lower()
        self._decode = msgspec.json.Decoder(kind).decode
        self._check = check_of_fields(kind)
        # Of two equal times, one may be written with another offset, and must be refused here; and
        # the names of tools in a record may be older than the limits of messages.
        self._check_moving = check_of_fields(
            kind,
            lambda name, type_: (
                name in MOVING - {"server_id"}
                or type_ == ToolNames
                or rule_of(type_) is rule_of(Moment)
            ),
        )

    def read(self, body: bytes, known: Known | None = None) -> Decoded[T]:
        """Decode a single message. Raises MalformedJSON and InvalidMessage."""
        if known is not None and (found := known.heartbeat(body)) is not None:
            return cast("Decoded[T]", found)
        if not _may_hold_nul(body) and _is_utf8(body):
            try:
                return self._quickly(body, known)
            except NOT_PLAIN:
                pass
        return loads(body, self._kind), None

    def read_list(
        self, body: bytes, *, at_most: int, longest: int, known: Known | None = None
    ) -> "Generator[None, None, Items[T]]":
        """
        Decode a list of messages; an item that is invalid or too long becomes an InvalidMessage.

        A generator that returns the messages. If the body is not valid JSON, but can be cut into
        items at least one of which is, the others become InvalidMessages. Finding that out is slow,
        and meanwhile the generator yields now and then. Raises MalformedJSON for any other body
        that is not JSON, and InvalidMessage for a body that is no list or has too many items.

        Args:
            body: A list in JSON.
            at_most: How many items the list may have.
            longest: How many bytes an item may have.
            known: What heartbeats may repeat; None for nothing.
        """
        items, is_valid = yield from self._items(body)
        if len(items) > at_most:
            problem = f"expected at most {at_most} {self._name}s, got {len(items)}"
            raise InvalidMessage([Problem("", problem)])
        may_be_plain = is_valid and not _may_hold_nul(body)

        def read(item: bytes | msgspec.Raw) -> Decoded[T] | InvalidMessage:
            if len(item) > longest:
                return InvalidMessage([Problem("", f"has more than {longest} bytes")])
            return self._message_or_error(item, known, may_be_plain=may_be_plain)

        return Items(items, read)

    def _items(
        self, body: bytes
    ) -> Generator[None, None, tuple[Sequence[bytes | msgspec.Raw], bool]]:
        """Cut a list into the JSON of its items; tell whether the list is valid JSON as a whole."""
        if _is_utf8(body):
            try:
                return _ITEMS(body), True
            except NOT_PLAIN:
                pass
        items = yield from cut(body)
        if items is None or not (yield from _any_is_json(items)):
            parse(body)
            raise InvalidMessage([Problem("", f"expected a list of {self._name}s")])
        return items, False

    def _quickly(self, body: bytes, known: Known | None) -> Decoded[T]:
        """Decode with msgspec. Raises an error of `NOT_PLAIN` if the message may be invalid."""
        message = self._decode(body)
        if known is not None and isinstance(message, Heartbeat):
            record = known.record(message.server_id)
            if record is not None and repeats(record, message):
                self._check_moving(message)
                known.remember(body, message, record)
                same = repetition(
                    record, message.sequence, message.timestamp, message.uptime_seconds
                )
                return cast("T", same), record
        self._check(message)
        return message, None

    def _message_or_error(
        self, item: bytes | msgspec.Raw, known: Known | None, *, may_be_plain: bool
    ) -> Decoded[T] | InvalidMessage:
        text = bytes(item)
        if may_be_plain:
            if known is not None and (found := known.heartbeat(text)) is not None:
                return cast("Decoded[T]", found)
            try:
                return self._quickly(text, known)
            except NOT_PLAIN:
                pass
        try:
            return loads(text, self._kind), None
        except InvalidMessage as error:
            refused = error
        except MalformedJSON as error:
            message = "is nested too deeply" if is_too_deep(text) else str(error)
            refused = InvalidMessage([Problem("", message)])
        # Through its frames, the traceback would keep the whole body in memory.
        refused.__traceback__ = refused.__cause__ = refused.__context__ = None
        return refused


class Items(Generic[T]):
    """
    The messages in a list. Each one is decoded when an iterator reaches it, and not before.

    Args:
        items: The JSON of each item.
        read: Decodes an item.
    """

    def __init__(
        self,
        items: Sequence[bytes | msgspec.Raw],
        read: Callable[[bytes | msgspec.Raw], Decoded[T] | InvalidMessage],
    ) -> None:
        self._items = items
        self._read = read

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Decoded[T] | InvalidMessage]:
        return map(self._read, self._items)


_ITEMS = msgspec.json.Decoder(list[msgspec.Raw]).decode


def _may_hold_nul(body: bytes) -> bool:
    """Whether a text in a body may contain the character NUL, which JSON writes as an escape."""
    return b"\\" in body and b"\\u0000" in body


def _is_utf8(body: bytes) -> bool:
    """Whether a body is UTF-8; msgspec does not check the values of fields that it skips."""
    if body.isascii():
        return True
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def _any_is_json(texts: Sequence[bytes]) -> Generator[None, None, bool]:
    """Whether one of the texts is JSON; yields after each one that is not."""
    for text in texts:
        if _is_json(text):
            return True
        yield
    return False


def _is_json(text: bytes) -> bool:
    """Whether a text is JSON, however deeply it is nested."""
    try:
        parse(text)
    except MalformedJSON:
        return is_too_deep(text)
    return True


_heartbeats = Reader(Heartbeat)
_registrations = Reader(Registration)

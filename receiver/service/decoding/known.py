"""
Heartbeats whose bytes are those of the last ones of their servers, but for numbers and times.

A server sends nearly the same bytes again and again: only `sequence`, `timestamp` and
`uptime_seconds` change. So what the other bytes of a heartbeat say is kept, if it is what the
record of its server says. When these bytes come again, only the three members are decoded.

That gives what decoding all of it would give. The bytes before a member decide where in the JSON it
stands, so it stands there again; and when the bytes are kept, it is tried out that the values of
these members there become those of the heartbeat, and that nothing else depends on them.

What a heartbeat begins with is kept as its hash, which takes a third of the memory. Python's hash
has 64 bits and a key that is random in each process (unless PYTHONHASHSEED sets it): that other
bytes have the same hash is less likely than that the memory errs, and nobody can make such bytes.
"""

import re
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any, NamedTuple

import msgspec
from attrs import evolve

from contract import Heartbeat, InvalidMessage, ServerRecord
from contract.fields import Moment, Ordinal, Seconds
from contract.merging import description, repetition
from receiver.service.decoding.checks import NOT_PLAIN, Check, check_of

__all__ = ["Known"]


class _Number(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """The member of a heartbeat that counts the messages of its sender."""

    sequence: int


class _Times(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """The members of a heartbeat that tell times."""

    timestamp: datetime
    uptime_seconds: float


class _Words(NamedTuple):
    """
    What stands in a heartbeat after its beginning, beside the members that change.

    Attributes:
        between: The bytes between `sequence` and `timestamp`; empty without a `sequence`.
        tail: The bytes after `uptime_seconds`.
        server_id: The server that the whole heartbeat is of.
        description: What it says of it, as `contract.merging.description`.
        size: About how many bytes of memory all of that takes at most.
        patience: How often other bytes must come after the same beginning until these are kept.
    """

    between: bytes
    tail: bytes
    server_id: str
    description: tuple[Any, ...]
    size: int
    patience: int


class _Waiting(NamedTuple):
    """
    A beginning of heartbeats of which the rest is not kept, since it may not come again.

    Attributes:
        left: How many heartbeats must come with it until the rest is kept.
        patience: How many those were at first.
    """

    left: int
    patience: int


class _Sample(NamedTuple):
    """Values of the members that change, to try out whether they are those of a heartbeat."""

    sequence: int
    timestamp: datetime
    uptime_seconds: float

    def fits(self, heartbeat: Heartbeat, head: bytes, between: bytes, tail: bytes) -> bool:
        """
        Whether a heartbeat with these bytes, and these values between them, has these values.

        In all else it must equal `heartbeat`. Raises InvalidMessage, or an error of `NOT_PLAIN`.
        """
        sequence, at, uptime = self
        number = b'"sequence":%d' % sequence + between if between else b""
        times = b'"timestamp":"%b","uptime_seconds":%f' % (at.isoformat().encode(), uptime)
        expected = evolve(
            heartbeat,
            sequence=sequence if between else None,
            timestamp=at,
            uptime_seconds=uptime,
        )
        return _decode(b"".join((head, number, times, tail))) == expected


class Known:
    """
    What is known of servers before their heartbeats are decoded: their records, and bytes.

    Not to be used by several threads at once.

    Args:
        record: Returns a record of the server with an id if one is at hand, even an old one. A
            heartbeat mostly repeats the record of its server. As the values of a record were
            checked when they came, they need not be checked again, but for the names of tools, of
            which older versions took more.
        max_bytes: About how many bytes of memory all of that may take at most; it is half of it, as
            long as the texts are those of cached records, too. Then no further bytes are kept, and
            some time later all are dropped.
    """

    def __init__(
        self, record: Callable[[str], ServerRecord | None], *, max_bytes: int = 128 * 2**20
    ) -> None:
        self.record = record
        self._words: dict[int, _Words | _Waiting] = {}
        self._bytes = 0
        self._max_bytes = max_bytes
        self._refused = 0

    def heartbeat(self, body: bytes) -> tuple[Heartbeat, ServerRecord] | None:
        """
        Decode a heartbeat whose bytes are known, and which repeats the record of its server.

        Returns the heartbeat and the record. None if the bytes are not known, if the record says
        something else now, or if the heartbeat may be invalid.
        """
        start = body.find(_SEQUENCE)
        is_numbered = start >= 0
        if not is_numbered:
            start = body.rfind(_TIMESTAMP)
        words = self._words.get(hash(body[:start]))
        if not isinstance(words, _Words) or not body.endswith(words.tail):
            return None
        between, tail, server_id, described, _, _ = words
        if is_numbered != bool(between):
            return None
        sequence = None
        try:
            if is_numbered:
                end = body.index(between, start)
                sequence = _number(b"{%b}" % body[start:end]).sequence
                _check_ordinal(sequence)
                start = end + len(between)
            times = _times(b"{%b}" % body[start : -len(tail)])
            _check_moment(times.timestamp)
            _check_seconds(times.uptime_seconds)
        except NOT_PLAIN:
            return None
        record = self.record(server_id)
        if record is None or description(record) != described:
            return None
        return repetition(record, sequence, times.timestamp, times.uptime_seconds), record

    def remember(self, body: bytes, heartbeat: Heartbeat, record: ServerRecord) -> None:
        """
        Keep the bytes of a heartbeat that repeats a record, if some came that begin like it.

        They are not kept if the members that change do not stand in the order in which the package
        `client` writes them.
        """
        numbered = body.find(_SEQUENCE)
        start = body.rfind(_TIMESTAMP) if numbered < 0 else numbered
        head = body[:start]
        place = hash(head)
        patience = self._patience_of(place)
        if patience is None:
            return
        found = (_TIMES_ALONE if numbered < 0 else _NUMBER_AND_TIMES).match(body, max(start, 0))
        if found is None or not _is_understood(body, head, found, heartbeat):
            self._keep(place, _Waiting(_MOST_PATIENCE, patience))
            return
        size = len(body) + _OTHER_BYTES + _NAME_BYTES * len(heartbeat.capabilities or ())
        words = _Words(
            found["between"],
            body[found.end() :],
            record.server_id,
            description(record),
            size,
            patience,
        )
        self._keep(place, words)

    def _patience_of(self, place: int) -> int | None:
        """
        The `patience` of bytes whose beginning came often enough; None if it did not.

        To keep bytes takes three times as long as to decode a heartbeat. So it is done when their
        server has sent some; and after bytes that were kept and did not come again, when it has
        sent four times as many, as it may tell more that always changes.
        """
        known = self._words.get(place)
        if isinstance(known, _Waiting) and known.left <= 1:
            return known.patience
        if known is None:
            waiting = _Waiting(_FIRST_PATIENCE, _FIRST_PATIENCE)
        elif isinstance(known, _Waiting):
            waiting = _Waiting(known.left - 1, known.patience)
        else:
            patience = min(4 * known.patience, _MOST_PATIENCE)
            waiting = _Waiting(patience, patience)
        self._keep(place, waiting)
        return None

    def _keep(self, place: int, words: _Words | _Waiting) -> None:
        grown = self._bytes + _size(words) - _size(self._words.get(place))
        if grown <= self._max_bytes:
            self._words[place] = words
            self._bytes = grown
            return
        self._refused += 1
        if self._refused > _REFUSALS * len(self._words):  # many of those may come no more
            self._words.clear()
            self._bytes = self._refused = 0


def _is_understood(body: bytes, head: bytes, found: re.Match[bytes], heartbeat: Heartbeat) -> bool:
    """Whether the members that change are where a pattern has found them in a heartbeat."""
    between, tail = found["between"], body[found.end() :]
    try:
        return all(each.fits(heartbeat, head, between, tail) for each in _SAMPLES)
    except (*NOT_PLAIN, InvalidMessage):
        return False


def _size(words: _Words | _Waiting | None) -> int:
    if words is None:
        return 0
    return words.size if isinstance(words, _Words) else _WAITING_BYTES


_FIRST_PATIENCE, _MOST_PATIENCE = 4, 256
_REFUSALS = 10
_OTHER_BYTES, _WAITING_BYTES = 400, 200
"""About how many bytes Python takes for one `_Words` without its texts, and for one `_Waiting`."""
_NAME_BYTES = 64
"""About how many bytes Python takes for the name of a tool, besides its characters."""

_SEQUENCE, _TIMESTAMP = b'"sequence"', b'"timestamp"'
_TIMES_THERE = rb'"timestamp"\s*:\s*"[^"\\]*"\s*,\s*"uptime_seconds"\s*:\s*[-+.0-9eE]+'
_TIMES_ALONE = re.compile(rb"(?P<between>)" + _TIMES_THERE)
_NUMBER_AND_TIMES = re.compile(
    rb'"sequence"\s*:\s*[0-9]+(?P<between>\s*,(?:.*,)?\s*)' + _TIMES_THERE, re.DOTALL
)
_SAMPLES = (
    _Sample(7, datetime(2001, 2, 3, tzinfo=timezone.utc), 8.5),
    _Sample(9, datetime(2002, 3, 4, tzinfo=timezone.utc), 0.25),
)
"""Two without a common value, as a heartbeat may say one of them at another place, too."""

_decode = msgspec.json.Decoder(Heartbeat).decode
_number = msgspec.json.Decoder(_Number).decode
_times = msgspec.json.Decoder(_Times).decode


def _needed(check: Check | None) -> Check:
    assert check is not None
    return check


_check_ordinal, _check_moment, _check_seconds = (
    _needed(check_of(each)) for each in (Ordinal, Moment, Seconds)
)

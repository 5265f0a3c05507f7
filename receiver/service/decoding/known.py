"""
Heartbeats whose bytes are those of the last ones of their servers, but for numbers and times.

A server sends nearly the same bytes again and again: only `sequence`, `timestamp` and
`uptime_seconds` change. So it is kept what the other bytes of a heartbeat say that repeats the
record of its server. When they come again, only these three are decoded.

That gives what decoding all of it would give. The bytes before a member decide where in the JSON it
stands, so it stands there again; and when the bytes are kept, it is tried out that the values of
these members there become those of the heartbeat, and that nothing else depends on them.

What a heartbeat begins with is kept as its hash, which takes a third of the memory. Python's hash
has 64 bits and a secret key: that other bytes have the same is less likely than that the memory
errs, and nobody can make such bytes.
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
    """

    between: bytes
    tail: bytes
    server_id: str
    description: tuple[Any, ...]
    size: int


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
        max_bytes: About how many bytes of memory the known heartbeats may take at most; half of it,
            as long as their texts are those of cached records, too. If they would take more, all
            are dropped.
    """

    def __init__(
        self, record: Callable[[str], ServerRecord | None], *, max_bytes: int = 128 * 2**20
    ) -> None:
        self.record = record
        self._words: dict[int, _Words] = {}
        self._bytes = 0
        self._max_bytes = max_bytes
        self._seen: set[int] = set()

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
        if words is None or not body.endswith(words.tail):
            return None
        between, tail, server_id, described, _ = words
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
        Keep the bytes of a heartbeat that repeats a record, from the second time that they come.

        Does nothing if the members that change do not stand in the order in which the package
        `client` writes them.
        """
        numbered = body.find(_SEQUENCE)
        start = body.rfind(_TIMESTAMP) if numbered < 0 else numbered
        head = body[:start]
        if self._is_new(hash(head)):
            return
        found = (_TIMES_ALONE if numbered < 0 else _NUMBER_AND_TIMES).match(body, max(start, 0))
        if found is None:
            return
        between, tail = found["between"], body[found.end() :]
        try:
            is_understood = all(each.fits(heartbeat, head, between, tail) for each in _SAMPLES)
        except (*NOT_PLAIN, InvalidMessage):
            return
        if is_understood:
            size = len(body) + _OTHER_BYTES
            self._keep(
                hash(head), _Words(between, tail, record.server_id, description(record), size)
            )

    def _keep(self, head: int, words: _Words) -> None:
        known = self._words.get(head)
        self._bytes += words.size - (known.size if known else 0)
        if self._bytes > self._max_bytes:
            self._words.clear()
            self._bytes = words.size
        self._words[head] = words

    def _is_new(self, head: int) -> bool:
        """Whether a heartbeat with this hash comes for the first time: most never come again."""
        if head in self._seen:
            self._seen.discard(head)
            return False
        if len(self._seen) >= self._max_bytes // _OTHER_BYTES:
            self._seen.clear()
        self._seen.add(head)
        return True


_SEQUENCE, _TIMESTAMP = b'"sequence"', b'"timestamp"'
_TIMES_THERE = rb'"timestamp"\s*:\s*"[^"\\]*"\s*,\s*"uptime_seconds"\s*:\s*[-+.0-9eE]+'
_TIMES_ALONE = re.compile(rb"(?P<between>)" + _TIMES_THERE)
_NUMBER_AND_TIMES = re.compile(
    rb'"sequence"\s*:\s*[0-9]+(?P<between>\s*,(?:.*,)?\s*)' + _TIMES_THERE, re.DOTALL
)
_OTHER_BYTES = 400
"""About how many bytes Python takes for one `_Words`, besides those of its texts."""

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

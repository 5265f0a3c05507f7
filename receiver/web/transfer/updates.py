"""
Updates of an open page, which hold only those parts of its HTML that the browser does not have.

The server renders a page as if it was opened, and cuts its HTML into blocks: each begins with a
line in which an element has a key or an id, such as the row of a server. A browser names the blocks
that it has by their digests, and puts the page together of these and of the ones that are new. So
the server need not remember what it has sent, and no page has to be written with updates in mind.
"""

import re
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from datetime import datetime
from hashlib import blake2b
from itertools import pairwise

import orjson
from attrs import frozen

from receiver.domain.instants import microseconds

__all__ = ["HEADER", "Known"]

HEADER = "Fleet-Blocks"
"""The name of the request header that says which blocks the browser has."""

_DIGEST_CHARACTERS = 8
_MOST_BLOCKS = 200
_LONGEST_HEADER = 8 * _DIGEST_CHARACTERS * _MOST_BLOCKS


@frozen
class Known:
    """
    The blocks that a browser has, as its request says.

    Attributes:
        salt: A random text that the browser has chosen. The digests depend on it, so that nobody
            else can make up a block that has the digest of another one.
        places: By the digest of each block, its position in the request, from 0 on.
    """

    salt: bytes
    places: Mapping[str, int]

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> "Known | None":
        """Read the header of a request; None, for a whole page, if it is missing or malformed."""
        text = headers.get(HEADER, "")
        if len(text) > _LONGEST_HEADER or not _is_well_formed(text):
            return None
        salt, *digests = [
            text[n : n + _DIGEST_CHARACTERS] for n in range(0, len(text), _DIGEST_CHARACTERS)
        ]
        return cls(salt.encode(), {digest: place for place, digest in enumerate(digests)})

    def update(self, page: bytes, *, token: bytes, owner: bytes, now: datetime) -> bytes:
        """
        Return, as JSON, what the browser needs to make the page from the blocks that it has.

        The JSON object holds the server's time (`now`, in milliseconds since 1970) and the `blocks`
        of the page in their order. An item `[digest, text]` is a new block. An item
        `[place, count]` stands for `count` blocks that the browser has: those that its request
        lists from the position `place` on.

        Args:
            page: The HTML of the page.
            token: The CSRF token in the page, which is another text in each answer.
            owner: The random value of the browser from which the token is derived. Digests are
                computed with this value in the place of the token. So a block with a token is the
                same in all answers to one browser, and another one for another browser.
            now: The time of the page.
        """
        blocks: list[list[str | int]] = []
        for block in _grouped([*_cut(page)]):
            digest = self._digest(block.replace(token, owner))
            place = self.places.get(digest)
            if place is None:
                blocks.append([digest, block.decode()])
            elif blocks and _goes_on(blocks[-1], place):
                blocks[-1][1] = int(blocks[-1][1]) + 1
            else:
                blocks.append([place, 1])
        return orjson.dumps({"now": microseconds(now) // 1000, "blocks": blocks})

    def _digest(self, block: bytes) -> str:
        digest = blake2b(block, digest_size=6, key=self.salt).digest()
        return urlsafe_b64encode(digest).decode()


def _goes_on(run: list[str | int], place: int) -> bool:
    """Whether a place in the request is the next one after those of a run `[place, count]`."""
    first, count = run
    return isinstance(first, int) and isinstance(count, int) and first + count == place


def _cut(page: bytes) -> list[bytes]:
    """Cut a page before each line in which an element has a key or an id."""
    starts = [found.start() for found in _begins.finditer(page)]
    places = sorted({0, *starts, len(page)})
    return [page[start:end] for start, end in pairwise(places)]


def _grouped(blocks: list[bytes]) -> list[bytes]:
    """
    Join neighbours if there are so many blocks that their digests would not fit into a header.

    A group ends with a block whose hash is a multiple of a certain number. So the other groups stay
    the same when a block is added or removed.
    """
    if len(blocks) <= _MOST_BLOCKS:
        return blocks
    share = 1 << (2 * len(blocks) // _MOST_BLOCKS).bit_length()
    groups, group = [], b""
    for block in blocks:
        group += block
        if int.from_bytes(blake2b(block, digest_size=4).digest()) % share == 0:
            groups.append(group)
            group = b""
    return [*groups, group]


_begins = re.compile(rb'^[^\n]*? (?:data-key|id)="', re.MULTILINE)
_is_well_formed = re.compile(r"(?:[A-Za-z0-9_-]{8})+").fullmatch

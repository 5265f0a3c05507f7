"""Cursors: the places where the next pages of lists begin, as texts that are opaque to clients."""

import base64
from typing import Any, TypeGuard

import orjson

from receiver.domain.queries import Order, Place

__all__ = ["read_cursor", "read_event_cursor", "write_cursor", "write_event_cursor"]


def write_cursor(order: Order, after: Place) -> str:
    """The cursor of a place in a list of servers."""
    return _encode([order.value, *after])


def read_cursor(text: str) -> tuple[Order, Place]:
    """The order of the list and the place that a cursor was written for. Raises ValueError."""
    try:
        match _decode(text):
            case [str(order), str(server_id), moment] if "\x00" not in server_id:
                found = Order(order)
                if found.field == "server_id" and moment is None:
                    return found, Place(server_id)
                if found.field != "server_id" and _fits_bigint(moment):
                    return found, Place(server_id, moment)
    except ValueError:
        pass
    raise ValueError(_NO_CURSOR)


def write_event_cursor(before: int) -> str:
    """The cursor of a place in a list of events: before the event with this number."""
    return _encode([before])


def read_event_cursor(text: str) -> int:
    """The number that a cursor of a list of events was written for. Raises ValueError."""
    try:
        match _decode(text):
            case [before] if _fits_bigint(before) and before > 0:
                return before
    except ValueError:
        pass
    raise ValueError(_NO_CURSOR)


def _encode(parts: list[Any]) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(parts)).decode()


def _decode(text: str) -> object:
    return orjson.loads(base64.b64decode(text.encode(), altchars=b"-_", validate=True))


def _fits_bigint(value: object) -> TypeGuard[int]:
    """Whether a value is a whole number that a BIGINT column can be compared with."""
    return type(value) is int and abs(value) < 2**63


_NO_CURSOR = "expected the next_cursor of an earlier answer"

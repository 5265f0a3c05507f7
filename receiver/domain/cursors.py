"""Pagination cursors: strings, opaque to clients, that say where the next page of a list begins."""

import base64
from typing import Any, TypeGuard

import orjson

from contract.fields import format_moment, parse_moment
from receiver.domain.agents.registry import EntryFilter, EntryPlace
from receiver.domain.queries import Order, Place, ToolPlace, Walk

__all__ = [
    "read_cursor",
    "read_event_cursor",
    "read_registry_cursor",
    "read_tool_cursor",
    "write_cursor",
    "write_event_cursor",
    "write_registry_cursor",
    "write_tool_cursor",
]


def write_cursor(order: Order, after: Place) -> str:
    """
    Encode the cursor for a page of a list of servers with a certain order.

    The page begins after the place `after`, or ends at it if `after.is_end` is true.
    """
    name = f"{_ENDS}{order.value}" if after.is_end else order.value
    if after.heard_after is not None:
        return _encode([name, after.server_id, None, after.heard_after])
    return _encode([name, after.server_id, after.moment, *(after.walk or ())])


def read_cursor(text: str) -> tuple[Order, Place]:
    """
    Decode a cursor of a list of servers.

    Returns the order of the list, and the place after which the page begins; the page ends at this
    place if its `is_end` is true. Raises ValueError when the text is no such cursor.
    """
    try:
        match _decode(text):
            case [str(order), str(server_id), *rest] if "\x00" not in server_id:
                found = Order(order.removeprefix(_ENDS))
                place = _place(found, server_id, rest)
                return found, place._replace(is_end=order.startswith(_ENDS))
    except ValueError:
        pass
    raise ValueError(_NO_CURSOR)


def _place(order: Order, server_id: str, rest: list[Any]) -> Place:
    match rest:
        case [None] if order.field == "server_id":
            return Place(server_id)
        case [moment] if order.field != "server_id" and _fits_bigint(moment):
            return Place(server_id, moment)  # of an older version, whose cursors had no `Walk`
        case [None, heard_after] if order.is_moving and _fits_bigint(heard_after):
            return Place(server_id, heard_after=heard_after)
        case [*numbers] if (
            order.is_moving and len(numbers) == 3 and all(map(_fits_bigint, numbers))
        ):
            moment, *walk = numbers
            if _fits_bigint(Walk(*walk).settled):
                return Place(server_id, moment, Walk(*walk))
    raise ValueError(_NO_CURSOR)


def write_event_cursor(before: int) -> str:
    """Encode the cursor for the page with the newest events whose numbers are below `before`."""
    return _encode([before])


def read_event_cursor(text: str) -> int:
    """
    Decode a cursor of a list of events, which is read from the newest event to the oldest.

    Returns a number: the page contains the newest events whose numbers are lower. Raises ValueError
    when the text is no such cursor.
    """
    try:
        match _decode(text):
            case [before] if _fits_bigint(before) and before > 0:
                return before
    except ValueError:
        pass
    raise ValueError(_NO_CURSOR)


def write_tool_cursor(place: ToolPlace) -> str:
    """Encode the cursor for the page of tools that begins at a place."""
    return _encode(["tools", *place])


def read_tool_cursor(text: str) -> ToolPlace:
    """
    Decode a cursor of a list of tools; returns the place at which the page begins.

    Raises ValueError when the text is no such cursor.
    """
    try:
        match _decode(text):
            case ["tools", after, bool(is_near), bool(has_found)] if _fits_bigint(after):
                return ToolPlace(after, is_near, has_found)
    except ValueError:
        pass
    raise ValueError(_NO_CURSOR)


def write_registry_cursor(matching: EntryFilter, place: EntryPlace) -> str:
    """
    Encode the cursor for the page of the MCP registry that begins right after a place.

    The cursor contains the filter of the list, without `name`, which only one entry can match:
    clients leave out parts of the filter when they ask for the next page. The cursor needs no
    escapes in a URL, because clients put it into one as it is.
    """
    since = matching.updated_since and format_moment(matching.updated_since)
    parts = [place.after, matching.text, matching.version, since, matching.with_gone]
    # A cursor among the servers is as it was before there were tombstones.
    return _encode([*parts, True] if place.is_of_tombstones else parts).rstrip("=")


def read_registry_cursor(text: str) -> tuple[EntryFilter, EntryPlace]:
    """
    Decode a cursor of the MCP registry.

    Returns the filter of the list, and the place after which the page begins: after the entry of a
    server, or after a tombstone. Raises ValueError when the text is no such cursor.
    """
    try:
        match _decode(text + "=" * (-len(text) % 4)):
            case [
                str(after),
                str() | None as found,
                str() | None as version,
                str() | None as since,
                bool(with_gone),
                *rest,
            ] if rest in ([], [True]) and not any(
                "\x00" in each for each in (after, found or "", version or "")
            ):
                matching = EntryFilter(
                    text=found,
                    version=version,
                    updated_since=None if since is None else parse_moment(since),
                    with_gone=with_gone,
                )
                return matching, EntryPlace(after, bool(rest))
    except (ValueError, OverflowError):
        pass
    raise ValueError("expected the nextCursor of an earlier answer")


def _encode(parts: list[Any]) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(parts)).decode()


def _decode(text: str) -> object:
    return orjson.loads(base64.b64decode(text.encode(), altchars=b"-_", validate=True))


def _fits_bigint(value: object) -> TypeGuard[int]:
    """Whether a value is an int, and no bool, that fits into a BIGINT column."""
    return type(value) is int and abs(value) < 2**63


_ENDS = "<"
"""Stands before the order in the cursor of a page that ends at a place."""

_NO_CURSOR = "expected the next_cursor of an earlier answer"

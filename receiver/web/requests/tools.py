"""The query parameters of lists of tools, and of the comparison of two servers."""

import re
from functools import partial

from attrs import frozen
from starlette.requests import Request

from contract import Problem
from receiver.domain.cursors import read_tool_cursor
from receiver.domain.errors import Refusal
from receiver.domain.inventory.tools import ORDERS
from receiver.domain.queries import ALL_SERVERS, FIRST_TOOLS, Filter, ToolPlace
from receiver.web.requests.filters import FILTERS, LIST_PARAMETERS, filter_of
from receiver.web.requests.parameters import (
    DEFAULT_LIMIT,
    MAX_SEARCH_BYTES,
    Parameter,
    read_flag,
    read_limit,
    read_parameters,
    read_text,
)

__all__ = [
    "CompareQuery",
    "OfferedQuery",
    "ToolQuery",
    "compare_query",
    "offered_query",
    "tool_query",
]


@frozen(kw_only=True)
class ToolQuery:
    """
    The query parameters of a search for tools.

    Attributes:
        search: What the tools are to be able to do, in words, such as `confirm a sale order`.
        place: Where the page begins, from the cursor.
        matching: Only tools of servers that match this filter.
    """

    search: str
    place: ToolPlace = FIRST_TOOLS
    matching: Filter = ALL_SERVERS


@frozen(kw_only=True)
class OfferedQuery:
    """
    The query parameters of the list of all tools of the fleet.

    Attributes:
        name: The name of the only tool to answer with, in detail; None for the list.
        search: Only tools with these words; all tools if it is empty.
        differs: Whether to list only tools that servers describe in different ways.
        order: The order of the list, one of `receiver.domain.inventory.tools.ORDERS`.
        limit: How many tools to return at most, 1 to 1,000.
        skipped: How many tools of the list come before the page, from the cursor; 0 for the first
            page.
    """

    name: str | None = None
    search: str = ""
    differs: bool = False
    order: str = ORDERS[0]
    limit: int = DEFAULT_LIMIT
    skipped: int = 0


@frozen(kw_only=True)
class CompareQuery:
    """
    The query parameters of a comparison: the ids of two servers.

    Attributes:
        a: The id of the first server; empty if it is missing.
        b: The id of the second server; empty if it is missing.
    """

    a: str = ""
    b: str = ""


def tool_query(request: Request) -> ToolQuery:
    """
    Read what to search tools for, and on which servers.

    Raises Refusal (400), which lists all parameters that are wrong, or says that the text to search
    for is missing.
    """
    found = read_parameters(request, _TOOLS)
    if "search" not in found:
        problem = Problem("search", "is missing; it says what a tool is to do, in words")
        raise Refusal(400, "invalid_parameter", str(problem), errors=[problem])
    return ToolQuery(matching=filter_of(found), **found)


def offered_query(request: Request) -> OfferedQuery:
    """
    Read the query parameters of the list of all tools of the fleet, or of one of these tools.

    Raises Refusal (400), which lists all parameters that are wrong.
    """
    return OfferedQuery(**read_parameters(request, _OFFERED))


def compare_query(request: Request, *, needs_both: bool = True) -> CompareQuery:
    """
    Read which two servers are compared.

    Raises Refusal (400), which lists all parameters that are wrong. If it `needs_both`, it also
    raises Refusal for ids that are missing; otherwise these are empty in the result.
    """
    found = CompareQuery(**read_parameters(request, _COMPARE))
    problems = [Problem(name, _NEEDS_ID) for name in ("a", "b") if not getattr(found, name)]
    if needs_both and problems:
        detail = "; ".join(map(str, problems))
        raise Refusal(400, "invalid_parameter", detail, errors=problems)
    return found


def _order_of_tools(text: str) -> str:
    if text not in ORDERS:
        raise ValueError(f"expected one of {', '.join(ORDERS)}")
    return text


def _skipped(text: str) -> int:
    if not _is_place(text):
        raise ValueError("expected the next_cursor of an earlier answer")
    return int(text)


_is_place = re.compile("[1-9][0-9]{0,8}").fullmatch
_TOOLS: dict[str, Parameter] = {
    "search": ("search", partial(read_text, at_most=MAX_SEARCH_BYTES)),
    "cursor": ("place", read_tool_cursor),
    **{name: LIST_PARAMETERS[name] for name in (*FILTERS, "query")},
}
_OFFERED: dict[str, Parameter] = {
    "name": ("name", read_text),
    "search": ("search", partial(read_text, at_most=MAX_SEARCH_BYTES)),
    "differs": ("differs", read_flag),
    "sort": ("order", _order_of_tools),
    "limit": ("limit", read_limit),
    "cursor": ("skipped", _skipped),
}
_COMPARE: dict[str, Parameter] = {name: (name, read_text) for name in ("a", "b")}
_NEEDS_ID = "is missing; it is the server_id of a server"

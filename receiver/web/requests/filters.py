"""The query parameters that say which servers: of lists, counts, files, walls and badges."""

from functools import partial
from typing import Any

from attrs import evolve, frozen
from starlette.requests import Request

from contract import Problem, State
from receiver.domain.agents.client_files import Client
from receiver.domain.cursors import read_cursor
from receiver.domain.errors import Refusal
from receiver.domain.filter_text import MOST_WORDS, FilterText
from receiver.domain.lists.breakdown import FACETS
from receiver.domain.queries import ALL_SERVERS, NODE, SUPERSEDED, Filter, Grouping, Order, Place
from receiver.web.requests.parameters import (
    DEFAULT_LIMIT,
    MAX_SEARCH_BYTES,
    Parameter,
    read_flag,
    read_limit,
    read_one_of,
    read_parameters,
    read_text,
)

__all__ = [
    "ALL_STATES",
    "FILTERS",
    "FILTER_NAMES",
    "LIST_PARAMETERS",
    "FacetQuery",
    "ListQuery",
    "badge_filter",
    "connection_query",
    "facet_query",
    "filter_of",
    "list_query",
    "read_filter",
    "read_words",
    "wall_query",
]


@frozen(kw_only=True)
class ListQuery:
    """
    The query parameters of a list of servers.

    Attributes:
        limit: How many servers to return at most, 1 to 1,000.
        after: From the cursor, the position in the list after which the page begins, or at which it
            ends if its `is_end` is true; None for the first page.
        matching: The filters.
        order: The order of the list.
        total: Whether to count all servers that match, for which the database must scan them.
    """

    limit: int = DEFAULT_LIMIT
    after: Place | None = None
    matching: Filter = ALL_SERVERS
    order: Order = Order.SERVER_ID
    total: bool = False


@frozen(kw_only=True)
class FacetQuery:
    """
    The query parameters of `GET /facets`, which counts servers by their stage, version and so on.

    Attributes:
        limit: How many values of a name to return at most, 1 to 1,000; the most frequent ones.
        names: The names whose values to count, such as `stage`; all names if it is empty.
        find: Only values that contain this text, ignoring case; all values if it is empty.
        matching: Only servers that match this filter.
    """

    limit: int = DEFAULT_LIMIT
    names: frozenset[str] = frozenset()
    find: str = ""
    matching: Filter = ALL_SERVERS


def list_query(request: Request) -> ListQuery:
    """
    Read the query parameters of a list of servers.

    Raises Refusal (400), which lists all parameters that are wrong.
    """
    found = read_parameters(request, LIST_PARAMETERS)
    matching = filter_of(found)
    order = found.setdefault("order", Order.SERVER_ID)
    order_of_cursor, found["after"] = found.pop("after", (order, None))
    if order_of_cursor is not order:
        problem = Problem("cursor", "is of a list in another order")
        raise Refusal(400, "invalid_parameter", str(problem), errors=[problem])
    return ListQuery(matching=matching, **found)


def facet_query(request: Request) -> FacetQuery:
    """
    Read the query parameters of `GET /facets`, which counts servers by their values.

    Raises Refusal (400), which lists all parameters that are wrong.
    """
    found = read_parameters(request, _FACETS)
    return FacetQuery(matching=filter_of(found), **found)


def badge_filter(request: Request, *, allows_query: bool) -> tuple[Filter, str]:
    """
    Read from the query which servers a badge is about, and the text on its left side.

    Returns the filter, and the text, which is empty if the query has none. Raises Refusal (400),
    which lists all parameters that are wrong. The parameter `query`, which holds the filter, is
    wrong unless `allows_query`.

    Its words are not searched in labels and notes: the address of a badge is known to many, who
    could otherwise find out by trial what a note says.
    """
    found = read_parameters(request, _BADGE if allows_query else _BADGE_OF_ONE)
    matching: Filter = evolve(found.get("written", ALL_SERVERS), in_notes=False)
    return matching, found.get("label", "")


def filter_of(found: dict[str, Any]) -> Filter:
    """
    Remove the parameters that are filters from `found`, and return them as a Filter.

    The parameter `query` holds several filters as one text. Raises Refusal (400) if there is
    another filter beside it, or if there are more than `MOST_WORDS` words.
    """
    beside = [name for name, key in FILTERS.items() if key in found]
    by_key = {key: found.pop(key) for key in FILTERS.values() if key in found}
    written: Filter | None = found.pop("written", None)
    problem: Problem | None = None
    if written is not None and beside:
        problem = Problem("query", f"cannot stand beside {', '.join(beside)}: write these in it")
    elif len(by_key.get("words", ())) > MOST_WORDS:
        problem = Problem("q", f"expected {MOST_WORDS} different texts at most")
    if problem is not None:
        raise Refusal(400, "invalid_parameter", str(problem), errors=[problem])
    return Filter(**by_key) if written is None else written


def connection_query(request: Request, *, allows_filters: bool) -> tuple[Client, Filter]:
    """
    Read which MCP client a configuration file is for, and which servers it is to contain.

    Raises Refusal (400), which lists all parameters that are wrong, or says that the client is
    missing. If `allows_filters` is False, each filter of the query is wrong.
    """
    found = read_parameters(request, _CONNECTIONS if allows_filters else _CONNECTION)
    if "client" not in found:
        names = ", ".join(each.value for each in Client)
        problem = Problem("client", f"is missing; it is one of {names}")
        raise Refusal(400, "invalid_parameter", str(problem), errors=[problem])
    return found.pop("client"), filter_of(found)


def wall_query(request: Request) -> tuple[Filter, Grouping]:
    """
    Read which servers the wallboard shows, and by which field it groups them: by stage by default.

    Raises Refusal (400), which lists all parameters that are wrong.
    """
    found = read_parameters(request, _WALL)
    by: Grouping = found.pop("by", Grouping.STAGE)
    return found.get("written", ALL_SERVERS), by


ALL_STATES = (*(state.value for state in State), SUPERSEDED, NODE)
"""What the filter `state` may name."""


def _states(text: str) -> frozenset[str]:
    states = frozenset(text.split(","))
    if not states.issubset(ALL_STATES):
        raise ValueError(f"expected one of {', '.join(ALL_STATES)}, or several with commas")
    return states


def _facet(text: str) -> str:
    if text not in FACETS:
        raise ValueError(f"expected one of {', '.join(FACETS)}")
    return text


def _network(text: str) -> frozenset[str]:
    return frozenset(FilterText.parse(f'network:"{read_text(text, at_most=100)}"').network)


def _value(text: str) -> frozenset[str]:
    return frozenset({read_text(text)})


def _label(text: str) -> frozenset[str]:
    return frozenset({read_text(text).lower()})


def read_words(text: str) -> frozenset[str]:
    """A set with a text that servers are searched for; empty for "", which all contain."""
    return frozenset({read_text(text, at_most=MAX_SEARCH_BYTES)} - {""})


def read_filter(text: str) -> Filter:
    """The filter that the search box of the list makes of a text. Raises ValueError."""
    return FilterText.asked(read_text(text)).to_filter()


FILTERS = {
    "state": "state",
    "stage": "stage",
    "database": "database",
    "version": "version",
    "odoo_version": "odoo_version",
    "capability": "capability",
    "server_id": "server_id",
    "network": "network",
    "key": "key",
    "label": "label",
    "q": "words",
}
"""The query parameters that are filters; for each the attribute of `Filter` that it sets."""

FILTER_NAMES = tuple(FILTERS)
"""The names of the query parameters that are filters, but for `query`, which holds several."""

LIST_PARAMETERS: dict[str, Parameter] = {
    "limit": ("limit", read_limit),
    "cursor": ("after", read_cursor),
    "total": ("total", read_flag),
    "sort": ("order", partial(read_one_of, Order)),
    "query": ("written", read_filter),
    **{name: (key, _value) for name, key in FILTERS.items()},
    "state": ("state", _states),
    "network": ("network", _network),
    "label": ("label", _label),
    "q": ("words", read_words),
}
"""The query parameters of a list of servers; other queries take their filters from here."""
_FACETS: dict[str, Parameter] = {
    "limit": ("limit", read_limit),
    "facet": ("names", lambda text: frozenset({_facet(text)})),
    "find": ("find", partial(read_text, at_most=MAX_SEARCH_BYTES)),
    **{name: LIST_PARAMETERS[name] for name in (*FILTERS, "query")},
}
_CONNECTION: dict[str, Parameter] = {"client": ("client", partial(read_one_of, Client))}
_CONNECTIONS = {**_CONNECTION, **{name: LIST_PARAMETERS[name] for name in (*FILTERS, "query")}}
_WALL: dict[str, Parameter] = {
    "by": ("by", partial(read_one_of, Grouping)),
    "query": ("written", read_filter),
}
_BADGE: dict[str, Parameter] = {
    "query": ("written", read_filter),
    "label": ("label", partial(read_text, at_most=200)),
}
_BADGE_OF_ONE: dict[str, Parameter] = {"label": _BADGE["label"]}

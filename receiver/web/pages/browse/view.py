"""The query parameters of lists, and links to the same list with other parameters."""

from urllib.parse import urlencode

from attrs import evolve, frozen
from starlette.requests import Request

from receiver.domain.cursors import write_cursor
from receiver.domain.filter_text import NAMES, NONE, FilterText
from receiver.domain.queries import Order, Place
from receiver.web.requests import FILTER_NAMES, ListQuery, list_query

__all__ = ["PAGE_SIZE", "ListView", "View"]

PAGE_SIZE = 50


@frozen
class View:
    """
    The query parameters of a list, and links to the same list with other parameters.

    A form that is sent without a script contains its empty fields, too. Empty fields are ignored.

    Attributes:
        parameters: Names and texts, in the order of the URL.
        path: The relative URL of the page.
    """

    parameters: tuple[tuple[str, str], ...]
    path: str = "./"

    @classmethod
    def of(cls, request: Request, path: str = "./") -> "View":
        said = request.query_params.multi_items()
        return cls(tuple((name, text) for name, text in said if text), path)

    def asked(self, request: Request) -> Request:
        """The request with `parameters` as its query, without empty ones, and a default `limit`."""
        limit = {} if self.get("limit") else {"limit": PAGE_SIZE}
        text = urlencode([*self.parameters, *limit.items()])
        return Request({**request.scope, "query_string": text.encode()})

    def get(self, name: str) -> str | None:
        return dict(self.parameters).get(name)

    def link(self, **changed: str | None) -> str:
        """A link to the first page of the list with some parameters changed, or removed (None)."""
        kept = [each for each in self.parameters if each[0] not in {"cursor", *changed}]
        new = [(name, text) for name, text in changed.items() if text is not None]
        text = urlencode([*kept, *new])
        return f"{self.path}?{text}" if text else self.path

    def toggled(self, name: str, text: str) -> str:
        """A link to the first page of the list with a value added, or removed if it is there."""
        pair = (name, text)
        kept = tuple(each for each in self.parameters if each != pair)
        more = () if pair in self.parameters else (pair,)
        return evolve(self, parameters=(*kept, *more)).link()

    def only(self, **wanted: str | None) -> str:
        """A link to the list with these filters and no others, in the same order."""
        return self.link(**{**dict.fromkeys(_NARROWING), **wanted})

    @property
    def is_narrowed(self) -> bool:
        return any(name in _NARROWING for name, _ in self.parameters)


_NARROWING = ("kind", "server_id", "since", "until")


@frozen(kw_only=True)
class ListView:
    """
    What the page with the list of servers shows, and links to it with other filters.

    The links have all filters as one text, the parameter `query`. The parameters that the API knows
    for each of them are read, too.

    Attributes:
        query: The list.
        text: Its filters as a text.
        typed: What was typed in the field for them.
        error: Why that cannot be read, as a sentence; empty if it can be. Then there is no filter.
        limit: How many servers a page was asked to have; None if that was not said.
        facet: The name whose values are searched; empty if none are.
        find: The text that is searched in them.
    """

    query: ListQuery
    text: FilterText
    typed: str
    error: str = ""
    limit: str | None = None
    facet: str = ""
    find: str = ""

    @classmethod
    def of(cls, request: Request) -> "ListView":
        """
        Read the query parameters.

        Raises Refusal (400), which lists all parameters that are wrong; but for the `query`, which
        somebody may still be typing.
        """
        said = request.query_params.multi_items()
        given = {name: text for name, text in said if text}
        asked = [pair for pair in said if pair[0] not in {"facet", "find"} and _is_said(*pair)]
        error = ""
        if "query" in given and not any(name in FILTER_NAMES for name, _ in asked):
            try:
                FilterText.parse(given["query"])
            except ValueError as problem:
                error = str(problem)
                asked = [pair for pair in asked if pair[0] not in {"query", "cursor"}]
        asked += [(name, text) for name, text in _BY_DEFAULT.items() if name not in dict(asked)]
        query = list_query(_with_query(request, asked))
        text = FilterText.of(query.matching)
        return cls(
            query=query,
            text=text,
            typed=given.get("query") or str(text),
            error=error,
            limit=given.get("limit"),
            facet=given.get("facet", ""),
            find=given.get("find", ""),
        )

    @property
    def sort(self) -> str | None:
        """The order, unless it is that of the page by default."""
        order = self.query.order
        return None if order is Order.TROUBLE else order.value

    @property
    def is_narrowed(self) -> bool:
        return bool(str(self.text))

    @property
    def is_first_page(self) -> bool:
        return self.query.after is None

    def link(self, text: FilterText | None = None, **changed: str) -> str:
        """A link to the first page with other filters, or with other parameters."""
        shown = self.text if text is None else text
        wanted = {"query": str(shown), "sort": self.sort, "limit": self.limit, **changed}
        query = urlencode({name: value for name, value in wanted.items() if value})
        return f"./?{query}" if query else "./"

    def page(self, place: Place | None) -> str | None:
        """A link to the page at a place; None for no place."""
        return place and self.link(cursor=write_cursor(self.query.order, place))

    def chosen(self) -> list[tuple[str, str, str]]:
        """The words of the filter: name, value, and a link to the list without this word."""
        text = self.text
        named = [(name, value) for name in NAMES for value in getattr(text, name)]
        found = [(name, value, text.toggled(name, value)) for name, value in named]
        excluded = [(name, value) for name, values in text.without for value in values]
        found += [(f"not {name}", value, text.toggled(name, value)) for name, value in excluded]
        words = {each: [other for other in text.words if other != each] for each in text.words}
        found += [("text", word, text.changed("words", rest)) for word, rest in words.items()]
        return [(name, value or NONE, self.link(rest)) for name, value, rest in found]

    def everything(self) -> str:
        """A link to the list without filters."""
        return self.link(FilterText())


def _is_said(name: str, text: str) -> bool:
    """Whether a parameter says something; a form without a script sends its empty fields, too."""
    return bool(text) or name == "stage"


def _with_query(request: Request, parameters: list[tuple[str, str]]) -> Request:
    return Request({**request.scope, "query_string": urlencode(parameters).encode()})


_BY_DEFAULT = {"sort": Order.TROUBLE.value, "limit": str(PAGE_SIZE)}

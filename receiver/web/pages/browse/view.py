"""The query parameters of lists, and links to the same list with other parameters."""

from functools import lru_cache
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
    The query parameters of a page with a list, and links to the same page with other parameters.

    A form that is sent without a script contains its empty fields, too. Empty fields are ignored.

    Attributes:
        parameters: The names and texts of the parameters, in the order of the URL.
        path: The URL of the page, relative to the home page.
    """

    parameters: tuple[tuple[str, str], ...]
    path: str = "./"

    @classmethod
    def of(cls, request: Request, path: str = "./") -> "View":
        said = request.query_params.multi_items()
        return cls(tuple((name, text) for name, text in said if text), path)

    def asked(self, request: Request) -> Request:
        """The request with `parameters` as its query, and a `limit` of 50 if they have none."""
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
        """A link to the first page of the list with a parameter added, or removed if there."""
        pair = (name, text)
        kept = tuple(each for each in self.parameters if each != pair)
        more = () if pair in self.parameters else (pair,)
        return evolve(self, parameters=(*kept, *more)).link()

    def only(self, **wanted: str | None) -> str:
        """
        A link to the first page of the list with these filters and no others.

        Filters are `kind`, `server_id`, `query`, `since` and `until`; other parameters stay as they
        are.
        """
        return self.link(**{**dict.fromkeys(_NARROWING), **wanted})

    @property
    def is_narrowed(self) -> bool:
        return any(name in _NARROWING for name, _ in self.parameters)


_NARROWING = ("kind", "server_id", "query", "since", "until")


@frozen(kw_only=True)
class ListView:
    """
    What the page with the list of servers shows, and links to it with other filters.

    The links have all filters as one text, in the parameter `query`. The page also reads filters
    from the parameters that the API has for each of them.

    Attributes:
        query: The query parameters of the list.
        text: The filters of the list.
        typed: What somebody has typed in the field for the filters.
        error: Why `typed` cannot be read, as a sentence; then there is no filter. Empty if it can
            be read.
        limit: How many servers the query asks for, as a text; None if it does not say.
        facet: The name, such as `stage`, whose values somebody searches; empty if nobody does.
        find: The text that somebody searches in these values.
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

        Raises Refusal (400), which lists all parameters that are wrong. A wrong `query`, which
        somebody may still be typing, becomes the `error` instead.
        """
        said = request.query_params.multi_items()
        given = {name: text for name, text in said if text}
        asked = [pair for pair in said if pair[0] not in {"facet", "find"} and _is_said(*pair)]
        error = ""
        if "query" in given and not any(name in FILTER_NAMES for name, _ in asked):
            try:
                FilterText.asked(given["query"])
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
        """The order, as the parameter `sort` says it; None for that of the page by default."""
        order = self.query.order
        return None if order is Order.TROUBLE else order.value

    @property
    def is_narrowed(self) -> bool:
        return bool(str(self.text))

    @property
    def is_first_page(self) -> bool:
        return self.query.after is None

    def link(self, text: FilterText | str | None = None, **changed: str) -> str:
        """
        A link to the first page of the list with other filters, or with other parameters.

        Without `text`, the filters stay as they are.
        """
        shown = self.text if text is None else text
        wanted = {"query": str(shown), "sort": self.sort, "limit": self.limit, **changed}
        return _url(tuple((name, value) for name, value in wanted.items() if value))

    def page(self, place: Place | None) -> str | None:
        """A link to the page that begins, or ends, at a place in the list; None without a place."""
        return place and self.link(cursor=write_cursor(self.query.order, place))

    @property
    def here(self) -> str:
        """A link to the page of the list that is shown."""
        return self.page(self.query.after) or self.link()

    def chosen(self) -> list[tuple[str, str, str]]:
        """For each word of the filters its name, its value, and a link to the list without it."""
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


@lru_cache(maxsize=1000)  # most of the links of a page are those of the page before
def _url(parameters: tuple[tuple[str, str], ...]) -> str:
    return f"./?{urlencode(parameters)}" if parameters else "./"


def _is_said(name: str, text: str) -> bool:
    """Whether a parameter says something; a form without a script sends its empty fields, too."""
    return bool(text) or name == "stage"


def _with_query(request: Request, parameters: list[tuple[str, str]]) -> Request:
    return Request({**request.scope, "query_string": urlencode(parameters).encode()})


_BY_DEFAULT = {"sort": Order.TROUBLE.value, "limit": str(PAGE_SIZE)}

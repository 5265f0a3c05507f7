"""The query parameters of a list, and links to the same list with other parameters."""

from collections.abc import Sequence
from urllib.parse import urlencode

from attrs import evolve, frozen
from starlette.requests import Request

from receiver.web.requests import filters_of

__all__ = ["FILTERS", "PAGE_SIZE", "View"]

PAGE_SIZE = 50


@frozen
class View:
    """
    The query parameters of a list, and links to the same list with other parameters.

    A form that is sent without a script contains its empty fields, too. Empty fields are ignored,
    except for an empty stage, which means servers without a stage.

    Attributes:
        parameters: Names and texts, in the order of the URL.
        path: The relative URL of the page.
    """

    parameters: tuple[tuple[str, str], ...]
    path: str = "./"

    @classmethod
    def of(cls, request: Request, path: str = "./") -> "View":
        said = request.query_params.multi_items()
        return cls(tuple((name, text) for name, text in said if text or name == "stage"), path)

    def expanded(self) -> "View":
        """
        The view with the filters of the parameter `query` as parameters of their own.

        So the fields and links of the page show and change them. Raises Refusal for a text that is
        no filter of a list.
        """
        texts = [text for name, text in self.parameters if name == "query"]
        if len(texts) != 1 or "-" in texts[0]:
            return self
        kept = [each for each in self.parameters if each[0] != "query"]
        return evolve(self, parameters=(*kept, *filters_of(texts[0])))

    def asked(self, request: Request) -> Request:
        """The request with `parameters` as its query, without empty ones, and a default `limit`."""
        limit = {} if self.get("limit") else {"limit": PAGE_SIZE}
        text = urlencode([*self.parameters, *limit.items()])
        return Request({**request.scope, "query_string": text.encode()})

    def get(self, name: str) -> str | None:
        return dict(self.parameters).get(name)

    def link(self, **changed: str | Sequence[str] | None) -> str:
        """A link to the first page of the list with some parameters changed, or removed (None)."""
        kept = [each for each in self.parameters if each[0] not in {"cursor", *changed}]
        new = {name: value for name, value in changed.items() if value is not None}
        text = urlencode([*kept, *new.items()], doseq=True)
        return f"{self.path}?{text}" if text else self.path

    def toggled(self, name: str, text: str) -> str:
        """A link to the first page of the list with a value added, or removed if it is there."""
        pair = (name, text)
        kept = tuple(each for each in self.parameters if each != pair)
        more = () if pair in self.parameters else (pair,)
        return evolve(self, parameters=(*kept, *more)).link()

    def only(self, **wanted: str | Sequence[str] | None) -> str:
        """A link to the list with these filters and no others, in the same order."""
        return self.link(**{**dict.fromkeys(_NARROWING), **wanted})

    @property
    def is_narrowed(self) -> bool:
        return any(name in _NARROWING for name, _ in self.parameters)


FILTERS = {
    "database": "Database",
    "capability": "Tool",
    "odoo_version": "Odoo version",
    "version": "MCP server version",
}
_NARROWING = ("state", "stage", "q", *FILTERS, "kind", "server_id", "since", "until")

"""The query parameters of these pages, and links with parameters."""

from urllib.parse import urlencode

from starlette.requests import Request

from receiver.domain.filter_text import FilterText

__all__ = ["filled", "link", "list_link"]


def filled(request: Request, **defaults: str) -> Request:
    """
    The request without its empty parameters, and with defaults for those that are missing.

    A form that is sent without a script contains its empty fields, too.
    """
    given = [(name, text) for name, text in request.query_params.multi_items() if text]
    names = {name for name, _ in given}
    given += [(name, text) for name, text in defaults.items() if name not in names]
    return Request({**request.scope, "query_string": urlencode(given).encode()})


def link(path: str, **parameters: str | None) -> str:
    """A link to a path with those parameters that are neither None nor empty."""
    text = urlencode({name: value for name, value in parameters.items() if value})
    return f"{path}?{text}" if text else path


def list_link(matching: FilterText) -> str:
    """A link to the list of the servers that match a filter, relative to the home page."""
    return link("./", query=str(matching))

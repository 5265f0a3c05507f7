"""Calls about the list of servers: the numbers beside its filters, and its saved views."""

from receiver.web.listing import facets, saved_views
from receiver.web.routing import Guarded

__all__ = ["routes"]


def routes() -> list[Guarded]:
    """The routes of the calls about the list of servers."""
    return [*facets.routes(), *saved_views.routes()]

"""Calls about the list of servers: the numbers beside its filters."""

from receiver.web.listing.facets import routes as facet_routes
from receiver.web.routing import Guarded

__all__ = ["routes"]


def routes() -> list[Guarded]:
    """The routes of the calls about the list of servers."""
    return facet_routes()

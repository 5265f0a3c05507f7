"""The pages to look at the fleet: the list of servers and views of it, a server, the timeline."""

from starlette.routing import BaseRoute

from receiver.web.pages.browse import fleet, saved_views, server, timeline

__all__ = ["routes"]


def routes() -> list[BaseRoute]:
    """The routes of these pages and their forms, and of the static files."""
    return [*fleet.routes(), *saved_views.routes(), *timeline.routes(), *server.routes()]

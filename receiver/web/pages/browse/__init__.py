"""The pages that only show: the list of servers, a server, and the timeline of events."""

from starlette.routing import BaseRoute

from receiver.web.pages.browse import fleet, saved_views, server, timeline

__all__ = ["routes"]


def routes() -> list[BaseRoute]:
    """All of these pages, and the static files."""
    return [*fleet.routes(), *saved_views.routes(), *timeline.routes(), *server.routes()]

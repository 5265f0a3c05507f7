"""The pages that are pictures: the history of the fleet, and the wallboard."""

from starlette.routing import BaseRoute

from receiver.web.pages.pictures import history, wall
from receiver.web.pages.pictures.trend import Trend, trend_of

__all__ = ["Trend", "routes", "trend_of"]


def routes() -> list[BaseRoute]:
    """The routes of these pages."""
    return [*history.routes(), *wall.routes()]

"""The pages on which administrators change databases: labels and notes, and many at once."""

from starlette.routing import BaseRoute

from receiver.web.pages.managing import labels, selection

__all__ = ["routes"]


def routes() -> list[BaseRoute]:
    """The routes of these pages."""
    return [*labels.routes(), *selection.routes()]

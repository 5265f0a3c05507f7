"""The pages on which administrators change databases: their labels and notes."""

from starlette.routing import BaseRoute

from receiver.web.pages.managing import labels

__all__ = ["routes"]


def routes() -> list[BaseRoute]:
    """All of these pages."""
    return [*labels.routes()]

"""The pages about what the fleet offers and runs: its tools, its versions, a comparison."""

from starlette.routing import BaseRoute

from receiver.web.pages.inventory import comparison, tools, versions

__all__ = ["routes"]


def routes() -> list[BaseRoute]:
    """The routes of these pages."""
    return [*tools.routes(), *versions.routes(), *comparison.routes()]

"""The pages of alerts: what is alarming and who was told, their forms, and the weekly report."""

from starlette.routing import BaseRoute

from receiver.web.pages.alerting import forms, page, report

__all__ = ["routes"]


def routes() -> list[BaseRoute]:
    """The routes of these pages."""
    return [*page.routes(), *forms.routes(), *report.routes()]

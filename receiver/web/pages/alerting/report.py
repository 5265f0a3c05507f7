"""The page with the weekly report: how available each database was and what happened to it."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from contract.fields import format_moment
from receiver.domain.keys import Power
from receiver.web.alerts.reports import report_of_query
from receiver.web.pages import wording
from receiver.web.pages.rendering import PageRoute, answer_from_thread
from receiver.web.pages.sizes import fitting_calm, fitting_changed, fitting_weeks

__all__ = ["routes"]

SHOWN_LINES = 50
"""How many databases the table of the page shows at first."""

MOST_LINES = 150
"""How many databases the table has at most; the CSV has all."""

MOST_NAMES = 100
"""How many databases are named of those to which nothing has happened."""

MOST_CHANGED = 5
"""How many of the databases that came, went, were rebuilt or were upgraded are named."""


def routes() -> list[BaseRoute]:
    """The route of the page."""
    return [PageRoute("/report", report_page, methods=["GET"], needs=Power.READ)]


async def report_page(request: Request) -> Response:
    """The page with the report of the week that the query asks for."""
    report = await report_of_query(request)
    until = f"until={format_moment(report.until)}"
    eventful, calm = report.eventful, report.uneventful
    lines = fitting_weeks(eventful[:MOST_LINES])
    undisturbed = fitting_calm(calm[:MOST_NAMES])
    news = [
        (label, fitting_changed(changed[:MOST_CHANGED]), len(changed))
        for label, changed in report.news.items()
    ]
    shown = [*lines, *undisturbed, *(line for _, named, _ in news for line in named)]
    return await answer_from_thread(
        request,
        "report.html",
        report=report,
        lines=lines[:SHOWN_LINES],
        more_lines=lines[SHOWN_LINES:],
        not_shown=len(eventful) - len(lines),
        calm=undisturbed,
        calm_count=len(calm),
        news=news,
        names=wording.apart({line.counts.server_id: line.name for line in shown}),
        has_before=any(line.availability_before is not None for line in lines),
        csv=f"report.csv?{until}",
        as_json=f"report.json?{until}",
        earlier=f"report?until={format_moment(report.since)}",
        is_newest="until" not in request.query_params,
    )

"""The weekly report, how available each database was and what happened to it, as a page and CSV."""

from datetime import datetime

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from contract.fields import format_moment
from receiver.domain.alerts.reports import Report
from receiver.domain.keys import Power
from receiver.service.alerts.weekly import report_of_week
from receiver.web import openapi
from receiver.web.context import services
from receiver.web.openapi import operation
from receiver.web.pages.rendering import PageRoute, answer_from_thread
from receiver.web.requests import report_end
from receiver.web.routing import Guarded

__all__ = ["routes"]

SHOWN_LINES = 200
"""How many databases the page lists; the CSV has all."""

_CSV = operation(
    "getReport",
    "How available each database was within a week, and what happened to it",
    parameters=[
        openapi.parameter(
            "until",
            "The end of the week, within the last year; now by default.",
            {"type": "string", "format": "date-time"},
        )
    ],
    answers={200: openapi.text_answer("CSV (RFC 4180), a row for each database", "text/csv")},
    problems=(400, 401, 403, 503),
)


def routes() -> list[BaseRoute]:
    """The routes of the report."""
    return [
        PageRoute("/report", report_page, methods=["GET"], needs=Power.READ),
        Guarded("/report.csv", report_as_csv, methods=["GET"], needs=Power.READ, describes=_CSV),
    ]


async def report_page(request: Request) -> Response:
    """The page with the report of the week that the query asks for."""
    until, report = await _report(request)
    return await answer_from_thread(
        request,
        "report.html",
        report=report,
        lines=report.lines[:SHOWN_LINES],
        csv=f"report.csv?until={format_moment(until)}",
        earlier=f"report?until={format_moment(report.since)}",
        is_newest="until" not in request.query_params,
    )


async def report_as_csv(request: Request) -> Response:
    """The report of the week that the query asks for, as CSV."""
    until, report = await _report(request)
    return Response(
        report.csv(),
        media_type="text/csv; header=present",
        headers={
            "Content-Disposition": f'attachment; filename="fleet-{until:%Y-%m-%d}.csv"',
            "Cache-Control": "no-store",
        },
    )


async def _report(request: Request) -> tuple[datetime, Report]:
    found = services(request)
    now = found.clock()
    until = report_end(request, now=now)
    return until, await report_of_week(found.store, found.calls, until=until, now=now)

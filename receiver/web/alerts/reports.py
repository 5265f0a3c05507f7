"""The weekly report over HTTP: how available each database was, and what happened to it."""

from datetime import datetime
from functools import partial

import orjson
from starlette.requests import Request
from starlette.responses import Response

from receiver.domain.alerts.reports import Report
from receiver.domain.keys import Power
from receiver.service.alerts.weekly import report_of_week
from receiver.web import openapi
from receiver.web.context import services
from receiver.web.exports import FileFormat, Sheet, described, or_file, whole_file
from receiver.web.openapi import COUNT, TEXT, listed, object_of, operation
from receiver.web.requests import report_end
from receiver.web.routing import Guarded

__all__ = ["report_of_query", "routes"]


def routes() -> list[Guarded]:
    """The routes of the report, each with its description for the OpenAPI document."""
    read = partial(Guarded, methods=["GET"], needs=Power.READ)
    return [
        read("/report.json", or_file(report_as_json, report_file), describes=described(_REPORT)),
        read("/report.csv", report_as_csv, describes=_CSV),
    ]


_UNTIL = openapi.parameter(
    "until",
    "The end of the week, within the last year; now by default.",
    openapi.MOMENT,
)
_SHARE = {
    "type": ["number", "null"],
    "minimum": 0,
    "maximum": 1,
    "description": "The share of the week in which it was neither late nor down; null if that is "
    "not known.",
}
_SHARE_BEFORE = {**_SHARE, "description": "The same share of the week before."}
_LINE = object_of(
    server_id=TEXT,
    database={"type": ["string", "null"]},
    availability=_SHARE,
    availability_before=_SHARE_BEFORE,
    new={"type": "boolean", "description": "Whether it came to the fleet within the week."},
    gone={"type": "boolean", "description": "Whether it has left or was deleted."},
    rebuilt=COUNT,
    upgraded=COUNT,
    down=COUNT,
    alarms=COUNT,
)
_REPORT = operation(
    "getReportAsJson",
    "The report of a week: how available each database was, and what happened to it",
    parameters=[_UNTIL],
    answers={
        200: openapi.answer(
            "The figures of the fleet, and a line for each database, the least available first",
            object_of(
                since=openapi.MOMENT,
                until=openapi.MOMENT,
                databases=COUNT,
                alarms=COUNT,
                availability=_SHARE,
                availability_before=_SHARE_BEFORE,
                lines=listed(_LINE),
            ),
        )
    },
    problems=(400, 401, 403, 503),
)
_CSV = operation(
    "getReport",
    "How available each database was within a week, and what happened to it",
    parameters=[_UNTIL],
    answers={200: openapi.text_answer("CSV (RFC 4180), a row for each database", "text/csv")},
    problems=(400, 401, 403, 503),
)


async def report_as_json(request: Request) -> Response:
    """Answer with the report of the week that the query asks for, with all of its lines."""
    report = await report_of_query(request)
    lines = [line.to_json() for line in report.lines]
    body = orjson.dumps({**report.to_json(), "lines": lines})
    return Response(body, media_type="application/json")


async def report_file(request: Request, file_format: FileFormat) -> Response:
    """Answer with a file of the lines of the report: the same CSV as `/report.csv`, for one."""
    report = await report_of_query(request)
    if file_format is FileFormat.CSV:
        return _csv(report)
    return await whole_file(request, file_format, _SHEET, [line.to_json() for line in report.lines])


async def report_as_csv(request: Request) -> Response:
    """Answer with the report of the week that the query asks for, as CSV."""
    return _csv(await report_of_query(request))


async def report_of_query(request: Request) -> Report:
    """
    The report of the week that ends at the time that the query has as `until`, or now.

    Raises Refusal (400) if the query is wrong, and StoreUnavailable.
    """
    found = services(request)
    now = found.clock()
    until: datetime = report_end(request, now=now)
    return await report_of_week(found.store, found.calls, until=until, now=now)


def _csv(report: Report) -> Response:
    return Response(
        report.csv(),
        media_type="text/csv; header=present",
        headers={
            "Content-Disposition": f'attachment; filename="fleet-{report.until:%Y-%m-%d}.csv"',
            "Cache-Control": "no-store",
        },
    )


_SHEET = Sheet(name="report", columns=[])
"""Only its name is used: in CSV, the report writes itself."""

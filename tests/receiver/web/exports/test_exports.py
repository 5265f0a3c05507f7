"""Lists as files: CSV and JSON Lines, whole and in parts."""

import csv
import io
import json
import re
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

import messages
from alerting import alerting_app
from keyring import bearer, keep, made
from receiver.domain.errors import StoreUnavailable
from receiver.web.exports.answers import InParts
from receiver.web.exports.formats import FileFormat, Sheet
from servers import Clock, serve

FORMULA = '=HYPERLINK("http://evil.example")'
FORMULA_AS_LABEL = "=1+1"
SHEET = Sheet(name="a", columns=["a", "b", "count"], special={"count": lambda item: len(item["b"])})


@pytest.fixture
def fleet(receiver: httpx.Client) -> httpx.Client:
    """A receiver with 250 servers, of which one has an evil name, and one event of each."""
    beats = [messages.slim(server_id=f"s{n:03}", database='ü, "x"') for n in range(249)]
    evil = messages.heartbeat(server_id="@evil\u202e", hostname=FORMULA, database="-1+1")
    receiver.post("/heartbeats", json=[*beats, evil]).raise_for_status()
    return receiver


def rows(answer: httpx.Response) -> list[dict[str, str]]:
    assert 200 == answer.status_code, answer.text
    assert "text/csv; charset=utf-8; header=present" == answer.headers["content-type"]
    text = answer.content.decode()
    assert text.endswith("\r\n")
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


def lines(answer: httpx.Response) -> list[dict[str, Any]]:
    assert 200 == answer.status_code, answer.text
    assert "application/jsonl" == answer.headers["content-type"]
    assert "" == answer.text[-1:].strip()
    return [json.loads(line) for line in answer.content.split(b"\n")[:-1]]


def test_export_file_holds_the_whole_list_of_servers(fleet: httpx.Client) -> None:
    page = fleet.get("/servers", params={"limit": 1000}).json()["servers"]

    as_csv = fleet.get("/servers?format=csv")
    as_lines = fleet.get("/servers?format=jsonl")

    assert page == lines(as_lines)
    found = rows(as_csv)
    assert 250 == len(found)
    assert ["s000", 'ü, "x"', "up", "", ""] == [
        found[1][name] for name in ("server_id", "database", "state", "port", "tool_count")
    ]
    evil = found[0]
    assert ("'@evil\u202e", f"'{FORMULA}", "'-1+1") == (
        evil["server_id"],
        evil["hostname"],
        evil["database"],
    )
    assert ("10.0.0.5", "8768", "2", "false") == tuple(
        evil[name] for name in ("ip_address", "port", "tool_count", "lapsed")
    )
    named = as_csv.headers["content-disposition"]
    assert 'attachment; filename="servers-2026-01-31T120000Z.csv"' == named
    varies = "Accept, Accept-Encoding"
    assert varies == as_csv.headers["vary"] == fleet.get("/servers").headers["vary"]


def test_export_in_csv_says_what_people_have_said_of_the_servers(fleet: httpx.Client) -> None:
    said = {"add": ["gold", "eu"], "note": "=call Ada"}
    fleet.patch("/servers/s001/labels", json=said).raise_for_status()
    silence = {"query": "label:gold", "reason": "upgrade", "duration_seconds": 3600}
    fleet.post("/silences", json=silence).raise_for_status()

    found = {row["server_id"]: row for row in rows(fleet.get("/servers?format=csv"))}

    names = ("labels", "note", "silenced_until")
    assert ["eu, gold", "'=call Ada", "2026-01-31T13:00:00Z"] == [
        found["s001"][name] for name in names
    ]
    assert ["", "", ""] == [found["s002"][name] for name in names]


def test_filters_order_limit_and_cursor_apply_to_export_files(fleet: httpx.Client) -> None:
    cursor = fleet.get("/servers?sort=-server_id&limit=3").json()["next_cursor"]

    def found(query: str) -> list[str]:
        return [row["server_id"] for row in rows(fleet.get(f"/servers?format=csv&{query}"))]

    assert ["s010"] == found("q=s010")
    assert ["s248", "s247"] == found("sort=-server_id&limit=2")
    assert "s245" == found(f"sort=-server_id&cursor={cursor}")[0]
    assert 150 == len(found("limit=150"))
    assert [] == found("q=nothing")
    refused = fleet.get("/servers?format=csv&total=true&state=x")
    assert ["state"] == [each["path"] for each in refused.json()["errors"]]
    assert "total: is told in JSON only" in fleet.get("/servers?format=csv&total=true").text


@pytest.mark.parametrize("query", ["format=xml", "format=csv&format=csv", "format="])
def test_unknown_export_formats_are_refused(receiver: httpx.Client, query: str) -> None:
    answer = receiver.get(f"/servers?{query}")

    assert (400, "invalid_parameter") == (answer.status_code, answer.json()["code"])
    assert "format: expected one of json, csv, jsonl, once" == answer.json()["detail"]


@pytest.mark.parametrize(
    ("accept", "found"),
    [
        ("*/*", "application/json"),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "application/json"),
        ("image/png", "application/json"),
        ("text/csv", "text/csv"),
        ("text/*", "text/csv"),
        ("TEXT/CSV ; header=present", "text/csv"),
        ("text/csv, */*", "text/csv"),
        ("text/csv;q=0.5, application/json", "application/json"),
        ("text/csv;q=0, */*;q=0.1", "application/json"),
        ("application/jsonl", "application/jsonl"),
        ("application/x-ndjson", "application/jsonl"),
        ("application/jsonl;q=x, text/csv;q=0.1", "text/csv"),
        ("text/csv;q=7, application/jsonl;q=1", "text/csv"),
        ("", "application/json"),
    ],
)
def test_accept_header_decides_the_export_format(
    receiver: httpx.Client, accept: str, found: str
) -> None:
    answer = receiver.get("/servers", headers={"Accept": accept})

    assert (200, found) == (answer.status_code, answer.headers["content-type"].partition(";")[0])
    asked = receiver.get("/servers?format=json", headers={"Accept": accept})
    assert "application/json" == asked.headers["content-type"]


def test_events_are_exported_newest_first(fleet: httpx.Client) -> None:
    page = fleet.get("/events", params={"limit": 1000}).json()["events"]

    assert page == lines(fleet.get("/events?format=jsonl"))
    found = rows(fleet.get("/events?format=csv&limit=120"))
    assert [str(each["id"]) for each in page[:120]] == [row["id"] for row in found]
    assert {"registered"} == {row["kind"] for row in found}
    of_one = rows(fleet.get("/servers/s007/events", headers={"Accept": "text/csv"}))
    assert [("registered", "s007", "{}")] == [
        (row["kind"], row["server_id"], row["details"]) for row in of_one
    ]
    assert 400 == fleet.get("/events?format=csv&kind=x").status_code


def test_tools_are_exported_as_files(receiver: httpx.Client) -> None:
    described = [
        {"name": "sale_confirm", "title": "Confirm", "description": "Confirms a sales order."},
        {"name": "=1", "description": "Confirms nothing."},
    ]
    for server_id in ("a", "b"):
        sent = messages.registration(server_id=server_id, tools=described)
        receiver.post("/register", json=sent).raise_for_status()

    of_one = rows(receiver.get("/servers/a/tools?format=csv"))
    assert [("'=1", ""), ("sale_confirm", "Confirm")] == sorted(
        (row["name"], row["title"]) for row in of_one
    )
    (found,) = rows(receiver.get("/tools?search=sales order&format=csv"))
    assert ("sale_confirm", "2", "a, b") == (
        found["name"],
        found["server_count"],
        found["server_ids"],
    )
    (line,) = lines(receiver.get("/tools?search=sales order&format=jsonl"))
    assert ["a", "b"] == line["server_ids"]
    assert 404 == receiver.get("/servers/nobody/tools?format=csv").status_code
    receiver.post("/heartbeat", json=messages.slim(server_id="c")).raise_for_status()
    assert [] == lines(receiver.get("/servers/c/tools?format=jsonl"))


@pytest.mark.parametrize("path", ["/alarms", "/deliveries"])
def test_alarms_and_deliveries_are_exported_as_files(receiver: httpx.Client, path: str) -> None:
    assert [] == rows(receiver.get(f"{path}?format=csv"))
    assert [] == lines(receiver.get(f"{path}?format=jsonl&limit=5"))


@pytest.fixture
def alerting(database_url: str, clock: Clock) -> Iterator[httpx.Client]:
    """A receiver without keys that can keep the addresses of channels."""
    with serve(alerting_app(database_url, clock)) as client:
        yield client


@pytest.mark.parametrize("path", ["/channels", "/rules", "/silences", "/labels", "/views"])
def test_short_lists_are_exported_as_files(alerting: httpx.Client, path: str) -> None:
    name = path.removeprefix("/")
    assert [] == rows(alerting.get(f"{path}?format=csv"))
    assert [] == lines(alerting.get(f"{path}?format=jsonl"))
    fill(alerting)

    items = alerting.get(path).json()[name]
    as_csv = alerting.get(path, headers={"Accept": "text/csv"})
    as_lines = alerting.get(f"{path}?format=jsonl")

    assert 1 == len(items)
    assert items == lines(as_lines)
    assert [[*items[0]]] == [[*row] for row in rows(as_csv)]
    shown = as_csv.headers["content-disposition"]
    assert f'attachment; filename="{name}-2026-01-31T120000Z.csv"' == shown
    assert "hush" not in as_csv.text + as_lines.text
    assert "format: expected one of" in alerting.get(f"{path}?format=xml").json()["detail"]


def fill(receiver: httpx.Client) -> None:
    """Make a channel with a secret address, and an item of each short list with an evil name."""
    receiver.post("/heartbeat", json=messages.slim(server_id="a")).raise_for_status()
    channel = {"name": FORMULA, "kind": "webhook", "address": "http://127.0.0.1:9/hush"}
    kept = receiver.post("/channels", json=channel).raise_for_status().json()["channel"]
    (first,) = receiver.get("/rules").json()["rules"]
    receiver.delete(f"/rules/{first['id']}").raise_for_status()
    rule = {"name": FORMULA, "kinds": ["late", "down"], "channel_id": kept["id"]}
    silence = {"query": "", "duration_seconds": 60, "reason": FORMULA}
    for path, asked in (("/rules", rule), ("/silences", silence)):
        receiver.post(path, json=asked).raise_for_status()
    receiver.patch("/servers/a/labels", json={"add": [FORMULA_AS_LABEL]}).raise_for_status()
    token, *_ = re.findall(r'name="form" value="([^"]+)"', receiver.get("/?query=a").text)
    view = {"form": token, "name": FORMULA, "query": "a", "sort": "server_id"}
    assert 303 == receiver.post("/views/new", data=view).status_code


def test_texts_in_files_of_short_lists_are_no_formulas(alerting: httpx.Client) -> None:
    fill(alerting)

    def written(path: str, column: str) -> str:
        (row,) = rows(alerting.get(f"{path}?format=csv"))
        return row[column]

    assert [f"'{FORMULA}"] * 3 == [
        written("/channels", "name"),
        written("/rules", "name"),
        written("/silences", "reason"),
    ]
    assert f"'{FORMULA_AS_LABEL}" == written("/labels", "label")
    assert f"'{FORMULA}" == written("/views", "name")
    assert "down, late" == written("/rules", "kinds")


def test_keys_are_exported_without_their_secrets(
    database_url: str, clock: Clock, audit: list[str]
) -> None:
    """All of them, also where a file has several parts."""
    admin, token = made("admin", name=FORMULA)
    others = [made("viewer", name=f"k{n}")[0] for n in range(149)]
    keep(database_url, admin, *others)
    with serve(alerting_app(database_url, clock)) as client:
        answers = [
            client.get("/keys", params=asked, headers=bearer(token))
            for asked in ({}, {"format": "csv"}, {"format": "jsonl"})
        ]

    in_json, as_csv, as_lines = answers
    keys = in_json.json()["keys"]
    found = rows(as_csv)
    ids = [[key["id"] for key in each] for each in (keys, found, lines(as_lines))]
    assert 150 == len({*ids[0]})
    assert [ids[0]] * 3 == ids
    assert [*keys[0]] == [*found[0]]
    (evil,) = [row for row in found if row["id"] == admin.id]
    assert (f"'{FORMULA}", "admin", "active", "") == tuple(
        evil[name] for name in ("name", "scope", "standing", "revoked_at")
    )
    assert {"no-store"} == {each.headers["cache-control"] for each in answers}
    assert 3 == sum("listed all 'keys'" in line for line in audit)
    secret = token.removeprefix(f"fleetkey_{admin.id}_")
    assert secret not in as_csv.text + as_lines.text
    assert "digest" not in as_csv.text + as_lines.text


def test_head_request_of_an_export_reads_one_part_only(fleet: httpx.Client) -> None:
    answer = fleet.head("/servers?format=csv")

    assert (200, b"") == (answer.status_code, answer.content)
    assert answer.headers["content-disposition"].endswith('.csv"')


def test_database_failure_before_an_export_begins_is_a_503(
    receiver: httpx.Client, tmp_path: Path
) -> None:
    with closing(sqlite3.connect(tmp_path / "fleet.db")) as database:
        database.execute("ALTER TABLE events RENAME TO gone")
        answer = receiver.get("/events?format=csv")
        database.execute("ALTER TABLE gone RENAME TO events")

    assert (503, "application/problem+json") == (
        answer.status_code,
        answer.headers["content-type"],
    )


def test_interrupted_export_does_not_end_like_a_complete_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def parts() -> AsyncIterator[bytes]:
        yield b"a,b\r\n"
        raise StoreUnavailable("the database is away")

    async def answer(_: Request) -> Response:
        return InParts(parts())

    app = Starlette(routes=[Route("/", answer)])
    with serve(app) as client, client.stream("GET", "/") as broken:
        assert 200 == broken.status_code
        read = broken.iter_raw()
        assert b"a,b\r\n" == next(read)
        with pytest.raises(httpx.RemoteProtocolError):
            next(read)

    assert "The rest of a list is not sent: the database is away" in caplog.text


def test_export_part_is_written_in_each_format() -> None:
    items = [{"a": "+1", "b": ["x", "y"]}, {"a": True, "b": "", "c": 1}, {"a": None, "b": {}}]

    assert b"a,b,count\r\n" == SHEET.head(FileFormat.CSV)
    assert b"" == SHEET.head(FileFormat.JSON_LINES)
    assert b'\'+1,"[""x"",""y""]",2\r\ntrue,,0\r\n,{},0\r\n' == SHEET.part(FileFormat.CSV, items)
    assert b'{"a":"+1","b":["x","y"]}\n' == SHEET.part(FileFormat.JSON_LINES, items[:1])

"""The OpenAPI document describes what the receiver serves."""

import ast
import re
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
from openapi_spec_validator import validate

import messages
import receiver as receiver_package
from keyring import bearer, keep, made
from receiver.app import Tuning, create_app
from receiver.connections import Careful
from receiver.web import api, openapi
from servers import Clock, serve


@cache
def document() -> dict[str, Any]:
    return openapi.document(api.routes())


def check(instance: object, name: str) -> None:
    schema: dict[str, Any] = {"$ref": f"#/components/schemas/{name}", **document()}
    jsonschema.Draft202012Validator(schema).validate(instance)


def test_openapi_document_is_valid(receiver: httpx.Client) -> None:
    validate(receiver.get("/openapi.json").json())


def test_every_route_is_in_the_openapi_document() -> None:
    served = {
        (route.path.replace(":path", ""), method.lower())
        for route in api.routes()
        for method in (route.methods or set()) - {"HEAD"}
    }
    described = {
        (path, method)
        for path, item in document()["paths"].items()
        for method in item
        if method != "parameters"
    }

    assert served - {("/openapi.json", "get")} == described


@pytest.mark.both_databases
def test_answers_match_their_openapi_schemas(receiver: httpx.Client) -> None:
    counted = receiver.post("/heartbeat", json=messages.heartbeat()).json()
    problem = receiver.post("/heartbeat", json={}).json()
    (rejected,) = receiver.post("/heartbeats", json=[{}]).json()["results"]
    server = receiver.get("/servers/acme_web-1").json()
    (listed,) = receiver.get("/servers").json()["servers"]
    (event,) = receiver.get("/events").json()["events"]

    check(counted, "Counted")
    check(problem, "Problem")
    check(rejected, "Rejected")
    check(server, "ServerWithAvailability")
    check(listed, "Server")
    check(event, "Event")


def test_answers_about_keys_match_their_schemas(sqlite_url: str, clock: Clock) -> None:
    key, token = made("admin")
    keep(sqlite_url, key)
    with serve(create_app(environ={"FLEET_DATABASE_URL": sqlite_url}, clock=clock)) as receiver:
        receiver.headers.update(bearer(token))
        asked = {"name": "acme", "scope": "agent", "expires_at": "2027-01-31T12:00:00Z"}
        receiver.post("/heartbeat", json=messages.heartbeat()).raise_for_status()
        made_now = receiver.post("/keys", json=asked).json()
        owner = receiver.get("/servers/acme_web-1/owner").json()
        keys = receiver.get("/keys").json()["keys"]
        missing = receiver.get("/keys", headers={"Authorization": ""}).json()

    check(asked, "NewKey")
    check(owner, "Owner")
    check(missing, "Problem")
    for each in [made_now["key"], *keys]:
        check(each, "Key")
        described = document()["components"]["schemas"]["Key"]["properties"]
        assert set(each) == set(described)


def test_every_openapi_operation_but_health_needs_a_key() -> None:
    need_none = [
        operation["operationId"]
        for path in document()["paths"].values()
        for method, operation in path.items()
        if method != "parameters" and operation.get("security", document()["security"]) == []
    ]

    # The path of the others has a key in it.
    by_path = {
        *("listEntriesByPath", "listEntryVersionsByPath", "getEntryByPath"),
        *("badgeOfServers", "badgeOfServer"),
    }
    assert {"health", "live"} | by_path == {*need_none}


def test_messages_match_their_openapi_schemas() -> None:
    check(messages.heartbeat(), "Heartbeat")
    check(messages.slim(), "Heartbeat")
    check(messages.registration(), "Registration")


def test_each_openapi_field_has_a_description() -> None:
    for name in ("Heartbeat", "Registration", "Server"):
        for field in document()["components"]["schemas"][name]["properties"].items():
            assert "description" in field[1] or field[0] == "state", field[0]


def operations() -> list[tuple[str, str, dict[str, Any]]]:
    """The method, a path, and the description of each operation."""
    return [
        (method.upper(), re.sub(r"\{\w+\}", "none", path), operation)
        for path, item in document()["paths"].items()
        for method, operation in item.items()
        if method != "parameters"
    ]


def assert_described(operation: dict[str, Any], answer: httpx.Response) -> None:
    described = operation["responses"][str(answer.status_code)]
    assert answer.headers["content-type"] in described["content"]
    check(answer.json(), "Problem")


def test_refusals_that_any_request_may_meet_are_described(sqlite_url: str, clock: Clock) -> None:
    key, _ = made("admin")
    keep(sqlite_url, key)
    environ = {"FLEET_DATABASE_URL": sqlite_url, "FLEET_FAILURES_PER_MINUTE": "1"}
    wrong = bearer("fleetkey_abcdefghij_" + 43 * "k")
    tuning = Tuning(limit_seconds=3600)
    with serve(create_app(environ=environ, clock=clock, tuning=tuning), http=Careful) as receiver:
        receiver.get("/servers", headers=wrong)
        for method, path, operation in operations():
            too_large = receiver.request(method, path, headers={f"x-{n}": "" for n in range(101)})
            assert 431 == too_large.status_code
            assert_described(operation, too_large)
            if "security" not in operation:
                too_many = receiver.request(method, path, headers=wrong)
                missing = receiver.request(method, path)
                assert (429, 401) == (too_many.status_code, missing.status_code)
                assert_described(operation, too_many)
                assert_described(operation, missing)


def test_refusals_before_the_first_key_are_described(receiver: httpx.Client) -> None:
    for method, path, operation in operations():
        if not path.startswith("/health"):  # which is told to everybody
            refused = receiver.request(method, path, headers={"X-Forwarded-For": "192.0.2.7"})
            assert 403 == refused.status_code
            assert_described(operation, refused)


def test_every_status_of_a_refusal_is_described() -> None:
    """Statuses stand in the source as the first argument of a Refusal."""
    package = Path(receiver_package.__file__).parent
    raised = {
        node.args[0].value
        for file in package.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "Refusal"
        and isinstance(node.args[0], ast.Constant)
    }
    described = {
        int(status) for _, _, each in operations() for status in each["responses"] if status >= "4"
    }

    assert raised == described


VALUES = {
    "limit": ["", "0", "1", "01", "+1", "1000", "1001", "\u0661", "1e2", "1.0", " 1"],
    "cursor": ["", "=", "abc", "WyJhIl0=", "a b", "W10", "\u00e4"],
    "total": ["", "true", "false", "True", "1"],
    "sort": ["", "server_id", "-last_seen", "--last_seen"],
    "state": ["", "up", "superseded", "node", "left", "UP"],
    "stage": ["", "dev", "a\0b", "a" * 4000, "a" * 4001],
    "q": ["", "a\0", "a" * 1000, "a" * 1001],
    "kind": ["", "created", "registered", "no kind"],
    "format": ["", "csv", "jsonl", "json", "CSV", "xml"],
    "label": ["", "gold", "GOLD", "a\0b", "a" * 4000, "a" * 4001],
    "server_id": ["", "a", "\0", "a" * 4001],
    "since": [
        *("", "2026-01-31T12:00:00Z", "2026-01-31 12:00:00z", "2026-01-31t12:00:00+0100"),
        *("2026-01-31T12:00:00", "2026-01-31", "1", "2026-01-31T12:00:00.123456789-01:00"),
    ],
    "If-None-Match": ["", "*", '"a"', "abc"],
    "Last-Event-ID": ["", "0", "007", "1", "-1", "x", "9" * 18, "9" * 19],
}


def is_described(parameter: dict[str, Any], text: str) -> bool:
    """Whether the text of a parameter has a value that fits the schema."""
    schema = parameter["schema"]
    kind = schema.get("type")
    value: object = text
    if kind == "integer":
        value = int(text) if re.fullmatch("-?(0|[1-9][0-9]*)", text, re.ASCII) else text
    elif kind == "boolean":
        value = {"true": True, "false": False}.get(text, text)
    elif kind == "array":
        value = [text]
    validator = jsonschema.Draft202012Validator(
        schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
    )
    return bool(validator.is_valid(value))


@pytest.mark.parametrize("path", ["/servers", "/events", "/events/stream", "/servers/a/events"])
def test_accepted_parameter_values_match_the_openapi_document(
    receiver: httpx.Client, path: str
) -> None:
    item = document()["paths"][path.replace("/a/", "/{server_id}/")]
    for parameter in item["get"]["parameters"]:
        name = parameter["name"]
        for text in VALUES.get(name, VALUES["stage"]):
            asked: dict[str, Any] = (
                {"headers": {name: text}}
                if parameter["in"] == "header"
                else {"params": {name: text}}
            )
            with receiver.stream("GET", path, **asked) as answer:
                is_accepted = answer.status_code == 200
            assert not is_accepted or is_described(parameter, text), (name, text)
            if name in {"limit", "total", "sort", "state", "kind"} or not text:
                assert is_accepted == is_described(parameter, text), (name, text)

"""The OpenAPI document describes what the receiver serves."""

from typing import Any

import httpx
import jsonschema
import pytest
from openapi_spec_validator import validate

import messages
from keyring import bearer, keep, made
from receiver.app import create_app
from receiver.web import api, openapi
from servers import Clock, serve


def document() -> dict[str, Any]:
    return openapi.document(api.routes())


def check(instance: object, name: str) -> None:
    schema: dict[str, Any] = {"$ref": f"#/components/schemas/{name}", **document()}
    jsonschema.validate(instance, schema, cls=jsonschema.Draft202012Validator)


def test_document_is_valid_openapi(receiver: httpx.Client) -> None:
    validate(receiver.get("/openapi.json").json())


def test_every_route_is_described() -> None:
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
def test_answers_match_their_schemas(receiver: httpx.Client) -> None:
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


def test_every_operation_but_health_needs_a_key() -> None:
    need_none = [
        operation["operationId"]
        for path in document()["paths"].values()
        for method, operation in path.items()
        if method != "parameters" and operation.get("security", document()["security"]) == []
    ]

    assert ["health", "live"] == need_none


def test_messages_match_their_schemas() -> None:
    check(messages.heartbeat(), "Heartbeat")
    check(messages.slim(), "Heartbeat")
    check(messages.registration(), "Registration")


def test_each_field_has_a_description() -> None:
    for name in ("Heartbeat", "Registration", "Server"):
        for field in document()["components"]["schemas"][name]["properties"].items():
            assert "description" in field[1] or field[0] == "state", field[0]

"""The description of the interface is true."""

from typing import Any

import httpx
import jsonschema
from openapi_spec_validator import validate

import messages
from receiver import api
from receiver.metrics import Metrics
from receiver.openapi import document
from receiver.patience import Patience


def check(instance: object, name: str) -> None:
    schema: dict[str, Any] = {"$ref": f"#/components/schemas/{name}", **document()}
    jsonschema.validate(instance, schema, cls=jsonschema.Draft202012Validator)


def test_document_is_valid_openapi(receiver: httpx.Client) -> None:
    validate(receiver.get("/openapi.json").json())


def test_every_route_is_described() -> None:
    served = {
        (route.path.replace(":path", ""), method.lower())
        for route in api.routes(Patience(1), Metrics())
        for method in (route.methods or set()) - {"HEAD"}
    }
    described = {
        (path, method)
        for path, item in document()["paths"].items()
        for method in item
        if method != "parameters"
    }

    assert served - {("/openapi.json", "get")} == described


def test_answers_are_as_described(receiver: httpx.Client) -> None:
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


def test_messages_are_as_described() -> None:
    check(messages.heartbeat(), "Heartbeat")
    check(messages.slim(), "Heartbeat")
    check(messages.registration(), "Registration")


def test_each_field_says_what_it_means() -> None:
    for name in ("Heartbeat", "Registration", "Server"):
        for field in document()["components"]["schemas"][name]["properties"].items():
            assert "description" in field[1] or field[0] == "state", field[0]

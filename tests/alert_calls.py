"""Test helper: calls that make channels and rules, and a check of what alert calls answer."""

from typing import Any

import httpx
import jsonschema

from receiver.web import api, openapi

__all__ = ["NOWHERE", "WEBHOOK", "check", "new_channel", "new_rule"]

NOWHERE = "http://127.0.0.1:9/hook"
WEBHOOK = {"name": "Operators", "kind": "webhook", "address": {"url": NOWHERE}}


def check(answer: httpx.Response, path: str) -> None:
    """Check an answer by the schema that the OpenAPI document has for it."""
    document = openapi.document(api.routes())
    operation = document["paths"][path][answer.request.method.lower()]
    content = operation["responses"][str(answer.status_code)]["content"]
    described = content[answer.headers["content-type"]]
    schema = {**document, **described["schema"]}
    jsonschema.validate(answer.json(), schema, cls=jsonschema.Draft202012Validator)


def new_channel(receiver: httpx.Client, **changed: Any) -> str:
    """Make a channel; returns its id."""
    answer = receiver.post("/channels", json={**WEBHOOK, **changed}).raise_for_status()
    found: str = answer.json()["channel"]["id"]
    return found


def new_rule(receiver: httpx.Client, channel_id: str, **changed: Any) -> httpx.Response:
    asked = {"name": "Down", "kinds": ["down"], "channel_id": channel_id, **changed}
    return receiver.post("/rules", json=asked)

"""Test helper: servers with addresses, and their entries in the MCP registry."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import httpx

import messages
from receiver.app import Tuning, create_app
from registry_rules import OFFICIAL, entries_of, expect_entry
from servers import ANY_PAUSE_SECONDS, Clock, serve

__all__ = [
    "LIST",
    "URL",
    "UUID",
    "Json",
    "get",
    "listed",
    "names",
    "only_name",
    "receiving",
    "send",
    "send_other",
    "status",
]

Json = dict[str, Any]
LIST = "/v0.1/servers"
URL = "https://acme.example/mcp/v1"
UUID = "5f0e2a3c-54b1-4a77-9d6e-0c6a4f1f7a11"


def send(receiver: httpx.Client, **said: Any) -> None:
    given = {"server_id": "acme_web", "database": "acme", "odoo_stage": "production"}
    given |= {"endpoint_url": URL, "database_uuid": UUID, "version": "19.0.1.0.0", **said}
    receiver.post("/heartbeat", json=messages.slim(**given)).raise_for_status()


def send_other(receiver: httpx.Client, name: str, **said: Any) -> None:
    given = {"server_id": f"{name}_web", "database": name, "database_uuid": f"uuid of {name}"}
    send(receiver, **{**given, "endpoint_url": f"https://{name}.example/mcp", **said})


def listed(receiver: httpx.Client, **asked: Any) -> list[Json]:
    return entries_of(receiver.get(LIST, params=asked))


def names(entries: list[Json]) -> list[str]:
    """The part of the names after the namespace, without the digests."""
    return [each["server"]["name"].partition("/")[2].rpartition("-")[0] for each in entries]


def only_name(receiver: httpx.Client) -> str:
    (entry,) = listed(receiver)
    name: str = entry["server"]["name"]
    return name


def get(receiver: httpx.Client, name: str, version: str = "latest", **asked: Any) -> Json:
    answer = receiver.get(f"{LIST}/{quote(name, safe='')}/versions/{version}", params=asked)
    assert 200 == answer.status_code, answer.text
    entry: Json = answer.json()
    expect_entry(entry)
    return entry


def status(entry: Json) -> str:
    found: str = entry["_meta"][OFFICIAL]["status"]
    return found


@contextmanager
def receiving(url: str, clock: Clock, **environ: str) -> Iterator[httpx.Client]:
    tuning = Tuning(absence_seconds=ANY_PAUSE_SECONDS, look_seconds=0.05)
    app = create_app(environ={"FLEET_DATABASE_URL": url, **environ}, clock=clock, tuning=tuning)
    with serve(app) as client:
        yield client

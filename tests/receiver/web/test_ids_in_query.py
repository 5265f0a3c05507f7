"""Servers whose names a client would resolve in a path are reached by names in the query."""

import re
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx
import pytest

import messages
from keyring import bearer, keep, made
from receiver.app import create_app
from servers import Clock, serve

DOTS = pytest.mark.parametrize("server_id", [".", ".."])


@DOTS
def test_by_id_calls_are_reached_by_clients_that_resolve_dots(
    sqlite_url: str, clock: Clock, server_id: str
) -> None:
    key, token = made("admin")
    keep(sqlite_url, key)
    asked = {"id": server_id}
    with serve(create_app(environ={"FLEET_DATABASE_URL": sqlite_url}, clock=clock)) as receiver:
        receiver.headers.update(bearer(token))
        receiver.post("/heartbeat", json=messages.slim(server_id=server_id))
        record = receiver.get("/by-id/servers", params=asked).json()
        given = receiver.put("/by-id/servers/owner", params=asked, json={"key_id": key.id}).json()
        owner = receiver.get("/by-id/servers/owner", params=asked).json()
        events = receiver.get("/by-id/servers/events", params={**asked, "limit": 1}).json()
        deleted = receiver.delete("/by-id/servers", params=asked).json()
        gone = receiver.get("/by-id/servers", params=asked)

    assert server_id == record["server_id"] == events["events"][0]["server_id"]
    assert {"server_id": server_id, "key_id": key.id} == given == owner
    assert {"status": "deleted", "server_id": server_id} == deleted
    assert 404 == gone.status_code


@DOTS
@pytest.mark.parametrize("page", ["/", "/timeline", "/by-id/server?id={}"])
def test_links_lead_to_the_server_when_dots_are_resolved(
    receiver: httpx.Client, page: str, server_id: str
) -> None:
    receiver.post("/heartbeat", json=messages.slim(server_id=server_id))
    base = str(receiver.base_url.join(page.format(server_id)))

    shown = receiver.get(base)
    links, forms = (
        {urljoin(base, each.replace("&amp;", "&")) for each in re.findall(pattern, shown.text)}
        for pattern in (r'href="([^"]*)"', r'action="([^"]*)"')
    )
    of_server = {each for each in links | forms if "/by-id/" in each}

    assert 200 == shown.status_code
    assert of_server
    for link in of_server & forms:
        assert parse_qs(urlsplit(link).query) == {"id": [server_id]}
    for link in of_server - forms:
        answer = receiver.get(link)
        assert (200, link) == (answer.status_code, str(answer.url))
        assert server_id in answer.text
    assert not any(re.search("/servers?/", each) for each in (links | forms) - of_server)


@DOTS
def test_server_is_deleted_on_its_pages(receiver: httpx.Client, server_id: str) -> None:
    receiver.post("/heartbeat", json=messages.slim(server_id=server_id))
    page = receiver.get("/by-id/server/delete", params={"id": server_id})
    (form,) = re.findall(r'name="form" value="([^"]+)"', page.text)

    done = receiver.post("/by-id/server/delete", params={"id": server_id}, data={"form": form})

    assert f"../../by-id/server?id={server_id}" in page.text
    assert (303, "../../") == (done.status_code, done.headers["location"])
    assert 404 == receiver.get("/by-id/server", params={"id": server_id}).status_code


@DOTS
def test_form_of_a_server_leads_back_to_it(sqlite_url: str, clock: Clock, server_id: str) -> None:
    key, token = made("admin")
    keep(sqlite_url, key)
    with serve(create_app(environ={"FLEET_DATABASE_URL": sqlite_url}, clock=clock)) as receiver:
        asked: dict[str, Any] = {"params": {"id": server_id}, "headers": bearer(token)}
        receiver.post(
            "/heartbeat", json=messages.slim(server_id=server_id), headers=bearer(token)
        ).raise_for_status()
        page = receiver.get("/by-id/server", **asked)
        (form, *_) = re.findall(r'name="form" value="([^"]+)"', page.text)
        data = {"form": form, "key_id": ""}
        done = receiver.post("/by-id/server/owner", data=data, **asked)
        expired = receiver.post("/by-id/server/owner", data={**data, "form": "x"}, **asked)
        sign_in = receiver.get("/by-id/server", params={"id": server_id})

    back = f"by-id/server?id={server_id}"
    assert (303, f"../../{back}") == (done.status_code, done.headers["location"])
    assert f'href="../../{back}"' in expired.text
    assert f'value="/{back}"' in sign_in.text


@pytest.mark.parametrize("query", ["", "id=a&id=b", "id=%ff", "id=%ed%a0%80", "ID=a"])
@pytest.mark.parametrize("path", ["/by-id/servers", "/by-id/servers/events", "/by-id/server"])
def test_by_id_call_without_exactly_one_id_is_refused(
    receiver: httpx.Client, path: str, query: str
) -> None:
    receiver.post("/heartbeat", json=messages.slim(server_id="\ufffd"))

    answer = receiver.get(f"{path}?{query}")

    assert 400 == answer.status_code


def test_any_server_is_reached_by_its_id(receiver: httpx.Client) -> None:
    for server_id in ("acme_web-1", "a/b", "\u00e4 \u00f6%&=+", "..", "\ufffd"):
        receiver.post("/heartbeat", json=messages.slim(server_id=server_id))

        found = receiver.get("/by-id/servers", params={"id": server_id})

        assert server_id == found.json()["server_id"]


def test_other_parameters_beside_an_id_are_refused(receiver: httpx.Client) -> None:
    assert 400 == receiver.get("/by-id/servers/events?id=a&x=1").status_code
    assert 400 == receiver.get("/servers/a/events?id=a").status_code

"""The calls for configuration files of MCP clients, and the panel on the page of a server."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import tomllib
from sqlalchemy import make_url

import messages
from keyring import bearer, keep, made
from receiver.app import create_app
from receiver.domain.agents.client_files import Client
from receiver.domain.keys import KeyScope
from receiver.store import SqlStore
from receiver.web.agents import connection
from servers import Clock, serve, wait_until

URL = "https://acme.example/mcp/v1"


def send(receiver: httpx.Client, **said: Any) -> None:
    given = {"server_id": "acme_web", "database": "acme", "odoo_stage": "production"}
    given |= {"endpoint_url": URL, **said}
    receiver.post("/heartbeat", json=messages.slim(**given)).raise_for_status()


def names(answer: httpx.Response) -> list[str]:
    assert 200 == answer.status_code, answer.text
    return [*answer.json()["mcpServers"]]


@pytest.mark.both_databases
def test_file_of_a_server_has_its_endpoint(receiver: httpx.Client) -> None:
    send(receiver)

    answer = receiver.get("/servers/acme_web/connection?client=claude-code")

    assert (200, "application/json") == (answer.status_code, answer.headers["content-type"])
    assert 'inline; filename=".mcp.json"' == answer.headers["content-disposition"]
    assert URL == answer.json()["mcpServers"]["acme-production"]["url"]


def test_file_of_codex_is_toml(receiver: httpx.Client) -> None:
    send(receiver)

    answer = receiver.get("/servers/acme_web/connection?client=codex")

    assert "application/toml" == answer.headers["content-type"].partition(";")[0]
    assert 'inline; filename="config.toml"' == answer.headers["content-disposition"]
    assert URL == tomllib.loads(answer.text)["mcp_servers"]["acme-production"]["url"]


@pytest.mark.both_databases
def test_file_of_a_group_has_all_that_match_and_can_be_reached(receiver: httpx.Client) -> None:
    send(receiver)
    send(receiver, server_id="beta_web", database="beta", endpoint_url="https://b.example/mcp")
    send(receiver, server_id="test_web", database="test", odoo_stage="staging")
    send(receiver, server_id="silent_web", database="silent", endpoint_url=None)

    answer = receiver.get("/connections?client=cursor&stage=production")

    assert ["acme-production", "beta-production"] == names(answer)


def test_server_has_the_same_name_alone_and_in_a_group(receiver: httpx.Client) -> None:
    send(receiver, hostname="web-1")
    send(receiver, server_id="acme_two", hostname="web-2")

    alone = receiver.get("/servers/acme_two/connection?client=cursor")
    together = receiver.get("/connections?client=cursor")

    assert ["acme-production-web-2"] == names(alone)
    assert ["acme-production-web-2", "acme-production-web-1"] == names(together)


def test_server_without_a_database_is_named_after_its_host(receiver: httpx.Client) -> None:
    send(receiver, database=None, odoo_stage=None, hostname="web-1")

    assert ["web-1"] == names(receiver.get("/servers/acme_web/connection?client=cursor"))


def test_server_without_an_endpoint_has_no_file(receiver: httpx.Client) -> None:
    send(receiver, endpoint_url=None)

    for path in ("/servers/acme_web/connection", "/connections"):
        answer = receiver.get(path, params={"client": "cursor"})
        assert (404, "no_endpoint") == (answer.status_code, answer.json()["code"])


def test_unknown_server_has_no_file(receiver: httpx.Client) -> None:
    answer = receiver.get("/servers/nobody/connection?client=cursor")

    assert (404, "not_found") == (answer.status_code, answer.json()["code"])


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/servers/acme_web/connection", "client: is missing; it is one of claude-code, "),
        ("/servers/acme_web/connection?client=emacs", "client: expected one of claude-code, "),
        ("/servers/acme_web/connection?client=codex&stage=a", "stage: is no parameter here"),
        ("/connections?client=codex&limit=5", "limit: is no parameter here"),
        ("/connections?stage=production", "client: is missing"),
    ],
)
def test_invalid_query_for_a_client_file_is_refused(
    receiver: httpx.Client, path: str, said: str
) -> None:
    send(receiver)

    answer = receiver.get(path)

    assert (400, "invalid_parameter") == (answer.status_code, answer.json()["code"])
    assert said in answer.json()["detail"]


def test_too_many_servers_for_a_file_are_refused(
    receiver: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "MAX_LIMIT", 1)
    send(receiver)
    send(receiver, server_id="beta_web")

    answer = receiver.get("/connections?client=cursor")

    assert (400, "too_many_servers") == (answer.status_code, answer.json()["code"])


@pytest.fixture
def guarded(sqlite_url: str, clock: Clock) -> Iterator[tuple[httpx.Client, str]]:
    """A receiver with keys that hands on one host only, and the token of a viewer."""
    environ = {"FLEET_DATABASE_URL": sqlite_url, "FLEET_ENDPOINTS": "acme.example"}
    viewer, agent = made(scope="viewer"), made(scope="agent")
    keep(sqlite_url, viewer[0], agent[0])
    with serve(create_app(environ=environ, clock=clock)) as client:
        client.headers = bearer(agent[1])
        yield client, viewer[1]


def test_endpoint_that_must_not_be_handed_on_is_in_no_file(
    guarded: tuple[httpx.Client, str],
) -> None:
    receiver, viewer = guarded
    send(receiver)
    send(receiver, server_id="evil_web", endpoint_url="https://169.254.169.254/latest")
    refused = receiver.get("/servers/acme_web/connection?client=cursor")
    receiver.headers = bearer(viewer)

    evil = receiver.get("/servers/evil_web/connection?client=cursor")
    group = receiver.get("/connections?client=cursor")

    assert 403 == refused.status_code  # an agent's key does not read
    assert (404, "no_endpoint") == (evil.status_code, evil.json()["code"])
    (name,) = names(group)
    assert name.startswith("acme-production-")
    assert "169.254" not in group.text


def test_server_of_a_revoked_key_is_in_no_file(
    guarded: tuple[httpx.Client, str], sqlite_url: str, clock: Clock
) -> None:
    receiver, viewer = guarded
    send(receiver)
    store = SqlStore(make_url(sqlite_url))
    for key in store.keys.all():
        if key.scope is KeyScope.AGENT:
            assert store.keys.revoke(key.id, clock.now)
    store.close()
    receiver.headers = bearer(viewer)
    path = "/servers/acme_web/connection?client=cursor"
    wait_until(lambda: receiver.get(path).status_code == 404)

    assert "a key that was revoked or has expired" in receiver.get(path).json()["detail"]
    assert "no_endpoint" == receiver.get("/connections?client=cursor").json()["code"]
    assert 'id="connect"' not in receiver.get("/server/acme_web").text


def test_server_that_was_rebuilt_names_its_successor(receiver: httpx.Client, clock: Clock) -> None:
    send(receiver, server_id="old", database_uuid="u", heartbeat_interval_seconds=5)
    clock.advance(60)
    send(receiver, server_id="new", database_uuid="u", heartbeat_interval_seconds=5)
    clock.advance(4)
    path = "/servers/old/connection?client=cursor"
    wait_until(lambda: receiver.get(path).status_code == 404)

    assert "goes on as 'new'" in receiver.get(path).json()["detail"]


def test_server_that_has_left_has_no_file(receiver: httpx.Client) -> None:
    send(receiver, status="uninstalled")

    answer = receiver.get("/servers/acme_web/connection?client=cursor")

    assert "has left" in answer.json()["detail"]


def test_client_that_cannot_take_a_url_is_told_so(receiver: httpx.Client) -> None:
    send(receiver, endpoint_url="https://acme.example/mcp?db=acme&x=1")

    alone = receiver.get("/servers/acme_web/connection?client=claude-desktop")
    group = receiver.get("/connections?client=claude-desktop")
    page = receiver.get("/server/acme_web").text

    assert (404, "no_endpoint") == (alone.status_code, alone.json()["code"])
    assert "claude-desktop cannot take" in alone.json()["detail"]
    assert (404, "no_endpoint") == (group.status_code, group.json()["code"])
    assert 'id="connect-claude-desktop"' not in page
    assert 'id="connect-vscode"' in page


def test_page_of_a_server_shows_how_to_connect_each_client(receiver: httpx.Client) -> None:
    send(receiver)

    page = receiver.get("/server/acme_web").text

    for client in Client:
        assert f'id="connect-{client.value}"' in page
        assert f'href="../servers/acme_web/connection?client={client.value}"' in page
    assert "then Security, then Add API Key" in page
    assert 'href="cursor://anysphere.cursor-deeplink/mcp/install?name=acme-production' in page


def test_page_of_a_server_without_an_endpoint_has_no_such_panel(receiver: httpx.Client) -> None:
    send(receiver, endpoint_url=None)

    assert 'id="connect"' not in receiver.get("/server/acme_web").text


def test_server_named_by_dots_has_a_file(receiver: httpx.Client) -> None:
    send(receiver, server_id="..")

    found = receiver.get("/by-id/servers/connection?id=..&client=cursor")
    page = receiver.get("/by-id/server?id=..").text

    assert ["acme-production"] == names(found)
    assert "by-id/servers/connection?id=..&amp;client=cursor" in page


def test_panel_shows_the_file_as_the_call_answers_it(receiver: httpx.Client) -> None:
    send(receiver, database='"><script>alert(1)</script>')

    page = receiver.get("/server/acme_web").text
    file = receiver.get("/servers/acme_web/connection?client=vscode").json()

    assert "<script>alert" not in page
    assert ["script-alert-1-script-production"] == [*file["servers"]]
    assert json.dumps(file["inputs"][0]["id"])[1:-1] in page

"""
Permissions: the status of every route for every kind of credential.

The table is complete: a route without a row fails, and so does a row without a route.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import copyfile
from typing import Any, NamedTuple

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Route

import messages
from keyring import bearer, expired, keep, made, revoked, signed_in
from receiver.app import Tuning, create_app
from receiver.web.routing import Guarded
from servers import ANY_PAUSE_SECONDS, Clock, serve

# The expected status for each credential. Two requests go to a receiver without keys: "near"
# directly from the same machine, "far" through a proxy. The others go to a receiver with keys:
# without a key, with an unknown key, with an expired or revoked viewer key, with the agent key
# that owns the server, with an "other" agent key, with a viewer key, with an admin key; and
# "viewer@" and "admin@" with a session cookie, without a CSRF token; "registry" with the key of a
# registry in the header.
TABLE = """
                                near  far none wrong expired revoked agent other viewer admin viewer@ admin@ registry
POST   /register                 200  403  401   401     401     401   200   403    403   200     401    401      403
POST   /heartbeat                200  403  401   401     401     401   200   403    403   200     401    401      403
POST   /heartbeats               200  403  401   401     401     401   200   200    403   200     401    401      403
GET    /servers                  200  403  401   401     401     401   403   403    200   200     200    200      403
DELETE /servers                  400  403  401   401     401     401   403   403    403   400     401    401      403
GET    /servers/{id}             200  403  401   401     401     401   403   403    200   200     200    200      403
GET    /servers/{id}/events      200  403  401   401     401     401   403   403    200   200     200    200      403
GET    /servers/{id}/owner       200  403  401   401     401     401   403   403    403   200     401    401      403
PUT    /servers/{id}/owner       422  403  401   401     401     401   403   403    403   200     401    401      403
DELETE /servers/{id}             200  403  401   401     401     401   403   403    403   200     401    401      403
GET    /labels                   200  403  401   401     401     401   403   403    200   200     200    200      403
GET    /servers/{id}/labels      200  403  401   401     401     401   403   403    200   200     200    200      403
PATCH  /servers/{id}/labels      200  403  401   401     401     401   403   403    403   200     401    401      403
GET    /by-id/servers/labels?id={id} 200 403 401 401     401     401   403   403    200   200     200    200      403
PATCH  /by-id/servers/labels?id={id} 200 403 401 401     401     401   403   403    403   200     401    401      403
GET    /servers/{id}/tools       200  403  401   401     401     401   403   403    200   200     200    200      403
GET    /servers/{id}/connection  400  403  401   401     401     401   403   403    400   400     400    400      403
GET    /connections              400  403  401   401     401     401   403   403    400   400     400    400      403
GET    /v0.1/servers             200  403  401   401     401     401   403   403    200   200     401    401      200
GET    /v0.1/servers/{name}/versions 404 403 401 401     401     401   403   403    404   404     401    401      404
GET    /v0.1/servers/{name}/versions/{version} 404 403 401 401 401 401 403 403      404   404     401    401      404
GET    /registry/{secret}/v0.1/servers 401 403 401 401   401     401   401   401    401   401     401    401      401
GET    /registry/{secret}/v0.1/servers/{name}/versions 401 403 401 401 401 401 401 401 401 401    401    401      401
GET    /registry/{secret}/v0.1/servers/{name}/versions/{version} 401 403 401 401 401 401 401 401 401 401 401 401 401
GET    /tools                    400  403  401   401     401     401   403   403    400   400     400    400      403
GET    /versions.json            200  403  401   401     401     401   403   403    200   200     200    200      403
GET    /compare.json             400  403  401   401     401     401   403   403    400   400     400    400      403
GET    /versions                 200  403  401   401     401     401   403   403    200   200     200    200      403
GET    /compare                  200  403  401   401     401     401   403   403    200   200     200    200      403
GET    /tools.json               200  403  401   401     401     401   403   403    200   200     200    200      403
POST   /mcp                      200  403  401   401     401     401   403   403    200   200     401    401      403
GET    /events                   200  403  401   401     401     401   403   403    200   200     200    200      403
GET    /events/stream            200  403  401   401     401     401   403   403    200   200     200    200      403
GET    /events/news              200  403  401   401     401     401   403   403    200   200     200    200      403
GET    /metrics                  200  403  401   401     401     401   403   403    200   200     200    200      403
GET    /history.json             200  403  401   401     401     401   403   403    200   200     200    200      403
GET    /sd/prometheus            200  403  401   401     401     401   403   403    200   200     200    200      403
GET    /openapi.json             200  403  401   401     401     401   403   403    200   200     200    200      403
GET    /health                   200  200  200   200     200     200   200   200    200   200     200    200      200
GET    /health/live              200  200  200   200     200     200   200   200    200   200     200    200      200
GET    /channels 200 403 401 401 401 401 403 403 200 200 200 200 403
POST   /channels 409 403 401 401 401 401 403 403 403 409 401 401 403
PATCH  /channels/{channel_id} 404 403 401 401 401 401 403 403 403 404 401 401 403
DELETE /channels/{channel_id} 404 403 401 401 401 401 403 403 403 404 401 401 403
POST   /channels/{channel_id}/test 403 403 401 401 401 401 403 403 403 404 401 401 403
GET    /rules 200 403 401 401 401 401 403 403 200 200 200 200 403
POST   /rules 422 403 401 401 401 401 403 403 403 422 401 401 403
PUT    /rules/{rule_id} 404 403 401 401 401 401 403 403 403 404 401 401 403
DELETE /rules/{rule_id} 404 403 401 401 401 401 403 403 403 404 401 401 403
GET    /silences 200 403 401 401 401 401 403 403 200 200 200 200 403
POST   /silences 201 403 401 401 401 401 403 403 403 201 401 401 403
DELETE /silences/{silence_id} 404 403 401 401 401 401 403 403 403 404 401 401 403
POST   /servers/{id}/silence 201 403 401 401 401 401 201 403 403 201 401 401 403
POST   /by-id/servers/silence?id={id} 201 403 401 401 401 401 201 403 403 201 401 401 403
GET    /alarms 200 403 401 401 401 401 403 403 200 200 200 200 403
POST   /alarms/{alarm_id}/acknowledge 403 403 401 401 401 401 403 403 403 404 401 401 403
GET    /deliveries 200 403 401 401 401 401 403 403 200 200 200 200 403
GET    /badges/{badge_key}/servers.svg 401 403 401 401 401 401 401 401 401 401 401 401 401
GET    /badges/{badge_key}/servers/{id}.svg 401 403 401 401 401 401 401 401 401 401 401 401 401
GET    /by-id/servers?id={id}    200  403  401   401     401     401   403   403    200   200     200    200      403
GET    /by-id/servers/events?id={id} 200 403 401 401     401     401   403   403    200   200     200    200      403
GET    /by-id/servers/tools?id={id} 200 403 401  401     401     401   403   403    200   200     200    200      403
GET    /by-id/servers/connection?id={id} 400 403 401 401 401     401   403   403    400   400     400    400      403
GET    /by-id/servers/owner?id={id} 200 403 401  401     401     401   403   403    403   200     401    401      403
PUT    /by-id/servers/owner?id={id} 422 403 401  401     401     401   403   403    403   200     401    401      403
DELETE /by-id/servers?id={id}    200  403  401   401     401     401   403   403    403   200     401    401      403
GET    /by-id/server?id={id}     200  403  401   401     401     401   403   403    200   200     200    200      403
GET    /by-id/server/delete?id={id} 200 403 401  401     401     401   403   403    403   200     403    200      403
POST   /by-id/server/delete?id={id} 403 403 401  401     401     401   403   403    403   403     403    403      403
POST   /by-id/server/owner?id={id} 403 403 401   401     401     401   403   403    403   403     403    403      403
GET    /keys                     403  403  401   401     401     401   403   403    403   200     401    401      403
POST   /keys                     403  403  401   401     401     401   403   403    403   201     401    401      403
DELETE /keys/{key}               403  403  401   401     401     401   403   403    403   200     401    401      403
POST   /keys/{key}/rotate        403  403  401   401     401     401   403   403    403   200     401    401      403
GET    /                         200  403  401   401     401     401   403   403    200   200     200    200      403
POST   /seen                     403  403  401   401     401     401   403   403    403   403     403    403      403
GET    /timeline                 200  403  401   401     401     401   403   403    200   200     200    200      403
GET    /history                  200  403  401   401     401     401   403   403    200   200     200    200      403
GET    /views                   200  403  401   401     401     401   403   403    200   200     200    200      403
POST   /views/new               403  403  401   401     401     401   403   403    403   403     403    403      403
GET    /views/{view_id}         404  403  401   401     401     401   403   403    404   404     404    404      403
POST   /views/{view_id}/delete   403  403  401   401     401     401   403   403    403   403     403    403      403
GET    /facets                   200  403  401   401     401     401   403   403    200   200     200    200      403
GET    /wall                     200  403  401   401     401     401   403   403    200   200     200    200      403
GET    /server/{id}              200  403  401   401     401     401   403   403    200   200     200    200      403
GET    /server/{id}/delete       200  403  401   401     401     401   403   403    403   200     403    200      403
POST   /server/{id}/delete       403  403  401   401     401     401   403   403    403   403     403    403      403
GET    /server/{id}/labels       200  403  401   401     401     401   403   403    403   200     403    200      403
POST   /server/{id}/labels       403  403  401   401     401     401   403   403    403   403     403    403      403
GET    /by-id/server/labels?id={id} 200 403 401  401     401     401   403   403    403   200     403    200      403
POST   /by-id/server/labels?id={id} 403 403 401  401     401     401   403   403    403   403     403    403      403
POST   /server/{id}/owner        403  403  401   401     401     401   403   403    403   403     403    403      403
POST   /selection                403  403  401   401     401     401   403   403    403   403     403    403      403
POST   /selection/forget         403  403  401   401     401     401   403   403    403   403     403    403      403
POST   /selection/silence        403  403  401   401     401     401   403   403    403   403     403    403      403
POST   /selection/hand-over      403  403  401   401     401     401   403   403    403   403     403    403      403
POST   /selection/label          403  403  401   401     401     401   403   403    403   403     403    403      403
GET    /keyring                  403  403  401   401     401     401   403   403    403   200     403    200      403
POST   /keyring                  403  403  401   401     401     401   403   403    403   403     403    403      403
GET    /keyring/{key}/revoke     403  403  401   401     401     401   403   403    403   200     403    200      403
POST   /keyring/{key}/revoke     403  403  401   401     401     401   403   403    403   403     403    403      403
GET    /keyring/{key}/rotate     403  403  401   401     401     401   403   403    403   200     403    200      403
POST   /keyring/{key}/rotate     403  403  401   401     401     401   403   403    403   403     403    403      403
GET    /keyring/{key}/secret     303  403  303   303     303     303   303   303    303   303     303    303      303
GET    /alerts                  200  403  401   401     401     401   403   403    200   200     200    200      403
GET    /report                  200  403  401   401     401     401   403   403    200   200     200    200      403
GET    /report.csv              200  403  401   401     401     401   403   403    200   200     200    200      403
GET    /report.json             200  403  401   401     401     401   403   403    200   200     200    200      403
GET    /alerts/channels/new     200  403  401   401     401     401   403   403    403   200     403    200      403
POST   /alerts/channels/new     403  403  401   401     401     401   403   403    403   403     403    403      403
GET    /alerts/channels/{channel_id} 404  403  401   401     401     401   403   403    403   404     403    404      403
POST   /alerts/channels/{channel_id} 404  403  401   401     401     401   403   403    403   404     403    404      403
GET    /alerts/channels/{channel_id}/remove 404  403  401   401     401     401   403   403    403   404     403    404      403
POST   /alerts/channels/{channel_id}/remove 404  403  401   401     401     401   403   403    403   404     403    404      403
POST   /alerts/channels/{channel_id}/test 403  403  401   401     401     401   403   403    403   403     403    403      403
GET    /alerts/rules/new        200  403  401   401     401     401   403   403    403   200     403    200      403
POST   /alerts/rules/new        403  403  401   401     401     401   403   403    403   403     403    403      403
GET    /alerts/rules/{rule_id}  404  403  401   401     401     401   403   403    403   404     403    404      403
POST   /alerts/rules/{rule_id}  404  403  401   401     401     401   403   403    403   404     403    404      403
GET    /alerts/rules/{rule_id}/remove 404  403  401   401     401     401   403   403    403   404     403    404      403
POST   /alerts/rules/{rule_id}/remove 404  403  401   401     401     401   403   403    403   404     403    404      403
GET    /alerts/silences/new     200  403  401   401     401     401   403   403    403   200     403    200      403
POST   /alerts/silences/new     403  403  401   401     401     401   403   403    403   403     403    403      403
POST   /alerts/silences/{silence_id}/end 403  403  401   401     401     401   403   403    403   403     403    403      403
POST   /alerts/alarms/{alarm_id}/acknowledge 403  403  401   401     401     401   403   403    403   403     403    403      403
POST   /server/{id}/silence     403  403  401   401     401     401   403   403    403   403     403    403      403
POST   /by-id/server/silence?id={id} 403  403  401   401     401     401   403   403    403   403     403    403      403
GET    /sign-in                  403  403  200   200     200     200   200   200    200   200     200    200      200
POST   /sign-in                  403  403  403   403     403     403   403   403    403   403     403    403      403
POST   /sign-out                 403  403  403   403     403     403   403   403    403   403     403    403      403
GET    /static/fleet.css         200  200  200   200     200     200   200   200    200   200     200    200      200
GET    /nothing                  404  403  404   404     404     404   404   404    404   404     404    404      404
"""  # noqa: E501 - a table

SERVER = "acme_web-1"  # the server_id of `messages`
UNKNOWN = "fleetkey_abcdefghij_" + 43 * "k"
RULE = {"name": "a", "kinds": ["down"], "channel_id": "nothing"}
GIVEN = {
    "id": SERVER,
    "name": "a/b",
    "version": "1",
    "secret": "s",
    "badge_key": "s",
    "channel_id": "c",
    "rule_id": "r",
    "silence_id": "s",
    "alarm_id": "1",
    "view_id": "v",
}


class Row(NamedTuple):
    """A route, and the expected status for each credential."""

    method: str
    path: str
    expected: dict[str, int]

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def changes_something(self) -> bool:
        """Whether somebody's request is expected to change what is stored."""
        return self.method != "GET" and min(self.expected.values()) < 400


def rows() -> list[Row]:
    titles, *lines = TABLE.strip("\n").splitlines()
    found = []
    for line in lines:
        method, path, *statuses = line.split()
        expected = dict(zip(titles.split(), map(int, statuses), strict=True))
        found.append(Row(method, path, expected))
    return found


ROWS = rows()


def body_of(row: Row, key_id: str) -> dict[str, Any]:
    """The body of a request as arguments of httpx; forms have no CSRF token."""
    if row.method == "POST" and row.path.startswith(
        (
            *("/server/", "/by-id/server/", "/selection", "/keyring", "/alerts/", "/sign-"),
            *("/seen", "/views/"),
        )
    ):
        return {"data": {"key_id": key_id, "name": "new", "scope": "viewer"}}
    sent = {
        ("POST", "/register"): messages.registration(),
        ("POST", "/heartbeat"): messages.heartbeat(),
        ("POST", "/heartbeats"): [messages.heartbeat()],
        ("PATCH", "/servers/{id}/labels"): {"add": ["gold"]},
        ("PATCH", "/by-id/servers/labels?id={id}"): {"add": ["gold"]},
        ("PUT", "/servers/{id}/owner"): {"key_id": key_id},
        ("PUT", "/by-id/servers/owner?id={id}"): {"key_id": key_id},
        ("POST", "/mcp"): {"jsonrpc": "2.0", "id": 1, "method": "ping"},
        ("POST", "/keys"): {"name": "new", "scope": "viewer"},
        ("POST", "/channels"): {"name": "a", "kind": "webhook", "address": "https://a.example"},
        ("PATCH", "/channels/{channel_id}"): {},
        ("POST", "/rules"): RULE,
        ("PUT", "/rules/{rule_id}"): RULE,
        ("POST", "/silences"): {"query": "", "duration_seconds": 60, "reason": "upgrade"},
        ("POST", "/servers/{id}/silence"): {"minutes": 5},
        ("POST", "/by-id/servers/silence?id={id}"): {"minutes": 5},
    }
    return {"json": sent.get((row.method, row.path))}


class Receiver(NamedTuple):
    """A receiver with one server, and the headers of each credential."""

    client: httpx.Client
    headers: dict[str, dict[str, str]]
    owner_id: str

    def status(self, row: Row, who: str) -> int:
        """The status that a request with a credential is answered with."""
        path = row.path.format(**GIVEN, key=self.owner_id)
        sent = body_of(row, self.owner_id)
        with self.client.stream(row.method, path, headers=self.headers[who], **sent) as answer:
            return answer.status_code


class Receivers(NamedTuple):
    """A receiver without keys, and one with keys."""

    without_keys: Receiver
    with_keys: Receiver

    def statuses(self, row: Row) -> dict[str, int]:
        """The status of a request with each credential, in the order of the table."""
        found: dict[str, int] = {}
        # Refused requests first, since successful ones delete and revoke things.
        for who in sorted(row.expected, key=lambda who: (row.expected[who] < 300, who)):
            asked = self.without_keys if who in self.without_keys.headers else self.with_keys
            found[who] = asked.status(row, who)
        return {who: found[who] for who in row.expected}


@contextmanager
def receivers(template: Path, folder: Path) -> Iterator[Receivers]:
    files = [folder / name for name in ("without.db", "with.db")]
    for file in files:
        copyfile(template, file)
    one, two = (f"sqlite:///{file}" for file in files)
    with without_keys(one, Clock()) as keyless, with_keys(two, Clock()) as keyed:
        yield Receivers(keyless, keyed)


@pytest.fixture
def new_receivers(sqlite_template: Path, tmp_path: Path) -> Iterator[Receivers]:
    with receivers(sqlite_template, tmp_path) as started:
        yield started


@pytest.fixture(scope="module")
def shared_receivers(
    sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Receivers]:
    """For requests that change nothing."""
    with receivers(sqlite_template, tmp_path_factory.mktemp("shared")) as started:
        yield started


@contextmanager
def without_keys(database_url: str, clock: Clock) -> Iterator[Receiver]:
    with receiver(database_url, clock) as client:
        client.post("/register", json=messages.registration()).raise_for_status()
        headers = {"near": {}, "far": {"X-Forwarded-For": "192.0.2.7"}}
        yield Receiver(client, headers, "abcdefghij")


@contextmanager
def with_keys(database_url: str, clock: Clock) -> Iterator[Receiver]:
    agent, agents = made("agent", servers="acme_*")
    other, others = made("agent", servers="*")
    viewer, viewers = made("viewer")
    registry, registries = made("registry")
    admin, admins = made("admin")
    old, olds = made("viewer")
    withdrawn, backs = made("viewer")
    keep(database_url, agent, other, viewer, registry, admin, expired(old), revoked(withdrawn))
    tokens = {
        "none": None,
        "wrong": UNKNOWN,
        "expired": olds,
        "revoked": backs,
        "agent": agents,
        "other": others,
        "viewer": viewers,
        "registry": registries,
        "admin": admins,
    }
    with receiver(database_url, clock) as client:
        registered = client.post("/register", json=messages.registration(), headers=bearer(agents))
        registered.raise_for_status()
        headers = {who: bearer(token) for who, token in tokens.items()}
        headers["viewer@"] = signed_in(client, viewers)
        headers["admin@"] = signed_in(client, admins)
        yield Receiver(client, headers, agent.id)


@contextmanager
def receiver(database_url: str, clock: Clock) -> Iterator[httpx.Client]:
    environ = {"FLEET_DATABASE_URL": database_url, "FLEET_FAILURES_PER_MINUTE": "10000"}
    app = create_app(environ=environ, clock=clock, tuning=Tuning(absence_seconds=ANY_PAUSE_SECONDS))
    with serve(app) as client:
        yield client


def calls(app: Starlette) -> set[tuple[str, str]]:
    """Method and path of every route except static files."""
    found = set()
    for route in app.routes:
        if isinstance(route, Route):
            assert isinstance(route, Guarded), f"{route.path} is not guarded"
            path = route.path.replace("{server_id:path}", "{id}").replace("{key_id}", "{key}")
            path = path.replace("{server_name:path}", "{name}")
            path += "?id={id}" if route.id_in_query else ""
            found |= {(method, path) for method in (route.methods or set()) - {"HEAD"}}
        else:
            assert "/static" == getattr(route, "path", None)
    return found


def test_every_route_has_a_row_in_the_permission_table_and_every_row_a_route() -> None:
    no_routes = {("GET", "/static/fleet.css"), ("GET", "/nothing")}

    assert calls(create_app(environ={})) == {(row.method, row.path) for row in ROWS} - no_routes


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """SQLite only, since permissions are the same on each database."""
    return sqlite_url


@pytest.mark.parametrize("row", [row for row in ROWS if not row.changes_something], ids=str)
def test_every_credential_that_changes_nothing_gets_the_status_of_the_table(
    row: Row, shared_receivers: Receivers
) -> None:
    assert row.expected == shared_receivers.statuses(row)


@pytest.mark.parametrize("row", [row for row in ROWS if row.changes_something], ids=str)
def test_every_credential_that_changes_something_gets_the_status_of_the_table(
    row: Row, new_receivers: Receivers
) -> None:
    assert row.expected == new_receivers.statuses(row)


def test_every_route_that_changes_nothing_answers_an_administrator_on_postgresql(
    postgresql_url: str, clock: Clock
) -> None:
    rows = [row for row in ROWS if not row.changes_something and "admin" in row.expected]
    with with_keys(postgresql_url, clock) as keyed:
        answers = {str(row): keyed.status(row, "admin") for row in rows}

    assert {str(row): row.expected["admin"] for row in rows} == answers


@pytest.mark.parametrize("row", [row for row in ROWS if row.changes_something], ids=str)
def test_every_route_that_changes_something_answers_an_administrator_on_postgresql(
    row: Row, postgresql_url: str, clock: Clock
) -> None:
    with with_keys(postgresql_url, clock) as keyed:
        assert row.expected["admin"] == keyed.status(row, "admin")


def test_refused_request_changes_nothing(sqlite_url: str, clock: Clock) -> None:
    with with_keys(sqlite_url, clock) as receiver_under_test:
        admin = receiver_under_test.headers["admin"]

        def everything() -> list[Any]:
            pages = ("/servers?total=true", f"/servers/{SERVER}", f"/servers/{SERVER}/owner")
            found = [receiver_under_test.client.get(page, headers=admin).json() for page in pages]
            keys = receiver_under_test.client.get("/keys", headers=admin).json()["keys"]
            return [*found, [(key["id"], key["revoked_at"]) for key in keys]]

        before = everything()
        for row in ROWS:
            for who, expected in row.expected.items():
                if who in receiver_under_test.headers and (expected >= 400 or who == "other"):
                    receiver_under_test.status(row, who)

        assert before == everything()


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "TRACE", "PATCH", "PUT", "PROPFIND"])
@pytest.mark.parametrize("path", ["/servers", "/heartbeat", "/keys", "/", f"/servers/{SERVER}"])
def test_methods_that_a_route_does_not_have_need_a_key_too(
    method: str, path: str, shared_receivers: Receivers
) -> None:
    keyed = shared_receivers.with_keys
    answers = [
        keyed.client.request(method, path, headers=keyed.headers[who]).status_code
        for who in ("none", "wrong", "expired", "revoked")
    ]

    assert [401] * 4 == answers


def test_forbidden_message_of_a_batch_is_refused_alone(sqlite_url: str, clock: Clock) -> None:
    with with_keys(sqlite_url, clock) as receiver_under_test:
        beats = [messages.heartbeat(), messages.heartbeat(server_id="blue_1")]
        other = receiver_under_test.client.post(
            "/heartbeats", json=beats, headers=receiver_under_test.headers["other"]
        )
        agent = receiver_under_test.client.post(
            "/heartbeats", json=beats, headers=receiver_under_test.headers["agent"]
        )

    assert [("rejected", "server_of_another_key"), ("ok", None)] == results(other)
    assert [("ok", None), ("rejected", "server_not_covered")] == results(agent)
    assert (1, 1) == (other.json()["accepted"], other.json()["rejected"])


def results(answer: httpx.Response) -> list[tuple[str, str | None]]:
    return [(each["status"], each.get("code")) for each in answer.json()["results"]]

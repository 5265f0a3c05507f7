"""
Who may do what: every route, and everybody who may come.

The table is complete: a route without a row fails, and so does a row without a route.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Route

import messages
from keyring import bearer, expired, keep, made, revoked
from receiver.app import Tuning, create_app
from receiver.web.routing import Guarded
from servers import ANY_PAUSE_SECONDS, Clock, serve

# Who comes, and what the answer is. "near" is somebody on the machine of a receiver that has
# no keys; "far" comes there by a proxy. The others come to a receiver that has keys: with
# none, with one that nobody has, with a viewer's that is expired or revoked, with an agent's
# whose server it is, with that of an agent whose it is not, with a viewer's, an admin's; and
# "viewer@" and "admin@" come with the cookie of somebody who is signed in, and without a form.
TABLE = """
                                near  far none wrong expired revoked agent other viewer admin viewer@ admin@
POST   /register                 200  403  401   401     401     401   200   403    403   200     401    401
POST   /heartbeat                200  403  401   401     401     401   200   403    403   200     401    401
POST   /heartbeats               200  403  401   401     401     401   200   200    403   200     401    401
GET    /servers                  200  403  401   401     401     401   403   403    200   200     200    200
GET    /servers/{id}             200  403  401   401     401     401   403   403    200   200     200    200
GET    /servers/{id}/events      200  403  401   401     401     401   403   403    200   200     200    200
GET    /servers/{id}/owner       200  403  401   401     401     401   403   403    403   200     401    401
PUT    /servers/{id}/owner       422  403  401   401     401     401   403   403    403   200     401    401
DELETE /servers/{id}             200  403  401   401     401     401   403   403    403   200     401    401
GET    /events                   200  403  401   401     401     401   403   403    200   200     200    200
GET    /events/stream            200  403  401   401     401     401   403   403    200   200     200    200
GET    /metrics                  200  403  401   401     401     401   403   403    200   200     200    200
GET    /sd/prometheus            200  403  401   401     401     401   403   403    200   200     200    200
GET    /openapi.json             200  403  401   401     401     401   403   403    200   200     200    200
GET    /health                   200  403  200   200     200     200   200   200    200   200     200    200
GET    /keys                     403  403  401   401     401     401   403   403    403   200     401    401
POST   /keys                     403  403  401   401     401     401   403   403    403   201     401    401
DELETE /keys/{key}               403  403  401   401     401     401   403   403    403   200     401    401
POST   /keys/{key}/rotate        403  403  401   401     401     401   403   403    403   200     401    401
GET    /                         200  403  401   401     401     401   403   403    200   200     200    200
GET    /timeline                 200  403  401   401     401     401   403   403    200   200     200    200
GET    /server/{id}              200  403  401   401     401     401   403   403    200   200     200    200
GET    /server/{id}/delete       200  403  401   401     401     401   403   403    403   200     403    200
POST   /server/{id}/delete       403  403  401   401     401     401   403   403    403   403     403    403
POST   /server/{id}/owner        403  403  401   401     401     401   403   403    403   403     403    403
GET    /keyring                  403  403  401   401     401     401   403   403    403   200     403    200
POST   /keyring                  403  403  401   401     401     401   403   403    403   403     403    403
GET    /keyring/{key}/revoke     403  403  401   401     401     401   403   403    403   200     403    200
POST   /keyring/{key}/revoke     403  403  401   401     401     401   403   403    403   403     403    403
GET    /keyring/{key}/rotate     403  403  401   401     401     401   403   403    403   200     403    200
POST   /keyring/{key}/rotate     403  403  401   401     401     401   403   403    403   403     403    403
GET    /sign-in                  403  403  200   200     200     200   200   200    200   200     200    200
POST   /sign-in                  403  403  403   403     403     403   403   403    403   403     403    403
POST   /sign-out                 403  403  403   403     403     403   403   403    403   403     403    403
GET    /static/fleet.css         200  200  200   200     200     200   200   200    200   200     200    200
GET    /nothing                  404  403  404   404     404     404   404   404    404   404     404    404
"""  # noqa: E501 - a table

SERVER = "acme_web-1"  # that of `messages`
UNKNOWN = "fleetkey_abcdefghij_" + 43 * "k"


class Row(NamedTuple):
    """A call, and the status that each who comes is answered with."""

    method: str
    path: str
    expected: dict[str, int]


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
    """What is sent along, as httpx takes it; a form without what proves that a page sent it."""
    if row.method == "POST" and row.path.startswith(("/server/", "/keyring", "/sign-")):
        return {"data": {"key_id": key_id, "name": "new", "scope": "viewer"}}
    sent = {
        ("POST", "/register"): messages.registration(),
        ("POST", "/heartbeat"): messages.heartbeat(),
        ("POST", "/heartbeats"): [messages.heartbeat()],
        ("PUT", "/servers/{id}/owner"): {"key_id": key_id},
        ("POST", "/keys"): {"name": "new", "scope": "viewer"},
    }
    return {"json": sent.get((row.method, row.path))}


class World(NamedTuple):
    """A receiver with one server, and who may come."""

    client: httpx.Client
    headers: dict[str, dict[str, str]]
    owner_id: str

    def status(self, row: Row, who: str) -> int:
        """How somebody is answered who makes a call."""
        path = row.path.format(id=SERVER, key=self.owner_id) if "{" in row.path else row.path
        sent = body_of(row, self.owner_id)
        with self.client.stream(row.method, path, headers=self.headers[who], **sent) as answer:
            return answer.status_code


@contextmanager
def without_keys(database_url: str, clock: Clock) -> Iterator[World]:
    with receiver(database_url, clock) as client:
        client.post("/register", json=messages.registration()).raise_for_status()
        headers = {"near": {}, "far": {"X-Forwarded-For": "192.0.2.7"}}
        yield World(client, headers, "abcdefghij")


@contextmanager
def with_keys(database_url: str, clock: Clock) -> Iterator[World]:
    agent, agents = made("agent", servers="acme_*")
    other, others = made("agent", servers="*")
    viewer, viewers = made("viewer")
    admin, admins = made("admin")
    old, olds = made("viewer")
    back, backs = made("viewer")
    keep(database_url, agent, other, viewer, admin, expired(old), revoked(back))
    tokens = {
        "none": None,
        "wrong": UNKNOWN,
        "expired": olds,
        "revoked": backs,
        "agent": agents,
        "other": others,
        "viewer": viewers,
        "admin": admins,
    }
    with receiver(database_url, clock) as client:
        brought = client.post("/register", json=messages.registration(), headers=bearer(agents))
        brought.raise_for_status()
        headers = {who: bearer(token) for who, token in tokens.items()}
        headers["viewer@"] = signed_in(client, viewers)
        headers["admin@"] = signed_in(client, admins)
        yield World(client, headers, agent.id)


def signed_in(client: httpx.Client, token: str) -> dict[str, str]:
    """What a browser sends of somebody who is signed in."""
    form = client.get("/sign-in")
    (word,) = re.findall(r'name="form" value="([^"]+)"', form.text)
    answer = client.post("/sign-in", data={"form": word, "key": token})
    cookie = answer.cookies["fleet_session"]
    client.cookies.clear()
    return {"Cookie": f"fleet_session={cookie}"}


@contextmanager
def receiver(database_url: str, clock: Clock) -> Iterator[httpx.Client]:
    environ = {"FLEET_DATABASE_URL": database_url}
    app = create_app(environ=environ, clock=clock, tuning=Tuning(absence_seconds=ANY_PAUSE_SECONDS))
    with serve(app) as client:
        yield client


def calls(app: Starlette) -> set[tuple[str, str]]:
    """Every way in but the files that pages are made of."""
    found = set()
    for route in app.routes:
        if isinstance(route, Route):
            assert isinstance(route, Guarded), f"{route.path} is not guarded"
            path = route.path.replace("{server_id:path}", "{id}").replace("{key_id}", "{key}")
            found |= {(method, path) for method in (route.methods or set()) - {"HEAD"}}
        else:
            assert "/static" == getattr(route, "path", None)
    return found


def test_every_route_has_a_row_and_every_row_a_route() -> None:
    no_routes = {("GET", "/static/fleet.css"), ("GET", "/nothing")}

    assert calls(create_app(environ={})) == {(row.method, row.path) for row in ROWS} - no_routes


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """A quick one: who may come in is no question for a database."""
    return sqlite_url


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.method} {row.path}")
def test_everybody_may_do_what_the_table_says(
    row: Row, sqlite_url: str, clock: Clock, tmp_path: Any
) -> None:
    answered: dict[str, int] = {}
    keyless = f"sqlite:///{tmp_path / 'keyless.db'}"
    for world_of, url in ((without_keys, keyless), (with_keys, sqlite_url)):
        with world_of(url, clock) as world:
            # Whoever is refused comes first, for what is done cannot be done twice.
            for who in sorted(world.headers, key=lambda who: (row.expected[who] < 300, who)):
                answered[who] = world.status(row, who)

    assert row.expected == {who: answered[who] for who in row.expected}


def test_who_is_refused_changes_nothing(sqlite_url: str, clock: Clock) -> None:
    with with_keys(sqlite_url, clock) as world:
        admin = world.headers["admin"]

        def everything() -> list[Any]:
            pages = ("/servers?total=true", f"/servers/{SERVER}", f"/servers/{SERVER}/owner")
            found = [world.client.get(page, headers=admin).json() for page in pages]
            keys = world.client.get("/keys", headers=admin).json()["keys"]
            return [*found, [(key["id"], key["revoked_at"]) for key in keys]]

        before = everything()
        for row in ROWS:
            for who, expected in row.expected.items():
                if who in world.headers and (expected >= 400 or who == "other"):
                    world.status(row, who)

        assert before == everything()


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "TRACE", "PATCH", "PUT", "PROPFIND"])
@pytest.mark.parametrize("path", ["/servers", "/heartbeat", "/keys", "/", f"/servers/{SERVER}"])
def test_no_other_method_is_a_way_round(
    method: str, path: str, sqlite_url: str, clock: Clock
) -> None:
    with with_keys(sqlite_url, clock) as world:
        answers = [
            world.client.request(method, path, headers=world.headers[who]).status_code
            for who in ("none", "wrong", "expired", "revoked")
        ]

    assert [401] * 4 == answers


def test_what_a_batch_may_not_write_is_refused_by_itself(sqlite_url: str, clock: Clock) -> None:
    with with_keys(sqlite_url, clock) as world:
        beats = [messages.heartbeat(), messages.heartbeat(server_id="blue_1")]
        other = world.client.post("/heartbeats", json=beats, headers=world.headers["other"])
        agent = world.client.post("/heartbeats", json=beats, headers=world.headers["agent"])

    assert [("rejected", "server_of_another_key"), ("ok", None)] == told(other)
    assert [("ok", None), ("rejected", "server_not_covered")] == told(agent)
    assert (1, 1) == (other.json()["accepted"], other.json()["rejected"])


def told(answer: httpx.Response) -> list[tuple[str, str | None]]:
    return [(each["status"], each.get("code")) for each in answer.json()["results"]]

"""Which answers are compressed, and that the length of none tells a secret."""

import gzip
import re
from collections.abc import Iterator
from urllib.parse import urljoin

import httpx
import pytest

import messages
from keyring import keep, made, signed_in
from receiver.app import create_app
from servers import Clock, serve

GZIP = {"Accept-Encoding": "gzip"}
PLAIN = {"Accept-Encoding": "identity"}


@pytest.fixture
def fleet(receiver: httpx.Client) -> httpx.Client:
    beats = [messages.heartbeat(server_id=f"s{n}") for n in range(20)]
    receiver.post("/heartbeats", json=beats).raise_for_status()
    return receiver


def coding(answer: httpx.Response) -> str | None:
    found: str | None = answer.headers.get("content-encoding")
    return found


def raw(client: httpx.Client, path: str, headers: dict[str, str]) -> bytes:
    """The body of an answer as it was sent."""
    with client.stream("GET", path, headers=headers) as answer:
        return b"".join(answer.iter_raw())


def test_answers_are_compressed_for_clients_that_accept_gzip(fleet: httpx.Client) -> None:
    for path in ("/", "/servers", "/static/fleet.css", "/static/fleet.js", "/metrics"):
        packed, plain = (fleet.get(path, headers=headers) for headers in (GZIP, PLAIN))
        assert ["gzip", None] == [coding(packed), coding(plain)]
        assert "Accept-Encoding" in packed.headers["vary"]
        assert packed.headers["content-type"] == plain.headers["content-type"]

    packed_page, page = (raw(fleet, "/", headers) for headers in (GZIP, PLAIN))
    assert len(packed_page) * 7 < len(page)
    assert gzip.decompress(packed_page).startswith(b"<!doctype html>")


def test_short_answers_and_event_streams_are_not_compressed(fleet: httpx.Client) -> None:
    assert coding(fleet.get("/health/live", headers=GZIP)) is None
    with fleet.stream("GET", "/events/stream", headers=GZIP) as stream:
        assert coding(stream) is None


def test_etag_of_a_compressible_answer_is_weak_and_recognised(fleet: httpx.Client) -> None:
    for path in ("/servers", "/static/fleet.css"):
        plain, packed = (fleet.get(path, headers=each).headers["etag"] for each in (PLAIN, GZIP))
        assert f"W/{plain}" == packed
        for headers in (GZIP, PLAIN):
            for tag in (plain, packed):
                answer = fleet.get(path, headers={**headers, "If-None-Match": tag})
                assert 304 == answer.status_code


@pytest.fixture
def admin(sqlite_url: str, clock: Clock) -> Iterator[httpx.Client]:
    """An administrator who has signed in with a browser, which accepts gzip."""
    key, token = made("admin")
    keep(sqlite_url, key)
    with serve(create_app(environ={"FLEET_DATABASE_URL": sqlite_url}, clock=clock)) as client:
        client.headers.update({**GZIP, **signed_in(client, token)})
        yield client


def form_in(page: httpx.Response) -> str:
    (first, *_) = re.findall(r'name="form" value="([^"]+)"', page.text)
    return str(first)


def test_csrf_token_differs_in_each_answer_and_stays_valid(admin: httpx.Client) -> None:
    pages = [admin.get("/keyring") for _ in range(3)]
    tokens = [form_in(page) for page in pages]

    assert 3 == len(set(tokens))
    for n, token in enumerate(tokens):
        half = len(token) // 2
        others = tokens[:n] + tokens[n + 1 :]
        assert not any(token[:half] in each or token[half:] in each for each in others)
        fields = {"form": token, "name": f"key {n}", "scope": "viewer"}
        assert 303 == admin.post("/keyring", data=fields).status_code
        admin.cookies.clear()  # that of the page which shows the key


def test_answers_that_show_a_secret_are_not_compressed(admin: httpx.Client) -> None:
    page = admin.get("/keyring")
    fields = {"form": form_in(page), "name": "new", "scope": "viewer"}

    there = admin.post("/keyring", data=fields)
    ((name, value),) = there.cookies.items()
    admin.cookies.clear()
    path = urljoin("/keyring", there.headers["location"])
    shown = admin.get(path, headers={"Cookie": f"{admin.headers['Cookie']}; {name}={value}"})
    made_by_api = admin.post("/keys", json={"name": "other", "scope": "viewer"})
    cookie = f"{admin.headers['Cookie']}; fleet_message=what the next page shows"
    noticed = admin.get("/keyring", headers={"Cookie": cookie})

    assert "gzip" == coding(page)
    assert "fleetkey_" in shown.text
    assert [None, None, None] == [coding(each) for each in (shown, made_by_api, noticed)]

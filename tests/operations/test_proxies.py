"""A receiver behind nginx and HAProxy, with the shipped configurations."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from attrs import frozen
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

import messages
from keyring import keep, made
from operations.proxies import HOST, Front, bare_nginx, haproxy, nginx
from servers import (
    NO_AUTHORITIES,
    PATIENCE_SECONDS,
    Process,
    receiver_process,
    serve,
    wait_until,
)

PROXIES = {"nginx": nginx, "haproxy": haproxy}
KIB = 1024


@frozen
class Site:
    """A receiver behind a proxy, and the token of an admin key."""

    receiver: Process
    front: Front
    key: str


@contextmanager
def site(proxy: str, folder: Path) -> Iterator[Site]:
    url = f"sqlite:///{folder / 'fleet.db'}"
    key, token = made("admin")
    keep(url, key)
    with (
        receiver_process(folder, FLEET_DATABASE_URL=url) as receiver,
        PROXIES[proxy](folder, receiver.port) as front,
    ):
        yield Site(receiver, front, token)


@pytest.fixture(scope="module", params=PROXIES)
def running(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    with site(request.param, tmp_path_factory.mktemp(request.param)) as running:
        yield running


@pytest.fixture
def client(running: Site) -> Iterator[httpx.Client]:
    with running.front.client(key=running.key) as client:
        yield client


@pytest.fixture(scope="module")
def keyless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A receiver without keys, which serves only direct clients of its own machine."""
    folder = tmp_path_factory.mktemp("keyless")
    with receiver_process(folder, FLEET_DATABASE_URL=f"sqlite:///{folder / 'fleet.db'}") as process:
        yield process


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """An ASGI app that answers with client address, scheme and headers of its scope."""
    if scope["type"] != "http":
        await send({"type": f"{(await receive())['type']}.complete"})
        return
    headers = [[name.decode(), value.decode()] for name, value in scope["headers"]]
    told = {"scheme": scope["scheme"], "client": scope["client"], "headers": headers}
    await JSONResponse(told)(scope, receive, send)


def log_line(running: Site, wanted: str) -> str:
    """Wait for the line of the receiver's log about a request."""

    def found() -> list[str]:
        return [line for line in running.receiver.log.read_text().splitlines() if wanted in line]

    wait_until(lambda: bool(found()))
    return found()[0]


def test_heartbeat_over_tls_is_counted(client: httpx.Client) -> None:
    answers = [client.post("/heartbeat", json=messages.heartbeat()) for _ in range(2)]

    assert [200, 200] == [each.status_code for each in answers]
    first, second = (each.json()["heartbeat_count"] for each in answers)
    assert first + 1 == second


def test_plain_http_is_redirected_to_https_with_method_and_path(running: Site) -> None:
    with running.front.client(tls=False) as client:
        answer = client.post("/heartbeat?a=b", json=messages.heartbeat())

    assert 308 == answer.status_code
    assert "https://fleet.example.com/heartbeat?a=b" == answer.headers["location"]


@pytest.mark.parametrize("proxy", PROXIES)
@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.2"])
def test_forwarded_headers_of_a_client_are_replaced(
    proxy: str, address: str, tmp_path: Path
) -> None:
    made_up = {
        "X-Forwarded-For": "192.0.2.1, 127.0.0.1",
        "X-Forwarded-Proto": "http",
        "X-Forwarded-Host": "evil.example.com",
        "X-Real-IP": "192.0.2.1",
        "Forwarded": "for=192.0.2.1;proto=http",
    }
    with (
        serve(echo) as app,
        PROXIES[proxy](tmp_path, app.base_url.port or 0) as front,
        front.client(address) as client,
    ):
        told = client.get("/", headers=made_up).raise_for_status().json()

    assert ("https", address) == (told["scheme"], told["client"][0])
    about = {"host", "forwarded", "x-real-ip", "via"}
    assert {"host": HOST, "x-forwarded-for": address, "x-forwarded-proto": "https"} == {
        name: value
        for name, value in told["headers"]
        if name in about or name.startswith("x-forwarded")
    }


def test_receiver_logs_the_address_of_the_client(running: Site) -> None:
    with running.front.client("127.0.0.2") as client:
        client.get("/health?logged", headers={"X-Forwarded-For": "192.0.2.1"}).raise_for_status()

    assert "127.0.0.2" in log_line(running, "/health?logged")
    assert "192.0.2.1" not in running.receiver.log.read_text()


def test_events_are_not_buffered(running: Site, client: httpx.Client) -> None:
    seen = threading.Event()
    name = f"streamed-{running.front.https_port}"
    with client.stream("GET", "/events/stream?kind=registered") as stream:
        lines = stream.iter_lines()
        assert next(lines).startswith("id: ")  # the stream is open, so it sends the next event

        def read() -> None:
            for line in lines:
                if line.startswith("data: ") and json.loads(line[6:])["server_id"] == name:
                    seen.set()
                    return

        thread = threading.Thread(target=read)
        thread.start()
        client.post("/heartbeat", json=messages.slim(server_id=name)).raise_for_status()
        assert seen.wait(10)  # a ping, which would flush a buffer, comes after 15 seconds
        thread.join()


@pytest.mark.parametrize(
    ("path", "most"),
    [("/heartbeat", 64 * KIB), ("/register", 512 * KIB), ("/heartbeats", KIB * KIB)],
)
def test_body_over_the_limit_of_the_receiver_is_refused(
    client: httpx.Client, path: str, most: int
) -> None:
    headers = {"Content-Type": "application/json"}
    fits = client.post(path, content=b" " * most, headers=headers)
    is_too_large = client.post(path, content=b" " * (most + 1), headers=headers)

    assert 400 == fits.status_code, fits.text
    assert "malformed_json" == fits.json()["code"]
    assert (413, "body_too_large") == (is_too_large.status_code, is_too_large.json()["code"])
    assert "application/problem+json" == is_too_large.headers["content-type"]
    assert "64 KiB at most" in is_too_large.json()["detail"]  # the proxy's own answer


def test_too_large_chunked_body_is_refused(client: httpx.Client) -> None:
    pieces = (b" " * KIB for _ in range(65))
    answer = client.post("/heartbeat", content=pieces, headers={"Content-Type": "application/json"})

    assert (413, "body_too_large") == (answer.status_code, answer.json()["code"])


@pytest.mark.parametrize("path", ["/health", "/nothing-there"])
def test_answer_has_one_hsts_header(client: httpx.Client, path: str) -> None:
    answer = client.get(path)

    assert ["max-age=31536000"] == answer.headers.get_list("strict-transport-security")


def test_key_is_in_no_log(running: Site, client: httpx.Client) -> None:
    client.get("/servers?limit=7").raise_for_status()

    wait_until(lambda: "/servers?limit=7" in running.front.access_log.read_text())
    log_line(running, "/servers?limit=7")
    assert running.key not in running.front.access_log.read_text()
    assert running.key not in running.receiver.log.read_text()


@pytest.mark.parametrize(
    ("before", "after"), [("/registry", "/v0.1/servers"), ("/badges", "/servers.svg")]
)
def test_key_in_a_path_is_in_no_log(
    running: Site, client: httpx.Client, before: str, after: str
) -> None:
    refused = client.get(f"{before}/{running.key}{after}?label=1")
    later = f"/servers?limit={90 + len(before)}"
    client.get(later).raise_for_status()

    wait_until(lambda: later in running.front.access_log.read_text())
    log_line(running, f"{after}?label=1")
    assert 403 == refused.status_code  # of another scope
    assert running.key not in running.front.access_log.read_text()
    assert running.key not in running.receiver.log.read_text()


def test_request_without_a_key_is_refused(running: Site) -> None:
    with running.front.client() as client:
        answers = [client.get("/servers"), client.post("/heartbeat", json=messages.heartbeat())]

    assert [401, 401] == [each.status_code for each in answers]


@pytest.mark.parametrize("proxy", PROXIES)
def test_receiver_without_keys_refuses_requests_of_a_proxy(
    proxy: str, keyless: Process, tmp_path: Path
) -> None:
    with PROXIES[proxy](tmp_path, keyless.port) as front, front.client() as client:
        answer = client.post("/heartbeat", json=messages.heartbeat())

    assert (403, "no_keys_yet") == (answer.status_code, answer.json()["code"])


BARE = {
    "nothing else": "",
    "HTTP/1.1": "proxy_http_version 1.1;",
    "the client's Host": "proxy_set_header Host $host;",
    "WebSockets": "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; "
    'proxy_set_header Connection "upgrade";',
    "the client's address": "proxy_http_version 1.1; proxy_set_header Connection keep-alive; "
    "proxy_set_header X-Real-IP $remote_addr;",
}


@pytest.mark.parametrize("directives", BARE)
def test_receiver_without_keys_refuses_requests_of_a_bare_nginx(
    directives: str, keyless: Process, tmp_path: Path
) -> None:
    """Such an nginx sends the host of `proxy_pass`, which is this machine's, as the Host."""
    with bare_nginx(tmp_path, keyless.port, BARE[directives]) as client:
        answers = [
            answer
            for host in ("localhost", HOST)
            for answer in (
                client.get("/servers", headers={"Host": host}),
                client.post("/heartbeat", json=messages.heartbeat(), headers={"Host": host}),
            )
        ]
    directly = httpx.get(
        f"{keyless.url}/servers",
        timeout=PATIENCE_SECONDS,
        trust_env=False,
        verify=NO_AUTHORITIES,
    )

    assert [(403, "no_keys_yet")] * 4 == [(a.status_code, a.json()["code"]) for a in answers]
    assert (200, 0) == (directly.status_code, directly.json()["count"])


@pytest.mark.parametrize("proxy", PROXIES)
def test_stopped_receiver_is_answered_with_503_and_retry_after(proxy: str, tmp_path: Path) -> None:
    with socket.socket() as stopped:
        stopped.bind(("127.0.0.1", 0))  # so that nobody else listens there
        port = stopped.getsockname()[1]
        with PROXIES[proxy](tmp_path, port) as front, front.client() as client:
            answer = client.get("/health")

    assert (503, "receiver_unavailable") == (answer.status_code, answer.json()["code"])
    assert "5" == answer.headers["retry-after"]
    assert ["max-age=31536000"] == answer.headers.get_list("strict-transport-security")

"""The fleet that compose.yaml starts: two receivers and PostgreSQL behind a proxy with TLS."""

import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
import yaml  # type: ignore[import-untyped]  # its stubs are another package
from attrs import Factory, define

import messages
from images.engine import ROOT
from images.stack import RECEIVERS, Stack
from servers import wait_until

SENDERS = [f"acme_web-{number}" for number in range(6)]
KIB = 1024
STOP_SECONDS = 10
"""How long a receiver may take to stop after FLEET_DRAIN_SECONDS; uvicorn is told so by `serve`."""
STALL_SECONDS = 1.0
"""Who stalls for longer than this is on an overloaded machine, where messages may be refused."""
UNCERTAIN = {"outcome_unknown", "receiver_unavailable"}
"""The `code` of a refusal that does not say whether the message was counted."""


@pytest.fixture(scope="module")
def key(stack: Stack) -> str:
    """The token of the first key, which is made in a container as the page says."""
    made = stack.do("receiver-1", "odoo-mcp-fleet", "keys", "create", "--name=Ada", "--scope=admin")
    with stack.client(key=made) as client:
        ask_all(stack, client, "/servers")
    return made


@define
class Sent:
    """
    What came of the heartbeats. Each was sent until it was acknowledged.

    Attributes:
        counts: How many were acknowledged, by server.
        refused: The answers that say that a heartbeat was not counted.
        uncertain: Broken connections, and answers that do not say whether a heartbeat was counted.
        longest_stall_seconds: By how much the latest of the senders was late.
    """

    counts: Counter[str] = Factory(Counter)
    refused: list[str] = Factory(list)
    uncertain: list[str] = Factory(list)
    longest_stall_seconds: float = 0.0

    def __str__(self) -> str:
        return (
            f"{self.counts.total()} heartbeats acknowledged, {len(self.refused)} refused and sent "
            f"again, {len(self.uncertain)} uncertain; the senders stalled for at most "
            f"{self.longest_stall_seconds:.2f} seconds"
        )

    def send(self, client: httpx.Client, name: str) -> bool:
        """Send a heartbeat once; returns whether it was acknowledged."""
        try:
            answer = client.post("/heartbeat", json=messages.slim(server_id=name))
        except httpx.TransportError as error:
            self.uncertain.append(repr(error))
            return False
        if answer.status_code == 200:
            self.counts[name] += 1
            return True
        is_uncertain = answer.json()["code"] in UNCERTAIN
        refusals = self.uncertain if is_uncertain else self.refused
        refusals.append(f"{answer.status_code} {answer.text}")
        return False


@contextmanager
def sending(stack: Stack, key: str) -> Iterator[Sent]:
    """Send heartbeats, each server over a connection of its own that is kept open."""
    sent, enough = Sent(), threading.Event()

    def send(name: str) -> None:
        with stack.client(key=key) as client:
            is_over, pause = False, 0.01
            while not is_over:
                began = time.monotonic()
                is_over = enough.wait(pause)
                stall = time.monotonic() - began - pause
                sent.longest_stall_seconds = max(sent.longest_stall_seconds, stall)
                wait_until(lambda: sent.send(client, name))

    threads = [threading.Thread(target=send, args=[name]) for name in SENDERS]
    for thread in threads:
        thread.start()
    try:
        yield sent
    finally:
        enough.set()
        for thread in threads:
            thread.join()


def wait_for_more(sent: Sent, more: int) -> None:
    enough = sent.counts.total() + more
    wait_until(lambda: sent.counts.total() >= enough)


def ask_all(
    stack: Stack, client: httpx.Client, path: str, headers: dict[str, str] | None = None
) -> None:
    """Send a GET until each receiver has answered one with 200, as their logs say."""
    line = f'"GET {path} HTTP/1.1" 200'

    def have_answered() -> bool:
        client.get(path, headers=headers)
        return all(line in stack.log(each) for each in RECEIVERS)

    wait_until(have_answered)


def counted(client: httpx.Client) -> dict[str, int]:
    found = client.get("/servers").raise_for_status().json()["servers"]
    return {
        each["server_id"]: each["heartbeat_count"] for each in found if each["server_id"] in SENDERS
    }


def test_rolling_replacement_loses_no_heartbeat(stack: Stack, key: str) -> None:
    ids = {stack.do(each, "cat", "/proc/sys/kernel/hostname") for each in RECEIVERS}
    with sending(stack, key) as sent:
        wait_for_more(sent, 100)
        for service in RECEIVERS:
            stack.replace(service)
            wait_for_more(sent, 100)

    assert ids.isdisjoint(stack.do(each, "cat", "/proc/sys/kernel/hostname") for each in RECEIVERS)
    with stack.client(key=key) as client:
        found = counted(client)
    print(sent)  # noqa: T201 - `pytest -rP` shows it
    assert [] == sent.uncertain[:3], f"{sent}\n{stack.log('proxy')[-4000:]}"
    assert dict(sent.counts) == found, sent
    if sent.longest_stall_seconds < STALL_SECONDS:
        assert [] == sent.refused[:3], sent


def test_receiver_goes_on_until_the_proxy_has_noticed() -> None:
    """An answer from just before the stop may take one timeout, and the next check another one."""
    proxy = (ROOT / "deploy/Caddyfile").read_text()
    receiver = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["receiver-1"]
    interval, timeout = (
        int(seconds)
        for name in ("health_interval", "health_timeout")
        for seconds in re.findall(rf"\b{name} (\d+)s$", proxy, re.MULTILINE)
    )
    drain = receiver["environment"]["FLEET_DRAIN_SECONDS"]

    assert interval + 2 * timeout < drain
    assert drain + STOP_SECONDS < int(receiver["stop_grace_period"].removesuffix("s"))


def test_receivers_share_the_work(stack: Stack, key: str) -> None:
    with stack.client(key=key) as client:
        ask_all(stack, client, "/servers?q=shared")


def test_forwarded_address_of_a_client_is_replaced(stack: Stack, key: str) -> None:
    names = ("X-Forwarded-For", "X-Real-IP", "Forwarded")
    made_up = dict.fromkeys(names, "192.0.2.1")
    with stack.client(key=key) as client:
        ask_all(stack, client, "/servers?q=forwarded", headers=made_up)

    for service in RECEIVERS:
        (line, *_) = [each for each in stack.log(service).splitlines() if "q=forwarded" in each]
        assert "192.0.2.1" not in line
        assert "172.31.77." not in line.replace("172.31.77.1:", ""), "that is the proxy's own"


def test_plain_http_is_redirected_to_https(stack: Stack) -> None:
    answer = httpx.post(f"http://localhost:{stack.http_port}/heartbeat", trust_env=False)

    assert 308 == answer.status_code
    assert "https://localhost/heartbeat" == answer.headers["location"]


@pytest.mark.parametrize(
    ("path", "most"),
    [("/heartbeat", 64 * KIB), ("/register", 512 * KIB), ("/heartbeats", KIB * KIB)],
)
def test_body_over_the_limit_of_the_receiver_is_refused(
    stack: Stack, key: str, path: str, most: int
) -> None:
    headers = {"Content-Type": "application/json"}
    with stack.client(key=key) as client:
        fits = client.post(path, content=b" " * most, headers=headers)
        is_too_large = client.post(path, content=b" " * (most + 1), headers=headers)

    assert (400, "malformed_json") == (fits.status_code, fits.json()["code"])
    assert (413, "body_too_large") == (is_too_large.status_code, is_too_large.json()["code"])
    assert "application/problem+json" == is_too_large.headers["content-type"]


def test_answer_has_one_hsts_header(stack: Stack, key: str) -> None:
    with stack.client(key=key) as client:
        answer = client.get("/health")

    assert ["max-age=31536000"] == answer.headers.get_list("strict-transport-security")


def test_events_are_not_buffered(stack: Stack, key: str) -> None:
    seen = threading.Event()
    with stack.client(key=key) as client, client.stream("GET", "/events/stream") as stream:
        lines = stream.iter_lines()
        next(lines)

        def read() -> None:
            if any("acme_streamed" in line for line in lines):
                seen.set()

        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        with stack.client(key=key) as other:
            beat = messages.slim(server_id="acme_streamed")
            other.post("/heartbeat", json=beat).raise_for_status()
        assert seen.wait(3)  # a ping, which would flush a buffer, comes after 15 seconds


def test_settings_of_the_file_reach_the_receivers(stack: Stack) -> None:
    code = "import os; print(os.environ['FLEET_SILENT_SHARE'])"

    assert ["0.75"] * 2 == [stack.do(each, "python", "-c", code) for each in RECEIVERS]


def test_receivers_may_write_nothing_but_what_they_need(stack: Stack) -> None:
    code = (
        "import os, pathlib\n"
        "for each in ('/opt', '/etc', '/usr', '/var/lib/odoo-mcp-fleet', '/tmp'):\n"
        "    try:\n"
        "        pathlib.Path(each, 'new').touch()\n"
        "        print(each)\n"
        "    except OSError:\n"
        "        pass\n"
    )

    assert "/tmp" == stack.do("receiver-1", "python", "-c", code)

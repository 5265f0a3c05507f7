"""Test helper: a fake network that fails in any way, and the error of the client."""

from typing import Any

import httpx
import pytest

from client import CallFailed, PhoneHomeClient
from contract import Heartbeat, Registration

__all__ = ["BEAT", "REGISTRATION", "URL", "Network", "failure_of", "refusal"]

URL = "http://receiver.example/fleet"
BEAT = Heartbeat(server_id="acme_web-1")
REGISTRATION = Registration(server_id="acme_web-1")


class Network(httpx.BaseTransport):
    """A fake transport with one reaction for each request: a response, or an error to raise."""

    def __init__(self, *reactions: httpx.Response | Exception) -> None:
        self._reactions = iter(reactions)
        self.requests: list[httpx.Request] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        reaction = next(self._reactions)
        if isinstance(reaction, Exception):
            raise reaction
        return reaction


def refusal(status: int, **problem: Any) -> httpx.Response:
    return httpx.Response(status, json=problem)


def failure_of(
    response: httpx.Response | None = None, *, network: Network | None = None
) -> CallFailed:
    """The error of a heartbeat that is answered with this response."""
    if network is None:
        assert response is not None
        network = Network(response)
    with (
        PhoneHomeClient(URL, transport=network) as client,
        pytest.raises(CallFailed) as caught,
    ):
        client.heartbeat(BEAT)
    return caught.value

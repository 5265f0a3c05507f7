"""Who may ask the MCP server."""

import httpx
import pytest

from keyring import bearer, signed_in
from mcp_agent import HEADERS, PING, called


def test_viewer_key_opens_the_mcp_endpoint_and_no_other_key_does(
    guarded: tuple[httpx.Client, str, str],
) -> None:
    receiver, viewer, agent = guarded
    statuses = [
        receiver.post("/mcp", json=PING, headers=HEADERS | bearer(token)).status_code
        for token in (None, agent, viewer)
    ]

    assert [401, 403, 200] == statuses
    receiver.headers = bearer(viewer)
    assert [] == called(receiver, "list_servers")["servers"]


def test_browser_session_does_not_open_the_mcp_endpoint(
    guarded: tuple[httpx.Client, str, str],
) -> None:
    receiver, viewer, _ = guarded
    session = signed_in(receiver, viewer)

    answer = receiver.post("/mcp", json=PING, headers=HEADERS | session)

    assert (401, "key_missing") == (answer.status_code, answer.json()["code"])
    assert 200 == receiver.get("/servers", headers=session).status_code


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://["])
def test_mcp_request_of_a_page_of_another_origin_is_refused(
    receiver: httpx.Client, origin: str
) -> None:
    answer = receiver.post("/mcp", json=PING, headers=HEADERS | {"Origin": origin})

    assert (403, "foreign_origin") == (answer.status_code, answer.json()["code"])


def test_mcp_request_by_dns_rebinding_is_refused(
    guarded: tuple[httpx.Client, str, str],
) -> None:
    receiver, viewer, _ = guarded
    headers = HEADERS | bearer(viewer) | {"Host": "evil.example"}
    statuses = [
        receiver.post("/mcp", json=PING, headers=headers | {"Origin": origin}).status_code
        for origin in ("http://evil.example", "https://evil.example")
    ]

    assert [403, 200] == statuses  # nobody can have the certificate that the second one needs


def test_mcp_request_of_a_page_of_the_receiver_itself_is_answered(receiver: httpx.Client) -> None:
    own = str(receiver.base_url).rstrip("/")

    assert 200 == receiver.post("/mcp", json=PING, headers=HEADERS | {"Origin": own}).status_code

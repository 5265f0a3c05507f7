"""Each path takes the methods that `Allow` says, whatever other patterns match it."""

import re

import httpx
import pytest
from starlette.routing import Route

import messages
from receiver.app import create_app

PATTERNS = sorted({each.path for each in create_app().routes if isinstance(each, Route)})
METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE", "PURGE")
OF_SERVER = [
    "/servers/acme_web-1/events/events",
    "/servers/acme_web-1/owner/events",
    "/servers/a%2Fevents",
    "/servers/a%2Fowner",
    "/servers/",
    "/server/a%2Fdelete",
    "/server/a/delete/owner",
    "/static/fleet.css",
    "/static/none",
    "/static/",
]


def filled(pattern: str) -> str:
    """A path that a pattern matches."""
    return re.sub(r"\{\w+(:path)?\}", "acme_web-1", pattern)


def test_allow_lists_the_methods_that_are_not_refused(receiver: httpx.Client) -> None:
    """One receiver for all paths: what a request changes does not change what methods there are."""
    for path in (*map(filled, PATTERNS), *OF_SERVER):
        taken, told = set(), set()
        for method in METHODS:
            with receiver.stream(method, path) as answer:
                if answer.status_code == 405:
                    told.add(answer.headers["Allow"])
                else:
                    taken.add(method)

        assert {", ".join(sorted(taken))} == told, path


@pytest.mark.parametrize("call", ["events", "owner"])
def test_path_of_a_server_call_is_not_read_as_a_server_id(
    receiver: httpx.Client, call: str
) -> None:
    """Who confuses a call with a server deletes no server of such a name."""
    receiver.post("/heartbeat", json=messages.slim(server_id=f"a/{call}"))

    refused = receiver.delete(f"/servers/a/{call}")
    kept = receiver.get(f"/servers/a%2F{call}")

    assert (405, "method_not_allowed") == (refused.status_code, refused.json()["code"])
    assert 200 == kept.status_code
    assert 200 == receiver.delete(f"/servers/a%2F{call}").status_code

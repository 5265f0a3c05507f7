"""After signing in a person returns to the page that they asked for, and to no other site."""

import httpx
import pytest

from form_filling import KeyOfEachScope, form_of

NO_PAGES = [
    "//evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "https://evil.example/",
    "javascript:alert(1)",
    "evil.example",
    "/server/a\r\nSet-Cookie: a=b",
    "/server/a b",
    "/server/\x00",
    "/server/ü",
    "/server/a#b",
    "/server/../../sign-out",
    "/server/%2e%2E/x",
    "/sign-out",
    "/servers",
    "/server/" + "a" * 4000,
    "",
    "?a=b",
]
"""Values of the field `to` that are no path of a page to which one may return."""


def test_redirect_to_another_site_is_replaced_by_the_front_page(
    receiver: httpx.Client, held: KeyOfEachScope
) -> None:
    for to in NO_PAGES:
        receiver.cookies.clear()
        form = {**form_of(receiver.get("/")), "to": to}

        answer = receiver.post("/sign-in", data={**form, "key": held.tokens["viewer"]})

        assert (303, "./") == (answer.status_code, answer.headers["location"]), to


@pytest.mark.parametrize("to", ["/timeline?server_id=a%2Fb&x=%20", "/server/..%2Fa", "/keyring"])
def test_redirect_to_a_page_of_the_receiver_is_kept(
    receiver: httpx.Client, held: KeyOfEachScope, to: str
) -> None:
    form = {**form_of(receiver.get("/sign-in")), "to": to}

    answer = receiver.post("/sign-in", data={**form, "key": held.tokens["viewer"]})

    assert f".{to}" == answer.headers["location"]


def test_long_return_path_loses_its_parameters(receiver: httpx.Client) -> None:
    asked = receiver.get(f"/timeline?server_id={'a' * 4000}")

    assert "/timeline" == form_of(asked)["to"]

"""The forms of a receiver that has no keys."""

from collections.abc import Iterator

import httpx
import pytest

import messages
from form_filling import SAME_ORIGIN, SERVER, form_of, new_browser, posts, receiver_on, title
from servers import Clock


@pytest.fixture
def keyless(database_url: str, clock: Clock) -> Iterator[httpx.Client]:
    """A receiver without keys."""
    with receiver_on(database_url, clock) as client:
        yield client


@pytest.mark.parametrize("path", ["/sign-in", "/keyring"])
def test_receiver_without_keys_explains_how_to_make_one(keyless: httpx.Client, path: str) -> None:
    answers = [
        keyless.get(path),
        keyless.get(path, headers={"X-Forwarded-For": "192.0.2.7"}),
        keyless.get("/", headers={"X-Forwarded-For": "192.0.2.7"}),
    ]

    assert [True, False, False] == ['href="./timeline"' in answer.text for answer in answers]
    for answer in answers:
        assert 403 == answer.status_code
        assert "This receiver has no keys yet" == title(answer)
        assert "odoo-mcp-fleet keys create --name admin --scope admin" in answer.text
        assert 'data-stream=""' in answer.text


def test_sign_in_without_any_keys_is_refused(keyless: httpx.Client) -> None:
    keyless.post("/register", json=messages.registration())
    form = form_of(keyless.get(f"{SERVER}/delete"))

    answers = [
        posts(keyless, "/sign-in", {**form, "key": "a"}),
        posts(keyless, "/keyring", {**form, "name": "a", "scope": "admin"}),
        posts(keyless, f"{SERVER}/owner", {**form, "key_id": ""}),
        keyless.get("/keyring/a/revoke"),
    ]

    assert [403] * 4 == [answer.status_code for answer in answers]
    assert ["This receiver has no keys yet"] * 4 == [title(answer) for answer in answers]
    page = keyless.get(SERVER).text
    for text_of_page in ("/owner", "keyring", "Sign out"):
        assert text_of_page not in page


def test_keyless_receiver_deletes_a_server_for_local_forms_only(
    keyless: httpx.Client, audit: list[str]
) -> None:
    keyless.post("/register", json=messages.registration())
    form = form_of(keyless.get(f"{SERVER}/delete"))
    cross_site = [
        posts(keyless, f"{SERVER}/delete", {}),
        posts(keyless, f"{SERVER}/delete", form, **{"Sec-Fetch-Site": "cross-site"}),
        posts(keyless, f"{SERVER}/delete", form, Origin="http://evil.example"),
        posts(keyless, f"{SERVER}/delete", form, Host="evil.example"),
        posts(new_browser(keyless), f"{SERVER}/delete", form),
    ]
    assert [403] * 5 == [answer.status_code for answer in cross_site]
    assert 200 == keyless.get(SERVER).status_code

    done = posts(keyless, f"{SERVER}/delete", form, **SAME_ORIGIN)

    assert 303 == done.status_code
    assert 404 == keyless.get(SERVER).status_code
    assert ["somebody without a key deleted the server 'acme_web-1', from 127.0.0.1"] == audit

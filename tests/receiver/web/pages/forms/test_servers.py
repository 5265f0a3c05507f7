"""The forms of a server: deleting it, and changing its owner."""

import html
import re
from urllib.parse import quote, urljoin

import httpx
import pytest

import messages
from form_filling import (
    ASKS,
    SAME_ORIGIN,
    SERVER,
    KeyOfEachScope,
    fault,
    form_of,
    notice,
    posts,
    signed_in,
    title,
)
from keyring import bearer
from servers import Clock


@pytest.fixture
def registered(receiver: httpx.Client, held: KeyOfEachScope) -> httpx.Client:
    """A receiver with one server, which the agent key owns."""
    agent = bearer(held.tokens["agent"])
    receiver.post("/register", json=messages.registration(), headers=agent).raise_for_status()
    return receiver


@pytest.mark.both_databases
def test_admin_deletes_a_server_after_a_confirmation(
    registered: httpx.Client, held: KeyOfEachScope, audit: list[str]
) -> None:
    signed_in(registered, held.tokens["admin"])
    link = re.findall(r'href="([^"]+/delete)"', registered.get(SERVER).text)[0]

    asked = registered.get(urljoin(SERVER, link))
    done = posts(registered, f"{SERVER}/delete", form_of(asked, action=ASKS), **SAME_ORIGIN)

    assert "Forget this server?" == title(asked)
    for said in ("It is in no list", "stays in the timeline", "taken for a new server"):
        assert said in asked.text
    assert (303, "../../") == (done.status_code, done.headers["location"])
    page = registered.get("/")
    assert "The server acme_web-1 was forgotten." == notice(page)
    assert None is notice(registered.get("/"))
    assert 404 == registered.get(SERVER).status_code
    admin = held.keys["admin"]
    assert [
        f"key {admin.id} (\"admin's\") deleted the server 'acme_web-1', from 127.0.0.1"
    ] == audit
    gone = registered.get(f"{SERVER}/delete")
    assert (404, "There is no such server") == (gone.status_code, title(gone))


def test_forgetting_says_whether_the_server_comes_back(
    registered: httpx.Client, held: KeyOfEachScope, clock: Clock
) -> None:
    signed_in(registered, held.tokens["admin"])

    heard = registered.get(f"{SERVER}/delete").text
    clock.advance(3600)
    silent = registered.get(f"{SERVER}/delete").text

    assert "It is still heard: with its next heartbeat it is listed again" in heard
    assert "When it phones home again, it is taken for a new server." in silent
    for page in (heard, silent):
        assert "Labels and note go with the last server of the database" in page


def test_empty_fleet_leads_an_administrator_to_the_key_of_an_agent(
    receiver: httpx.Client, held: KeyOfEachScope
) -> None:
    signed_in(receiver, held.tokens["admin"])

    assert '<a href="keyring">the key of an agent</a>' in receiver.get("/").text


@pytest.mark.parametrize("headers", [{"Sec-Fetch-Mode": "cors"}, {"Fleet-Blocks": "somesalt"}])
def test_background_fetch_keeps_the_notice(
    registered: httpx.Client, held: KeyOfEachScope, headers: dict[str, str]
) -> None:
    signed_in(registered, held.tokens["admin"])
    form = form_of(registered.get(f"{SERVER}/delete"), action=ASKS)
    posts(registered, f"{SERVER}/delete", form)

    fetched = registered.get("/", headers=headers)

    assert None is notice(fetched)
    assert "The server acme_web-1 was forgotten." not in fetched.text
    assert "The server acme_web-1 was forgotten." == notice(registered.get("/"))


def test_forged_notice_cookie_is_not_shown(registered: httpx.Client, held: KeyOfEachScope) -> None:
    signed_in(registered, held.tokens["admin"])
    registered.cookies.set("fleet_message", "IkNhbGwgMDgwMC1IQUNLIg.signature")

    assert None is notice(registered.get("/"))


RESERVED = ["a/b", "a/delete", "delete", "a/owner", "../x", "ü ?#%", "//evil.example/x", "<b>"]
"""Ids of servers with characters, or names of calls, that mean something in a path."""


@pytest.mark.both_databases
def test_server_ids_with_reserved_characters_can_be_deleted(
    receiver: httpx.Client, held: KeyOfEachScope
) -> None:
    signed_in(receiver, held.tokens["admin"])
    for server_id in RESERVED:
        beat = messages.slim(server_id=server_id)
        receiver.post("/heartbeat", json=beat, headers=bearer(held.tokens["admin"]))
        page = receiver.get(f"/server/{quote(server_id, safe='')}")
        assert f"<h1><bdi>{html.escape(server_id)}</bdi></h1>" in page.text

        link = re.findall(r'href="([^"]+/delete)"', page.text)[-1]
        asked = receiver.get(urljoin(str(page.url), html.unescape(link)))
        (back,) = re.findall(r'href="([^"]+)">Go back<', asked.text)
        form = form_of(asked, action=ASKS)
        done = receiver.post(str(asked.url), data=form, follow_redirects=True)

        assert str(page.url) == urljoin(str(asked.url), html.unescape(back))
        assert f"The server {server_id} was forgotten." == notice(done)
        assert str(receiver.base_url.join("/")) == str(done.url)
        assert 404 == receiver.get(str(page.url)).status_code


def test_form_with_an_old_csrf_token_is_shown_again(
    registered: httpx.Client, held: KeyOfEachScope
) -> None:
    signed_in(registered, held.tokens["admin"])

    answer = posts(registered, f"{SERVER}/delete", {"form": "old"})

    assert (403, "Forget this server?") == (answer.status_code, title(answer))
    assert "Nothing was changed." in fault(answer)
    second = posts(registered, f"{SERVER}/delete", form_of(answer, action=ASKS))
    assert 303 == second.status_code


@pytest.mark.both_databases
def test_deleting_a_server_twice_is_404(registered: httpx.Client, held: KeyOfEachScope) -> None:
    signed_in(registered, held.tokens["admin"])
    form = form_of(registered.get(f"{SERVER}/delete"), action=ASKS)

    answers = [posts(registered, f"{SERVER}/delete", form) for _ in range(2)]

    assert [303, 404] == [answer.status_code for answer in answers]


def test_viewer_sees_no_admin_controls_and_gets_403(
    registered: httpx.Client, held: KeyOfEachScope
) -> None:
    signed_in(registered, held.tokens["viewer"])
    page = registered.get(SERVER).text
    form = form_of(registered.get(SERVER), action="sign-out")

    answers = [
        registered.get(f"{SERVER}/delete"),
        posts(registered, f"{SERVER}/delete", form),
        posts(registered, f"{SERVER}/owner", {**form, "key_id": ""}),
        registered.get("/keyring"),
        posts(registered, "/keyring", {**form, "name": "a", "scope": "admin"}),
        registered.get(f"/keyring/{held.keys['agent'].id}/revoke"),
        posts(registered, f"/keyring/{held.keys['agent'].id}/rotate", form),
    ]

    for text_of_page in ("/delete", "/owner", "keyring", "agent"):
        assert text_of_page not in page
    assert {403} == {answer.status_code for answer in answers}
    for answer in answers:
        assert "A key of the scope viewer may not delete servers" in html.unescape(answer.text)
        assert "Sign out" in answer.text
    assert 200 == registered.get(SERVER).status_code


@pytest.mark.parametrize("path", [f"{SERVER}/delete", f"{SERVER}/owner", "/keyring"])
def test_form_without_a_session_returns_to_its_page_after_sign_in(
    registered: httpx.Client, held: KeyOfEachScope, path: str
) -> None:
    answer = posts(registered, path, {"form": "x"})

    assert 401 == answer.status_code
    assert path.removesuffix("/owner") == form_of(answer)["to"]


def heirs(page: httpx.Response) -> list[str]:
    """The keys to which the page of a server offers to hand it over."""
    form = page.text.partition('id="heirs"')[2]
    return re.findall(r'<option value="([^"]*)">', form)


@pytest.mark.both_databases
def test_admin_changes_the_owner_of_a_server(
    registered: httpx.Client, held: KeyOfEachScope, audit: list[str]
) -> None:
    signed_in(registered, held.tokens["admin"])
    page = registered.get(SERVER)
    agent, admin = held.keys["agent"], held.keys["admin"]

    assert f"<bdi>agent&#39;s</bdi> <small>{agent.id}, active" in page.text
    assert ["", admin.id] == heirs(page)
    form = form_of(page, action="/owner")
    given = registered.post(
        f"{SERVER}/owner", data={**form, "key_id": admin.id}, follow_redirects=True
    )
    assert str(registered.base_url.join(SERVER)) == str(given.url)
    assert "The server belongs to the key admin's now." == notice(given)
    assert f"<bdi>admin&#39;s</bdi> <small>{admin.id}, active" in given.text
    freed = registered.post(f"{SERVER}/owner", data={**form, "key_id": ""}, follow_redirects=True)
    assert "The server is unowned now: the next key that writes it becomes its owner." == notice(
        freed
    )
    assert [agent.id, admin.id] == sorted(heirs(freed), key=lambda each: each == admin.id)
    assert [f"handed over to {admin.id}", "handed over to whoever comes next"] == [
        re.findall(r"handed over to .*(?= the server)", line)[0] for line in audit
    ]


@pytest.mark.both_databases
def test_invalid_owner_of_a_server_is_refused(
    registered: httpx.Client, held: KeyOfEachScope
) -> None:
    signed_in(registered, held.tokens["admin"])
    form = form_of(registered.get(SERVER), action="/owner")

    answers = [
        posts(registered, f"{SERVER}/owner", {**form, "key_id": "nobody"}),
        posts(registered, "/server/gone/owner", {**form, "key_id": ""}),
        posts(registered, f"{SERVER}/owner", {"form": "old", "key_id": ""}),
    ]

    assert [422, 404, 403] == [answer.status_code for answer in answers]
    assert "There is no key &#39;nobody&#39; that is not revoked" in answers[0].text
    assert 'href="../../server/acme_web-1">Go back to the page<' in answers[2].text
    assert "agent&#39;s" in registered.get(SERVER).text

"""The forms of keys: making, rotating and revoking them."""

import re
from typing import Any

import httpx
import pytest

import messages
from form_filling import (
    ASKS,
    KeyOfEachScope,
    cookies,
    fault,
    follow,
    form_of,
    new_browser,
    notice,
    posts,
    shown,
    signed_in,
    signs_in,
    signs_out,
    title,
)
from keyring import bearer
from receiver.web.pages.wording import SCOPES
from servers import Clock


def new_key(client: httpx.Client, **asked: str) -> httpx.Response:
    """Send the form that makes a key; the page that the browser shows then."""
    form = form_of(client.get("/keyring"), action="/keyring")
    return follow(client, posts(client, "/keyring", {**form, **asked}))


@pytest.mark.both_databases
def test_admin_makes_a_key(
    receiver: httpx.Client, held: KeyOfEachScope, clock: Clock, audit: list[str]
) -> None:
    signed_in(receiver, held.tokens["admin"])
    form = receiver.get("/keyring").text
    assert ["viewer"] == re.findall('value="([a-z]+)" required checked', form)
    assert all(does in form for does in SCOPES.values())

    made_now = new_key(
        receiver, name="acme", scope="agent", servers="acme_*", expires_at="2026-02-02"
    )

    token = shown(made_now)
    assert (200, "The key was made") == (made_now.status_code, title(made_now))
    assert f"/keyring/{token.split('_')[1]}/secret" == made_now.url.path
    assert "no-store" == made_now.headers["cache-control"]
    (key,) = [
        each
        for each in receiver.get("/keys", headers=bearer(held.tokens["admin"])).json()["keys"]
        if each["name"] == "acme"
    ]
    assert ("agent", "acme_*", "2026-02-02T00:00:00Z") == (
        key["scope"],
        key["servers"],
        key["expires_at"],
    )
    beat = receiver.post("/heartbeat", json=messages.heartbeat(), headers=bearer(token))
    assert 200 == beat.status_code
    page = receiver.get("/keyring").text
    for there in (key["id"], "acme_*", "until 2026-02-02", "agent&#39;s", "viewer&#39;s"):
        assert there in page
    assert token not in page
    assert token.rpartition("_")[2] not in "".join(audit)
    assert f"made a key for agents, '{key['id']}'" in audit[0]


def test_list_of_keys_says_what_they_write_and_marks_what_expires_soon(
    receiver: httpx.Client, held: KeyOfEachScope, clock: Clock
) -> None:
    admin = bearer(held.tokens["admin"])
    for name, day in {"soon": "2026-02-02", "later": "2026-12-31"}.items():
        asked = {"name": name, "scope": "agent", "expires_at": f"{day}T00:00:00Z"}
        receiver.post("/keys", json=asked, headers=admin).raise_for_status()
    clock.advance(20 * 3600)  # more than half of the time of the first one

    signed_in(receiver, held.tokens["admin"])
    page = receiver.get("/keyring").text

    found = re.findall(r'<small( class="differs")?><time[^>]*>until ([^<]+)<', page)
    assert {"2026-02-02": ' class="differs"', "2026-12-31": ""} == {day: how for how, day in found}
    assert '<td data-label="Servers">all</td>' in page
    assert '<td data-label="Last used">never</td>' in page


def test_page_of_a_new_key_shows_the_path_that_it_opens(
    receiver: httpx.Client, held: KeyOfEachScope
) -> None:
    signed_in(receiver, held.tokens["admin"])

    registry = new_key(receiver, name="team", scope="registry")
    badge = new_key(receiver, name="readme", scope="badge")
    viewer = new_key(receiver, name="a", scope="viewer")

    path = f'<code id="the-path">/registry/{shown(registry)}</code>'
    assert path in registry.text
    assert "for clients of the MCP registry" in registry.text
    assert f'<code id="the-path">/badges/{shown(badge)}/servers.svg</code>' in badge.text
    assert "for badges" in badge.text
    assert "the-path" not in viewer.text


@pytest.mark.parametrize(("servers", "warnings"), [("acme_*", 1), ("database:acme", 0), ("", 0)])
def test_pattern_that_covers_several_databases_is_warned_of(
    receiver: httpx.Client, held: KeyOfEachScope, servers: str, warnings: int
) -> None:
    signed_in(receiver, held.tokens["admin"])

    made_now = new_key(receiver, name="acme", scope="agent", servers=servers)

    assert shown(made_now)
    assert warnings == made_now.text.count("The pattern acme_* covers servers of several databases")


def test_invalid_new_key_is_explained_and_the_input_is_kept(
    receiver: httpx.Client, held: KeyOfEachScope
) -> None:
    signed_in(receiver, held.tokens["admin"])
    typed = {"name": "<acme>", "scope": "agent", "servers": "a*", "expires_at": "2020-01-01"}

    answer = new_key(receiver, **typed)

    assert (422, "Expires on is over already") == (answer.status_code, fault(answer))
    agent = 'value="agent" required checked'
    for kept in ("&lt;acme&gt;", agent, 'value="a*"', 'value="2020-01-01"'):
        assert kept in answer.text
    assert 422 == new_key(receiver, name="", scope="root").status_code
    expired = posts(receiver, "/keyring", {**typed, "form": "old"})
    assert 403 == expired.status_code
    assert 'value="&lt;acme&gt;"' in expired.text
    assert 3 == receiver.get("/keys", headers=bearer(held.tokens["admin"])).json()["count"]


def test_key_with_only_a_name_covers_all_servers_and_never_expires(
    receiver: httpx.Client, held: KeyOfEachScope
) -> None:
    signed_in(receiver, held.tokens["admin"])

    token = shown(new_key(receiver, name="all", scope="agent", servers="", expires_at=""))

    beat = receiver.post("/heartbeat", json=messages.heartbeat(), headers=bearer(token))
    assert 200 == beat.status_code


@pytest.mark.both_databases
def test_admin_revokes_a_key_after_a_confirmation(
    receiver: httpx.Client, held: KeyOfEachScope, audit: list[str]
) -> None:
    signed_in(receiver, held.tokens["admin"])
    path = f"/keyring/{held.keys['viewer'].id}/revoke"
    assert path[1:] in receiver.get("/keyring").text

    asked = receiver.get(path)
    done = receiver.post(path, data=form_of(asked, action=ASKS), follow_redirects=True)

    assert "Revoke this key?" == title(asked)
    assert "you will be signed out" not in asked.text
    assert "The key viewer's was revoked." == notice(done)
    assert path[1:] not in done.text
    assert 401 == signs_in(new_browser(receiver), held.tokens["viewer"]).status_code
    assert [True] == [f"revoked the key '{held.keys['viewer'].id}'" in each for each in audit]
    assert 404 == posts(receiver, path, form_of(asked, action=ASKS)).status_code
    assert 404 == receiver.get("/keyring/nobody/revoke").status_code


@pytest.mark.both_databases
@pytest.mark.parametrize(("ticked", "left"), [({"also": "1"}, 0), ({}, 2)])
def test_admin_revokes_a_key_with_its_servers(
    receiver: httpx.Client, held: KeyOfEachScope, ticked: dict[str, str], left: int
) -> None:
    beats = [messages.slim(server_id=each) for each in "xy"]
    by_agent = bearer(held.tokens["agent"])
    before = receiver.get("/servers", headers=bearer(held.tokens["admin"])).json()["count"]
    receiver.post("/heartbeats", json=beats, headers=by_agent).raise_for_status()
    signed_in(receiver, held.tokens["admin"])
    path = f"/keyring/{held.keys['agent'].id}/revoke"

    asked = receiver.get(path)
    form = form_of(asked, action=ASKS) | ticked
    done = receiver.post(path, data=form, follow_redirects=True)

    assert '<input type="checkbox" name="also" value="1"> Forget its servers, too' in asked.text
    forgotten = " Servers that were forgotten: 2." if ticked else ""
    assert f"The key agent's was revoked.{forgotten}" == notice(done)
    after = receiver.get("/servers", headers=bearer(held.tokens["admin"])).json()["count"]
    assert left == after - before


@pytest.mark.both_databases
def test_admin_rotates_their_own_key(receiver: httpx.Client, held: KeyOfEachScope) -> None:
    signed_in(receiver, held.tokens["admin"])
    path = f"/keyring/{held.keys['admin'].id}/rotate"

    asked = receiver.get(path)
    done = follow(receiver, posts(receiver, path, form_of(asked, action=ASKS)))

    assert "You are signed in with this key: you will be signed out." in asked.text
    assert (200, "The key was rotated") == (done.status_code, title(done))
    assert "Sign out" not in done.text
    assert 401 == receiver.get("/keyring").status_code
    signed_in(receiver, shown(done))


@pytest.mark.parametrize("done", ["made", "rotated"])
def test_new_key_is_shown_once_and_a_reload_makes_no_other(
    receiver: httpx.Client, held: KeyOfEachScope, clock: Clock, done: str
) -> None:
    admin = bearer(held.tokens["admin"])
    signed_in(receiver, held.tokens["admin"])
    made_path, rotated_path = "/keyring", f"/keyring/{held.keys['viewer'].id}/rotate"
    if done == "made":
        fields = form_of(receiver.get(made_path), action=made_path)
        sent = posts(receiver, made_path, {**fields, "name": "<ü>", "scope": "viewer"})
    else:
        sent = posts(receiver, rotated_path, form_of(receiver.get(rotated_path), action=ASKS))
    before = kept_keys(receiver, admin)
    there = f"{sent.next_request.url}" if sent.next_request else ""
    ((name, (sealed, attributes)),) = cookies(sent).items()

    script = receiver.get(there, headers={"Sec-Fetch-Mode": "cors"})
    first = receiver.get(there)
    second = receiver.get(there)

    assert (303, 303, 200) == (sent.status_code, script.status_code, first.status_code)
    assert {"HttpOnly", "SameSite=strict", "Path=/", "Max-Age=60"} == attributes
    assert f"The key was {done}" == title(first)
    assert "Sign out" in first.text
    assert ("&lt;ü&gt;" if done == "made" else "viewer&#39;s") in first.text
    token = shown(first)
    assert 200 == receiver.get("/servers", headers=bearer(token)).status_code
    assert token not in f"{sent.headers}{sent.text}"
    assert "Max-Age=0" in cookies(first)[name][1]
    assert (303, "../../keyring") == (second.status_code, second.headers["location"])
    assert before == kept_keys(receiver, admin)
    kept = {"Cookie": f"{name}={sealed}"}
    assert token == shown(new_browser(receiver).get(there, headers=kept))
    clock.advance(61)
    for value in (sealed, "junk", "é"):
        late = {b"Cookie": f"{name}={value}".encode()}
        assert 303 == new_browser(receiver).get(there, headers=late).status_code


def kept_keys(client: httpx.Client, admin: dict[str, str]) -> list[dict[str, Any]]:
    """All keys that there are, without when they were used, which is noted some time later."""
    found = client.get("/keys", headers=admin).json()["keys"]
    return [{name: each[name] for name in each if name != "last_used_at"} for each in found]


def test_two_browser_windows_that_make_keys_each_show_their_own_key(
    receiver: httpx.Client, held: KeyOfEachScope
) -> None:
    signed_in(receiver, held.tokens["admin"])
    form = form_of(receiver.get("/keyring"), action="/keyring")

    sent = [posts(receiver, "/keyring", {**form, "name": n, "scope": "viewer"}) for n in "ab"]
    pages = [follow(receiver, each) for each in sent]

    names = [re.findall(r"<b><bdi>(\w)</bdi></b>", page.text) for page in pages]
    assert [["a"], ["b"]] == names
    assert 2 == len({*map(shown, pages)})
    again = receiver.get(pages[0].url, follow_redirects=True)
    assert "Keys" == title(again)
    key_id = shown(pages[0]).split("_")[1]
    assert f"If nobody has kept that of the key {key_id}, rotate the key." in (notice(again) or "")
    signs_out(receiver)
    assert "Sign in" == title(receiver.get(pages[0].url, follow_redirects=True))

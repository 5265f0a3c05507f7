"""Saved views of the list of servers."""

import html
import re
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest

import messages
from keyring import bearer, keep, made
from receiver.domain.lists.saved_views import MOST_VIEWS
from servers import DIRECT

SCOPES = {"Grace": "viewer", "Alan": "viewer", "Ada": "admin", "agent": "agent"}


@pytest.fixture
def tokens(database_url: str) -> dict[str, str]:
    """The tokens of two viewers, an administrator and an agent, whose keys are stored."""
    keys = {name: made(scope, name=name) for name, scope in SCOPES.items()}
    keep(database_url, *(key for key, _ in keys.values()))
    return {name: token for name, (_, token) in keys.items()}


@pytest.fixture
def people(tokens: dict[str, str], receiver: httpx.Client) -> Iterator[dict[str, httpx.Client]]:
    """A browser for each of the people, in which they have signed in; there is a server."""
    sent = receiver.post("/heartbeat", json=messages.slim(), headers=bearer(tokens.pop("agent")))
    sent.raise_for_status()
    with ExitStack() as browsers:
        found = {}
        for name, token in tokens.items():
            browser = httpx.Client(
                base_url=receiver.base_url,
                **DIRECT,
            )
            found[name] = browsers.enter_context(browser)
            form = {"form": csrf_token(browser, "/sign-in"), "key": token}
            assert 303 == browser.post("/sign-in", data=form).status_code
        yield found


def csrf_token(browser: httpx.Client, path: str) -> str:
    found: list[str] = re.findall(r'name="form" value="([^"]+)"', browser.get(path).text)
    return found[0]


def save(browser: httpx.Client, path: str, name: str, **changed: str) -> httpx.Response:
    """Send the form of a page that saves its view."""
    page = browser.get(path).text
    (form,) = re.findall(r'<form[^>]*action="views/new".*?</form>', page, re.DOTALL)
    fields = dict(re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', form))
    given = {name: html.unescape(value) for name, value in fields.items()}
    return browser.post("/views/new", data={**given, "name": name, **changed})


def views(browser: httpx.Client, path: str = "/") -> dict[str, str]:
    """The saved views that a page shows, and the paths of their links."""
    link = r'<a class="chip" href="(views/[^"]+)"[^>]*><bdi>([^<]+)<'
    return {html.unescape(name): f"/{to}" for to, name in re.findall(link, browser.get(path).text)}


@pytest.mark.both_databases
def test_view_is_saved_for_all_and_opened(people: dict[str, httpx.Client]) -> None:
    path = "/?query=stage%3Aproduction+state%3Adown&sort=-last_seen"

    saved = save(people["Grace"], path, "  <Down> ")
    shown = views(people["Alan"])
    opened = people["Alan"].get(shown["<Down>"])
    page = people["Grace"].get(path).text

    assert (303, "../" + path[1:]) == (saved.status_code, saved.headers["location"])
    assert (303, "../" + path[1:]) == (opened.status_code, opened.headers["location"])
    assert "The view &lt;Down&gt; is saved, for all who may read the fleet." in page
    assert f'href="{shown["<Down>"][1:]}" aria-current="true" title="Grace"' in page
    assert '<span class="caption">Views</span>' in page
    assert "Save this view" not in page
    assert "Save this view" not in people["Grace"].get("/").text


def test_view_is_deleted_by_its_author_and_administrators(people: dict[str, httpx.Client]) -> None:
    for name in ("one", "two"):
        save(people["Grace"], f"/?query={name}", name)
    shown = views(people["Alan"])

    def delete(who: str, view: str) -> int:
        form = {"form": csrf_token(people[who], "/")}
        return people[who].post(f"{shown[view]}/delete", data=form).status_code

    assert "Delete this view" in people["Grace"].get("/?query=one").text
    assert "Delete this view" not in people["Alan"].get("/?query=one").text
    assert [403, 303, 303, 404] == [
        delete("Alan", "one"),
        delete("Grace", "one"),
        delete("Ada", "two"),
        delete("Ada", "two"),
    ]
    assert {} == views(people["Alan"])
    assert 404 == people["Alan"].get(shown["one"]).status_code


def test_view_is_saved_without_a_key_on_a_keyless_receiver(receiver: httpx.Client) -> None:
    receiver.post("/heartbeat", json=messages.slim())
    saved = save(receiver, "/?sort=-last_seen", "Fresh", sort="server_id")
    default = save(receiver, "/?query=a", "All", query="", sort="trouble")

    assert ["../?sort=server_id", "../"] == [each.headers["location"] for each in (saved, default)]
    assert ["All", "Fresh"] == [*views(receiver)]
    assert 'title="Saved view"' in receiver.get("/").text
    assert "Delete this view" in receiver.get("/?sort=server_id").text


WORDS = " ".join(f"w{n}" for n in range(51))
"""One word more than the list may be searched for."""


@pytest.mark.parametrize(
    ("fields", "status", "why"),
    [
        ({"name": " \u200b"}, 422, "The name of a view has 1 to 40 characters."),
        ({"name": "x" * 41}, 422, "The name of a view has 1 to 40 characters."),
        ({"name": "a", "query": "colour:red"}, 422, "is no name that a filter knows"),
        ({"name": "a", "query": WORDS}, 422, "A filter has 50 words without a name at most;"),
        ({"name": "a", "sort": "colour"}, 422, "There is no such order."),
        ({"name": "TAKEN"}, 409, "There is a view of this name already."),
        ({"name": "a", "form": "x"}, 403, "form"),
    ],
)
def test_invalid_saved_view_is_refused_with_a_page(
    receiver: httpx.Client, fields: dict[str, str], status: int, why: str
) -> None:
    receiver.post("/heartbeat", json=messages.slim())
    save(receiver, "/?query=a", "taken")

    answer = save(receiver, "/?query=b", **fields)

    assert status == answer.status_code
    assert why in html.unescape(answer.text)
    assert ["taken"] == [*views(receiver)]


def test_number_of_views_is_limited(receiver: httpx.Client) -> None:
    receiver.post("/heartbeat", json=messages.slim())
    saved = [save(receiver, f"/?query=q{n}", f"v{n}") for n in range(MOST_VIEWS + 1)]

    assert {303} == {each.status_code for each in saved[:-1]}
    assert 409 == saved[-1].status_code
    assert "There are 30 views already: delete one." in saved[-1].text
    assert MOST_VIEWS == len(views(receiver))

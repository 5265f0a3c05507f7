"""Test helper: browsers that sign in, send the forms of pages, and read what these show."""

import html
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

import httpx
from sqlalchemy import Engine, text

from keyring import made
from receiver.app import Tuning, create_app
from receiver.domain.keys import Key
from servers import ANY_PAUSE_SECONDS, DIRECT, Clock, serve

__all__ = [
    "ASKS",
    "FORM",
    "SAME_ORIGIN",
    "SERVER",
    "KeyOfEachScope",
    "cookies",
    "fault",
    "follow",
    "form_of",
    "new_browser",
    "notice",
    "opened",
    "posts",
    "receiver_on",
    "rows",
    "shown",
    "signed_in",
    "signs_in",
    "signs_out",
    "title",
]

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
ASKS = 'id="asks"'
SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}


@contextmanager
def receiver_on(
    database_url: str, clock: Clock, *, scheme: str = "http", root_path: str = "", **settings: str
) -> Iterator[httpx.Client]:
    app = create_app(
        environ={"FLEET_DATABASE_URL": database_url, **settings},
        clock=clock,
        tuning=Tuning(absence_seconds=ANY_PAUSE_SECONDS, look_seconds=0.05),
    )
    with serve(app, root_path=root_path) as client:
        if scheme == "https":  # proxies on loopback are trusted
            client.headers["X-Forwarded-Proto"] = scheme
        yield client


class KeyOfEachScope:
    """A key of each scope, and the token of each."""

    def __init__(self) -> None:
        made_keys = {
            scope: made(scope, name=f"{scope}'s") for scope in ("agent", "viewer", "admin")
        }
        self.keys: dict[str, Key] = {scope: key for scope, (key, _) in made_keys.items()}
        self.tokens: dict[str, str] = {scope: token for scope, (_, token) in made_keys.items()}


def form_of(page: httpx.Response, *, action: str = "") -> dict[str, str]:
    """The hidden fields of a form of a page."""
    forms = re.findall(r'<form[^>]*method="post"[^>]*>.*?</form>', page.text, re.DOTALL)
    (form,) = [each for each in forms if action in each.partition(">")[0]]
    fields = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', form)
    return {name: html.unescape(value) for name, value in fields}


def signs_in(client: httpx.Client, token: str, path: str = "/", **headers: str) -> httpx.Response:
    """Sign in through the form that a page shows; the answer to the form."""
    asked = client.get(path)
    form = form_of(asked, action="sign-in")
    return client.post("/sign-in", data={**form, "key": token}, headers=headers)


def signed_in(client: httpx.Client, token: str) -> httpx.Client:
    assert 303 == signs_in(client, token).status_code
    return client


def signs_out(client: httpx.Client) -> httpx.Response:
    return client.post("/sign-out", data=form_of(client.get("/"), action="sign-out"))


def cookies(answer: httpx.Response) -> dict[str, tuple[str, set[str]]]:
    """The cookies that an answer sets: value and attributes of each."""
    found = {}
    for line in answer.headers.get_list("set-cookie"):
        pair, *attributes = line.split("; ")
        name, _, value = pair.partition("=")
        found[name] = value, set(attributes)
    return found


def notice(page: httpx.Response) -> str | None:
    found = re.search(r'id="notice" role="status"><bdi>([^<]*)<', page.text)
    return None if found is None else html.unescape(found[1])


def title(page: httpx.Response) -> str:
    (found,) = re.findall(r"<h1>([^<]*)</h1>", page.text)
    return html.unescape(found)


def fault(page: httpx.Response) -> str:
    """The error message on a page with a form."""
    (found,) = re.findall(r'role="alert">(.*?)</(?:p|div)>', page.text, re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", found)).split())


def rows(engine: Engine) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(text("SELECT * FROM sessions")))


opened: list[httpx.Client] = []
"""What `new_browser` opened; a fixture closes it after each test."""


def new_browser(receiver: httpx.Client) -> httpx.Client:
    """A client without the cookies of the first one, as another browser."""
    opened.append(
        httpx.Client(
            base_url=receiver.base_url,
            **DIRECT,
        )
    )
    return opened[-1]


def posts(
    client: httpx.Client, path: str, form: Mapping[str, str], **headers: str
) -> httpx.Response:
    return client.post(path, content=urlencode(form), headers={**FORM, **headers})


SERVER = "/server/acme_web-1"


def follow(client: httpx.Client, answer: httpx.Response) -> httpx.Response:
    """The page to which a form redirects; the answer itself if it does not."""
    there = answer.next_request
    return answer if there is None else client.get(there.url)


def shown(page: httpx.Response) -> str:
    """The new key on the page that shows it once."""
    (token,) = re.findall(r'<code id="the-key">(\w+)</code>', page.text)
    return str(token)

"""What was committed is answered as done, although the database goes away right after it."""

import html
import re
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import urlencode

import httpx
import pytest

import messages
from keyring import bearer, keep, made
from outages import away
from receiver.app import Tuning, create_app
from receiver.domain.errors import OutcomeUnknown, StoreUnavailable
from receiver.store import SqlStore
from receiver.web.pages.managing import selection
from servers import ANY_PAUSE_SECONDS, Clock, Observed, serve

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
UNSEEN = "b\u202e"
"""The id of a server that no filter can name."""

STOPPED = "Then the database did not answer: choose the others again."


class Fleet(NamedTuple):
    """
    A receiver with two servers of an agent's key.

    Attributes:
        client: Sends the key of an administrator.
        store: The store of the receiver.
        agent: The id of the agent's key.
    """

    client: httpx.Client
    store: SqlStore
    agent: str

    def token(self, page: str) -> str:
        """The CSRF token in the forms of a page; sets its cookie."""
        (found, *_) = re.findall(r'name="form" value="([^"]+)"', self.client.get(page).text)
        return str(found)

    def post(self, path: str, token: str, **fields: str | list[str]) -> httpx.Response:
        content = urlencode({"form": token, **fields}, doseq=True)
        return self.client.post(path, content=content, headers=FORM)

    def notice(self, answer: httpx.Response) -> str:
        """Follow the redirect of a form; the text that the page shows once."""
        assert 303 == answer.status_code, answer.text
        page = self.client.get(str(answer.url.join(answer.headers["location"])))
        (found,) = re.findall(r'id="notice" role="status">(.*?)</p>', page.text)
        return html.unescape(re.sub("<[^>]+>", "", found))


@pytest.fixture
def fleet(database_url: str, clock: Clock) -> Iterator[Fleet]:
    (admin, by_admin), (agent, by_agent) = made("admin"), made("agent")
    keep(database_url, admin, agent)
    tuning = Tuning(absence_seconds=ANY_PAUSE_SECONDS)
    app = Observed(
        create_app(environ={"FLEET_DATABASE_URL": database_url}, clock=clock, tuning=tuning)
    )
    with serve(app) as client:
        for server_id in ("a", UNSEEN):
            beat = messages.slim(server_id=server_id)
            client.post("/heartbeat", json=beat, headers=bearer(by_agent)).raise_for_status()
        client.headers.update(bearer(by_admin))
        yield Fleet(client, app.services.store, agent.id)


def test_silence_is_made_although_its_servers_cannot_be_counted(fleet: Fleet) -> None:
    path = "/alerts/silences/new"
    token = fleet.token(path)

    with away(fleet.store.servers, "count"):
        answer = fleet.post(path, token, query="stage:dev", reason="Move", lasts="60")

    assert (
        "All servers that match stage:dev are silenced until 2026-01-31 13:00:00 UTC. "
        "Show the silence"
    ) == fleet.notice(answer)
    assert 1 == fleet.client.get("/silences").json()["count"]


def test_labels_are_answered_although_they_cannot_be_read_again(fleet: Fleet) -> None:
    path = "/servers/a/labels"

    for asked in ({"add": ["gold"], "note": "Call Ada."}, {"remove": ["gold"], "note": ""}):
        with away(fleet.store.labels, "of"):
            answer = fleet.client.patch(path, json=asked)

        assert (200, fleet.client.get(path).json()) == (answer.status_code, answer.json())


@pytest.mark.parametrize(("method", "forgotten"), [("owned", 0), ("delete_owned", 1)])
def test_key_is_revoked_although_some_of_its_servers_are_left(
    fleet: Fleet, audit: list[str], method: str, forgotten: int
) -> None:
    path = f"/keys/{fleet.agent}?forget=true"

    with away(fleet.store.servers, method, after=forgotten):
        first = fleet.client.delete(path)
    second = fleet.client.delete(path)

    said = {"status": "revoked", "id": fleet.agent}
    assert {**said, "forgotten": forgotten, "more": True} == first.json()
    assert {**said, "forgotten": 2 - forgotten, "more": False} == second.json()
    noted = [line.partition("('admin') ")[2].rpartition(", from ")[0] for line in audit]
    assert [
        f"revoked the key {fleet.agent!r}",
        f"forgot {forgotten} servers, and perhaps more, of the key {fleet.agent!r}",
        f"revoked the key {fleet.agent!r}",
        f"forgot the servers of the key {fleet.agent!r}",
    ] == noted


def test_page_says_that_a_key_is_revoked_and_leads_to_the_servers_that_are_left(
    fleet: Fleet,
) -> None:
    path = f"/keyring/{fleet.agent}/revoke"
    token = fleet.token(path)

    with away(fleet.store.servers, "owned"):
        answer = fleet.post(path, token, also="1")

    assert (
        "The key agent was revoked. Servers that were forgotten: 0. Then the database did not "
        "answer, so that others may be left. Forget the others"
    ) == fleet.notice(answer)
    again = fleet.post(path, fleet.token(path), also="1")
    assert "The key agent was revoked. Servers that were forgotten: 2." == fleet.notice(again)


class Deed(NamedTuple):
    """
    Something that is done with two servers in two transactions.

    Attributes:
        name: The last part of the path of its form.
        part: Which part of the store does it.
        method: The method of that part.
        fields: The fields of the form, beside the servers.
        said: What is said when only the first transaction was made.
    """

    name: str
    part: str
    method: str
    fields: dict[str, str]
    said: str


DEEDS = [
    Deed(
        "silence",
        "alerts",
        "add_silence",
        {"minutes": "60"},
        "The database did not answer after 1 of 2 silences, whose servers are silenced until "
        "2026-01-31 13:00:00 UTC. Show the silence",
    ),
    Deed(
        "hand-over",
        "servers",
        "hand_over",
        {"key_id": ""},
        "1 server, with the nodes of its database, is unowned now: it belongs to the next key that "
        f"writes it. {STOPPED}",
    ),
    Deed(
        "label",
        "labels",
        "change",
        {"add": "gold"},
        f"The labels of the databases of 1 server were changed. {STOPPED}",
    ),
]


@pytest.fixture
def _small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each transaction be about a single server."""
    monkeypatch.setattr(selection, "_AT_ONCE", 1)


@pytest.mark.usefixtures("_small_steps")
@pytest.mark.parametrize("deed", DEEDS, ids=[deed.name for deed in DEEDS])
def test_what_was_done_with_the_first_of_many_servers_is_told(fleet: Fleet, deed: Deed) -> None:
    token = fleet.token("/keyring")

    with away(getattr(fleet.store, deed.part), deed.method, after=1):
        answer = fleet.post(f"/selection/{deed.name}", token, server=["a", UNSEEN], **deed.fields)

    assert deed.said == fleet.notice(answer)


@pytest.mark.usefixtures("_small_steps")
@pytest.mark.parametrize(("after", "error"), [(0, StoreUnavailable), (1, OutcomeUnknown)])
def test_change_of_many_servers_fails_if_nothing_was_done_or_nobody_knows_what(
    fleet: Fleet, after: int, error: type[StoreUnavailable]
) -> None:
    token = fleet.token("/keyring")

    with away(fleet.store.labels, "change", after=after, error=error):
        answer = fleet.post("/selection/label", token, server=["a", UNSEEN], add="gold")

    assert (503, after) == (answer.status_code, len(fleet.store.labels.all()))

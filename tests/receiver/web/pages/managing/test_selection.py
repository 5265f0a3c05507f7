"""Choosing many servers of the list, and what is done with them."""

import html
import re
from collections.abc import Iterator
from contextlib import closing
from urllib.parse import urlencode

import httpx
import pytest
from sqlalchemy import make_url

import messages
from keyring import bearer, keep, made
from keyring import signed_in as session_of
from receiver.app import Tuning, create_app
from receiver.store import SqlStore
from servers import ANY_PAUSE_SECONDS, Clock, serve
from watched import Watched

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
HOSTILE = "<b>\u202e&\"'"
Fields = dict[str, str | list[str]]


class Fleet:
    """A receiver with five servers, and the browser of an administrator who has signed in."""

    watched: Watched

    def __init__(self, client: httpx.Client, admin: str, agents: str) -> None:
        self.client = client
        self.admin = bearer(admin)
        self.agents = bearer(agents)
        client.cookies.set("fleet_session", session_of(client, admin)["Cookie"].partition("=")[2])

    def beat(self, *ids: str, **said: str) -> None:
        for server_id in ids:
            beat = messages.heartbeat(server_id=server_id, **said)
            self.client.post("/heartbeat", json=beat, headers=self.agents).raise_for_status()

    def send(self, path: str, fields: Fields, *, token: str | None = None) -> httpx.Response:
        form = {"form": self.token() if token is None else token, **fields}
        return self.client.post(path, content=urlencode(form, doseq=True), headers=FORM)

    def token(self) -> str:
        (found, *_) = re.findall(r'name="form" value="([^"]+)"', self.client.get("/keyring").text)
        return str(found)

    def notice(self, answer: httpx.Response, leads_to: str = "../") -> str:
        assert (303, leads_to) == (answer.status_code, answer.headers["location"]), answer.text
        page = self.client.get("/")
        (found,) = re.findall(r'id="notice" role="status">(.*?)</p>', page.text)
        return html.unescape(re.sub("<[^>]+>", "", found))

    def ids(self, **query: str) -> list[str]:
        found = self.client.get("/servers", params=query, headers=self.admin).json()["servers"]
        return [server["server_id"] for server in found]


@pytest.fixture
def fleet(database_url: str, clock: Clock) -> Iterator[Fleet]:
    (admin, by_admin), (agent, by_agents) = made("admin", name="Ada"), made("agent", name="acme")
    (other, _) = made("agent", name="narrow", servers="a*")
    keep(database_url, admin, agent, other)
    environ = {"FLEET_DATABASE_URL": database_url}
    tuning = Tuning(absence_seconds=ANY_PAUSE_SECONDS, look_seconds=0.05)
    with serve(create_app(environ=environ, clock=clock, tuning=tuning)) as client:
        fleet = Fleet(client, by_admin, by_agents)
        fleet.beat("a1", "a2", "b1", HOSTILE, database="x")
        fleet.beat("other", odoo_stage="staging")
        with closing(SqlStore(make_url(database_url))) as store:
            fleet.watched = Watched(store)
            fleet.watched.clock = clock
            yield fleet


def shown(page: httpx.Response) -> list[str]:
    """The servers that the form of a page names in hidden fields."""
    assert 200 == page.status_code, page.text
    form = page.text.partition('id="sheet"')[2]
    return [html.unescape(each) for each in re.findall(r'name="server" value="([^"]*)"', form)]


def fault(page: httpx.Response) -> str:
    (found,) = re.findall(r'role="alert">(.*?)</div>', page.text, re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", found)).split())


def test_server_list_lets_administrators_select_servers(fleet: Fleet) -> None:
    page = fleet.client.get("/?stage=staging").text
    assert ["other"] == re.findall(r'form="selection" name="server" value="([^"]*)"', page)
    assert 'name="query" value="stage:staging"' in page
    assert "the one server of this list</label>" in page
    assert 'Silence the one server<span class="unseen"> of this list<' in page
    for name in ("csv", "jsonl"):
        assert f"servers?query=stage%3Astaging&amp;sort=trouble&amp;format={name}" in page
    everything = fleet.client.get("/").text
    assert "all 5 of this list</label>" in everything
    assert 'Silence all 5<span class="unseen"> of this list<' in everything
    assert everything.index('id="selection-all"') < everything.index('value="label"')
    boxes = re.findall(r'name="server" value="([^"]*)"', everything)
    assert {"a1", "a2", "b1", HOSTILE, "other"} == {*map(html.unescape, boxes)}


def test_selection_form_calls_servers_by_the_names_of_the_list(fleet: Fleet) -> None:
    fleet.beat("blank", database=" ")
    chosen: Fields = {"server": ["a1", "other", "blank", "nul\x00"], "do": "forget"}

    page = fleet.send("/selection", chosen).text
    points = re.findall(r"<li>(.*?)</li>", page.partition('<ul class="points">')[2])
    (staying,) = re.findall(r'<p id="staying">(.*?)</p>', page)

    names = [re.sub("<[^>]+>", "", each) for each in points]
    assert ["x (a1)", "acme (other)", "blank"] == names[:3]
    assert "x (a1), acme (other), blank" in re.sub("<[^>]+>", "", staying)


def test_down_servers_are_forgotten_and_heard_ones_stay(fleet: Fleet) -> None:
    fleet.watched.go_on(300, "b1")
    chosen: Fields = {"server": ["a1", "b1", HOSTILE], "do": "forget"}

    page = fleet.send("/selection", chosen)
    again = fleet.send("/selection", chosen)

    assert ["a1", "b1", HOSTILE] == shown(page) == shown(again)
    assert "3 servers are chosen" in page.text
    assert "2 servers go</b> from the list" in page.text
    assert "1 of those chosen stays" in page.text
    assert "<b>\u202e" not in page.text
    assert 5 == len(fleet.ids())
    done = fleet.send("/selection/forget", {"server": shown(page)})
    assert "2 servers were forgotten." == fleet.notice(done)
    assert ["a2", "b1", "other"] == fleet.ids()
    rest = fleet.send("/selection", {"all": "1", "query": "database:x", "do": "forget"})
    assert "2 servers are chosen" in rest.text
    assert "1 server goes" in rest.text
    assert '<li><bdi>x</bdi> <span class="quiet">(<bdi>a2</bdi>)</span></li>' in rest.text
    assert "Only servers that are down" in rest.text
    done = fleet.send("/selection/forget", {"all": "1", "query": "database:x"})
    assert "1 server was forgotten." == fleet.notice(done)
    none = fleet.send("/selection", {"all": "1", "query": "state:up", "do": "forget"})
    assert "None of them can be forgotten." in none.text
    done = fleet.send("/selection/forget", {"all": "1", "query": "state:up"})
    assert "No server was forgotten: those that are heard stay." == fleet.notice(done)
    assert ["b1", "other"] == fleet.ids()


def test_first_hundred_servers_that_would_be_forgotten_are_named(fleet: Fleet) -> None:
    many = [f"c{n:03}" for n in range(103)]
    fleet.watched.beat(*many)
    fleet.watched.beat("blank", database=" ")
    fleet.watched.go_on(300)

    by_filter = fleet.send("/selection", {"all": "1", "query": "state:down", "do": "forget"})
    ticked = fleet.send("/selection", {"server": many, "do": "forget"})

    assert "109 servers go" in by_filter.text
    goers = by_filter.text.partition('id="goers">')[2].partition("</ul>")[0]
    assert 100 == goers.count("<li><bdi>")
    assert "<li>and 9 more</li>" in goers
    assert "<li><bdi>blank</bdi></li>" in goers
    assert 'id="goers"' not in ticked.text
    assert 100 == ticked.text.count("<li><bdi>c")
    assert "<li>and 3 more</li>" in ticked.text


def test_chosen_servers_are_silenced(fleet: Fleet) -> None:
    long = [f"{n:03}{'x' * 200}" for n in range(9)]
    fleet.beat(*long)

    page = fleet.send("/selection", {"server": [*long, HOSTILE], "do": "silence"})
    assert "They are 4 silences" in page.text
    assert '<option value="120" selected>' in page.text
    assert 'name="reason" value="Maintenance"' in page.text
    wrong = fleet.send("/selection/silence", {"server": ["a1"], "minutes": "x"})
    assert 422 == wrong.status_code
    assert "Lasts, in minutes" in fault(wrong)
    done = fleet.send("/selection/silence", {"server": shown(page), "minutes": "30"})
    says = r"10 servers are silenced until 2026-[-\d]+ [:\d]+ UTC\. Show the silences"
    assert re.fullmatch(says, fleet.notice(done))
    silences = fleet.client.get("/silences", headers=fleet.admin).json()["silences"]
    assert [HOSTILE] == [each["server_id"] for each in silences if each["query"] is None]
    assert all(len(each["query"] or "") <= 1000 for each in silences)
    assert {"maintenance"} == {each["reason"] for each in silences}
    assert 1 == fleet.client.get(f"/server/{long[0]}").text.count('id="silenced-title"')
    query: Fields = {"all": "1", "query": "stage:staging", "minutes": "15", "reason": "Move"}
    by_one_button = fleet.send("/selection?do=silence", {**query, "server": ["a1"]})
    assert "1 server is chosen</b>: all that match" in by_one_button.text
    told = fleet.notice(fleet.send("/selection/silence", query))
    assert told.startswith("All servers that match stage:staging, 1 now, are silenced until ")
    assert "It is one silence, also" in fleet.send("/selection", {**query, "do": "silence"}).text


def test_server_that_no_filter_can_name_is_silenced_alone(fleet: Fleet) -> None:
    done = fleet.send("/selection/silence", {"server": [HOSTILE], "minutes": "30"})

    assert fleet.notice(done).startswith("1 server is silenced until ")
    (silence,) = fleet.client.get("/silences", headers=fleet.admin).json()["silences"]
    assert (HOSTILE, None) == (silence["server_id"], silence["query"])


def test_chosen_servers_are_handed_over_if_the_key_covers_all(fleet: Fleet) -> None:
    keys = fleet.client.get("/keys", headers=fleet.admin).json()["keys"]
    key_id = next(key["id"] for key in keys if key["name"] == "narrow")

    def owner(server_id: str) -> str | None:
        answer = fleet.client.get(f"/servers/{server_id}/owner", headers=fleet.admin)
        found: str | None = answer.json()["key_id"]
        return found

    page = fleet.send("/selection", {"server": ["a1", "a2"], "do": "hand-over"})
    assert "narrow, agent" in page.text
    everything = fleet.send("/selection/hand-over", {"all": "1", "query": "", "key_id": key_id})
    assert 422 == everything.status_code
    assert "b1: The key" in fault(everything)
    assert key_id not in {owner("a1"), owner("b1")}
    unknown = fleet.send("/selection/hand-over", {"server": ["a1"], "key_id": "nobody"})
    assert "there is no key 'nobody'" in fault(unknown)
    done = fleet.send("/selection/hand-over", {"server": ["a1", "a2", "a9"], "key_id": key_id})
    told = "2 servers, with the nodes of their databases, belong to the key narrow now."
    assert told == fleet.notice(done)
    assert [key_id, key_id] == [owner("a1"), owner("a2")]
    freed = fleet.send("/selection/hand-over", {"server": ["a1"], "key_id": ""})
    told = "1 server, with the nodes of its database, is unowned now: it belongs to the next key"
    assert fleet.notice(freed).startswith(told)
    assert None is owner("a1")
    many = [f"c{n}" for n in range(8)]
    refused = fleet.send("/selection/hand-over", {"server": many, "key_id": key_id})
    assert "and 3 more" in fault(refused)


def test_databases_of_chosen_servers_are_labelled(fleet: Fleet) -> None:
    fleet.send("/selection/label", {"server": ["a1", HOSTILE], "add": "Gold, eu"})
    page = fleet.send("/selection", {"all": "1", "query": "label:gold", "do": "label"})
    assert "2 servers are chosen" in page.text
    assert "<bdi>gold</bdi> (2)" in page.text

    done = fleet.send(
        "/selection/label", {"all": "1", "query": "label:gold", "add": "x", "remove": "eu"}
    )

    assert "The labels of the databases of 2 servers were changed." == fleet.notice(done)
    assert {"a1", HOSTILE} == {*fleet.ids(query="label:x -label:eu")}
    wrong = fleet.send("/selection/label", {"server": ["a1"], "add": "", "remove": ""})
    assert 422 == wrong.status_code
    assert 'value="a1"' in wrong.text


def test_two_servers_are_compared(fleet: Fleet) -> None:
    two = fleet.send("/selection", {"server": ["a1", "b1"], "do": "compare"})

    assert (303, "./compare?a=a1&b=b1") == (two.status_code, two.headers["location"])
    one = fleet.send("/selection", {"server": ["a1"], "do": "compare"})
    assert (303, "./compare?a=a1") == (one.status_code, one.headers["location"])
    for ids in ([], ["a1", "b1", HOSTILE]):
        others = fleet.send("/selection", {"server": ids, "do": "compare"})
        assert "Tick the two servers to compare." == fleet.notice(others, "./")


def test_selection_form_keeps_the_filters_of_the_list(fleet: Fleet) -> None:
    page = fleet.client.get("/?query=database:x&sort=server_id&limit=1").text
    (following,) = re.findall(r'href="([^"]+)" rel="next"', page)
    page = fleet.client.get("/" + html.unescape(following)[2:]).text
    (here,) = re.findall(r'name="list" value="([^"]*)"', page)
    here = html.unescape(here)
    back = here[2:]
    assert {"query", "sort", "limit", "cursor"} == {*httpx.QueryParams(back[1:])}

    asked = fleet.send("/selection", {"server": ["a1"], "do": "label", "list": here})
    done = fleet.send("/selection/label", {"server": ["a1"], "add": "gold", "list": here})

    assert f'href="./{html.escape(back)}">Go back<' in asked.text
    assert f'name="list" value="{html.escape(here)}"' in asked.text
    assert "The labels of the databases of 1 server were" in fleet.notice(done, f"../{back}")
    for path, root in (("/selection", "./"), ("/selection/label", "../")):
        nothing = fleet.send(path, {"do": "forget", "add": "x", "list": here})
        assert "Tick the servers in the list first" in fleet.notice(nothing, root + back)
    elsewhere = "https://evil.example/?query=x:y&to=https://evil.example"
    nothing = fleet.send("/selection", {"do": "forget", "list": elsewhere})
    assert "./?query=x%3Ay" == nothing.headers["location"]


@pytest.mark.parametrize(
    ("path", "fields", "status", "says"),
    [
        ("/selection", {"server": ["a1"], "do": "x"}, 400, "does not say what to do"),
        ("/selection", {"all": "1", "query": "x:y", "do": "label"}, 400, "no name that a filter"),
        ("/selection", {"server": [f"{n}" for n in range(1020)], "do": "x"}, 400, "cannot be read"),
    ],
)
def test_malformed_selection_form_is_refused(
    fleet: Fleet, path: str, fields: Fields, status: int, says: str
) -> None:
    answer = fleet.send(path, fields)

    assert (status, True) == (answer.status_code, says in html.unescape(answer.text))
    old = fleet.send(path, fields, token="old")
    assert old.status_code in {400, 403}
    assert 5 == len(fleet.ids())

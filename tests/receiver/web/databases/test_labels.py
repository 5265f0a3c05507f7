"""Labels and notes of databases, over HTTP and on the pages."""

import html
import re
from collections.abc import Iterator

import httpx
import pytest

import messages
from keyring import bearer, keep, made
from keyring import signed_in as session_of
from receiver.app import Tuning, create_app
from servers import ANY_PAUSE_SECONDS, Clock, serve

PATH = "/servers/acme_web-1/labels"
PAGE = "/server/acme_web-1"
HOSTILE = "<script>alert(1)</script>\nsecond \u202eline"


@pytest.fixture
def receiver(database_url: str, clock: Clock) -> Iterator[httpx.Client]:
    """A receiver with an admin's and a viewer's key, and two nodes of a database."""
    (admin, by_admin), (viewer, by_viewer) = made("admin", name="Ada"), made("viewer")
    keep(database_url, admin, viewer)
    environ = {"FLEET_DATABASE_URL": database_url}
    tuning = Tuning(absence_seconds=ANY_PAUSE_SECONDS, look_seconds=0.05)
    with serve(create_app(environ=environ, clock=clock, tuning=tuning)) as client:
        client.headers.update(bearer(by_admin))
        for server_id in ("acme_web-1", "a/b"):
            beat = messages.heartbeat(server_id=server_id, database_uuid="u-1")
            client.post("/heartbeat", json=beat).raise_for_status()
        client.post("/heartbeat", json=messages.slim(server_id="other")).raise_for_status()
        client.cookies.set("token_of_viewer", by_viewer)
        yield client


def viewer(receiver: httpx.Client) -> dict[str, str]:
    return bearer(receiver.cookies["token_of_viewer"])


def as_person(receiver: httpx.Client) -> httpx.Client:
    """The client, signed in with the key of the administrator instead of sending it."""
    token = receiver.headers.pop("Authorization").removeprefix("Bearer ")
    receiver.cookies.clear()
    cookie = session_of(receiver, token)["Cookie"].partition("=")[2]
    receiver.cookies.set("fleet_session", cookie)
    return receiver


def listed(receiver: httpx.Client, **query: str) -> list[str]:
    found = receiver.get("/servers", params=query).json()["servers"]
    return [server["server_id"] for server in found]


def fields_of(page: httpx.Response, *, where: str = "sheet") -> dict[str, str]:
    """What the form of the page, in the element with this id, would send without a change."""
    form = page.text.partition(f'id="{where}"')[2].partition("</form>")[0]
    fields = dict(re.findall(r'<input type="(?:hidden|text)" name="(\w+)" value="([^"]*)"', form))
    (note,) = re.findall(r"<textarea[^>]*>\n(.*?)</textarea>", form, re.DOTALL)
    return {name: html.unescape(text) for name, text in {**fields, "note": note}.items()}


@pytest.mark.both_databases
def test_labels_of_a_database_are_those_of_all_its_servers(
    receiver: httpx.Client, audit: list[str]
) -> None:
    changed = receiver.patch(PATH, json={"add": ["Gold", "customer:acme"], "note": "Call Ada."})

    expected = {
        "labels": ["customer:acme", "gold"],
        "note": "Call Ada.",
        "changed_at": "2026-01-31T12:00:00Z",
        "changed_by": "Ada",
    }
    assert {"server_id": "acme_web-1", **expected} == changed.json()
    of_node = receiver.get("/servers/a%2Fb/labels", headers=viewer(receiver)).json()
    assert {"server_id": "a/b", **expected} == of_node
    assert ["customer:acme", "gold"] == receiver.get("/servers/a%2Fb").json()["labels"]
    assert None is receiver.get("/servers/other").json()["labels"]
    assert {"acme_web-1"} <= {*listed(receiver, label="gold")} <= {"acme_web-1", "a/b"}
    assert listed(receiver, label="gold") == listed(receiver, query="label:GOLD stage:production")
    assert [] == listed(receiver, label="silver")
    labels = receiver.get("/labels", headers=viewer(receiver)).json()
    assert ["customer:acme", "gold"] == [each["label"] for each in labels["labels"]]
    assert 2 == labels["count"]
    (event,) = receiver.get("/events?kind=labelled").json()["events"]
    assert {"gained": ["customer:acme", "gold"], "lost": []} == event["details"]["labels"]
    assert "changed labels (+gold +customer:acme note) of 'acme_web-1'" in audit[-1]
    csv = receiver.get("/servers?format=csv&label=gold").text
    assert '"customer:acme, gold"' in csv

    receiver.patch(PATH, json={"remove": ["gold"], "note": ""})
    assert ["customer:acme"] == receiver.get(PATH).json()["labels"]
    receiver.patch(PATH, json={"labels": []})
    assert (None, None) == tuple(
        receiver.get(PATH).json()[name] for name in ("changed_at", "changed_by")
    )


@pytest.mark.parametrize(
    ("path", "asked", "status", "says"),
    [
        (PATH, {}, 422, "expected at least one of labels, add, remove, note"),
        (PATH, {"add": ["a,b"]}, 422, "without commas and double quotes"),
        ("/servers/nobody/labels", {"note": "x"}, 404, "no server 'nobody'"),
    ],
)
def test_invalid_label_change_is_refused(
    receiver: httpx.Client, path: str, asked: messages.Json, status: int, says: str
) -> None:
    answer = receiver.patch(path, json=asked)

    assert (status, True) == (answer.status_code, says in answer.json()["detail"])
    assert 404 == receiver.get("/servers/nobody/labels").status_code
    assert 403 == receiver.patch(path, json=asked, headers=viewer(receiver)).status_code


def test_admin_writes_labels_and_a_note_on_a_page(receiver: httpx.Client) -> None:
    receiver.patch("/servers/other/labels", json={"add": ["eu"]})
    person = as_person(receiver)
    assert "<bdi>eu</bdi> (1)" in person.get(f"{PAGE}/labels").text
    page = person.get(PAGE)
    assert "None yet." in page.text
    empty = fields_of(page, where="annotate")
    assert ("", "") == (empty["labels"], empty["note"])

    typed = {**empty, "labels": " Gold ,customer:acme,", "note": HOSTILE}
    done = person.post(f"{PAGE}/labels", data=typed)

    assert (303, "../../server/acme_web-1") == (done.status_code, done.headers["location"])
    shown = person.get(PAGE).text
    assert (
        'The labels and the note were saved.</bdi> <a href="../?query=label%3Agold">'
        "All with gold</a>" in shown
    )
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in shown
    assert "<script>alert" not in shown
    (link,) = re.findall(r'href="([^"]+)"><bdi>customer:acme</bdi>', shown)
    assert "../?query=label%3Acustomer%3Aacme" == link
    front = person.get("/").text
    assert "<bdi>customer:acme, gold</bdi>" in front
    (note,) = re.findall(r'<p class="note" id="note">(.*?)</p>', shown, re.DOTALL)
    assert HOSTILE.replace("\u202e", "⟨U+202E⟩") == html.unescape(note)
    assert shown.index('id="note"') < shown.index('id="past"')
    again = fields_of(person.get(PAGE), where="annotate")
    assert ("customer:acme, gold", HOSTILE) == (again["labels"], again["note"])

    person.post(f"{PAGE}/labels", data={**again, "labels": ""})
    assert "The labels and the note were saved.</bdi></p>" in person.get(PAGE).text


def test_refused_label_form_keeps_the_input(receiver: httpx.Client) -> None:
    person = as_person(receiver)
    before = fields_of(person.get(f"{PAGE}/labels"))
    person.post(f"{PAGE}/labels", data={**before, "labels": "gold"})

    late = person.post(f"{PAGE}/labels", data={**before, "labels": "silver", "note": "Mine"})
    wrong = person.post(f"{PAGE}/labels", data={**before, "labels": 'a"b'})
    old = person.post(f"{PAGE}/labels", data={**before, "form": "old"})
    gone = person.post("/server/nobody/labels", data=before)

    assert [409, 422, 403, 404] == [each.status_code for each in (late, wrong, old, gone)]
    assert "Somebody else has changed the labels or the note meanwhile." in late.text
    assert "Now they are: <b><bdi>gold</bdi></b>, by <bdi>Ada</bdi>." in late.text
    assert ("silver", "Mine") == (fields_of(late)["labels"], fields_of(late)["note"])
    assert "<b>Labels</b> expected 1 to 50 printable characters" in wrong.text
    assert 303 == person.post(f"{PAGE}/labels", data=fields_of(late)).status_code
    assert "<bdi>silver</bdi>" in person.get(PAGE).text


def test_viewers_see_labels_only_where_there_are_any(receiver: httpx.Client) -> None:
    receiver.patch(PATH, json={"note": "Call Ada."})

    pages = [
        receiver.get(f"/server/{each}", headers=viewer(receiver)) for each in ("other", "a%2Fb")
    ]

    assert [False, True] == ["Labels and note" in page.text for page in pages]
    assert "/labels" not in pages[1].text
    assert "<textarea" not in pages[1].text
    assert "Call Ada." in pages[1].text

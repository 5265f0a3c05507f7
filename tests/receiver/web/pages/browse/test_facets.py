"""The keys beside the list of servers, for those who may know them."""

import re

import httpx
import pytest

import messages
from keyring import bearer, keep, made
from receiver.domain.keys import Key


@pytest.fixture
def keys(database_url: str) -> dict[str, tuple[Key, str]]:
    """Keys of agents, of which two have the same name, and those of readers."""
    names = {"one": "acme", "two": "acme", "three": "blue"}
    found = {each: made("agent", name=name) for each, name in names.items()}
    found |= {scope: made(scope) for scope in ("viewer", "admin")}
    keep(database_url, *(key for key, _ in found.values()))
    return found


def test_administrators_choose_by_the_names_of_keys(
    keys: dict[str, tuple[Key, str]], receiver: httpx.Client
) -> None:
    for name in ("one", "two", "three", "admin"):
        beat = messages.slim(server_id=name)
        receiver.post("/heartbeat", json=beat, headers=bearer(keys[name][1])).raise_for_status()

    pages = {
        scope: receiver.get("/?query=-key:blue", headers=bearer(keys[scope][1])).text
        for scope in ("admin", "viewer")
    }

    shown = re.findall(r'<li data-key="key-[^>]*>.*?<bdi>([^<]+)</bdi></a>', pages["admin"])
    ids = [keys[name][0].id for name in ("one", "two", "admin")]
    assert ["blue", *sorted(["admin", ids[0], ids[1]])] == shown
    assert 'data-key="key-' not in pages["viewer"]
    for page in pages.values():
        assert {"one", "two", "admin"} == {*re.findall(r'<tr data-key="server-([^"]+)"', page)}


def test_fleet_without_keys_has_none_to_choose(receiver: httpx.Client) -> None:
    receiver.post("/heartbeat", json=messages.slim())

    assert 'data-key="facet-key"' not in receiver.get("/").text


def test_production_is_the_first_of_the_stages(receiver: httpx.Client) -> None:
    """However many servers the others have; a stage that is missing counts as production."""
    fleet = ["staging", "staging", "staging", "dev", "dev", "dev", "dev", "production", "", ""]
    beats = [messages.heartbeat(server_id=f"s{n}", odoo_stage=each) for n, each in enumerate(fleet)]
    receiver.post("/heartbeats", json=beats).raise_for_status()

    page = receiver.get("/").text
    (stages,) = re.findall(r'data-key="facet-stage".*?</details>', page, re.DOTALL)

    names = re.findall(r'<a href="[^"]+"><bdi>([^<]+)</bdi></a>', stages)
    assert ["No stage", "production", "dev", "staging"] == names


@pytest.mark.parametrize(
    ("query", "meant"),
    [
        ("stage:PROD", "stage:production"),
        ("odoo:19", "odoo:19.0"),
        ("tool:invoice stage:production", "stage:production tool:invoice_post"),
        ("down Production", "stage:production state:down"),
        ("state:late down", "state:down,late"),
        ("Dev", "stage:dev"),
        ("stage:demo", None),
        ("nobody", None),
    ],
)
def test_filter_that_finds_nothing_leads_to_one_that_is_like_it(
    receiver: httpx.Client, query: str, meant: str | None
) -> None:
    fleet = [
        messages.heartbeat(server_id="a", odoo_stage="production", capabilities=["invoice_post"]),
        messages.heartbeat(server_id="b", odoo_stage="staging", capabilities=["sale_order"]),
    ]
    receiver.post("/heartbeats", json=fleet).raise_for_status()

    page = receiver.get("/", params={"query": query}).text

    found = re.findall(r'<a id="meant" href="([^"]+)"><bdi>(.*?)</bdi></a>', page)
    assert [meant] == [text for _, text in found] or (meant, found) == (None, [])
    for link, text in found:
        assert text == httpx.QueryParams(link.partition("?")[2])["query"]


@pytest.mark.both_databases
def test_labels_beside_one_that_is_excluded_are_counted_without_it(receiver: httpx.Client) -> None:
    labels = {"a": ["gold"], "b": ["gold", "eu"], "c": ["eu"], "d": []}
    for server_id, wanted in labels.items():
        receiver.post("/heartbeat", json=messages.slim(server_id=server_id)).raise_for_status()
        receiver.patch(f"/servers/{server_id}/labels", json={"add": wanted or ["x"]})

    page = receiver.get("/?query=-label:gold").text

    counts = re.findall(r'<li data-key="label-.*?<bdi>(.*?)</bdi>.*?class="n">(\d+)<', page)
    assert {"gold": "2", "eu": "1", "x": "1"} == dict(counts)

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

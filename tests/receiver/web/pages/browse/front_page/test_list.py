"""The list of servers on the front page."""

import html
import re

import httpx
import pytest

import messages
from page_reading import MAX_PAGE_BYTES, listed
from servers import Clock


def test_empty_fleet_explains_how_to_connect_the_first_odoo(receiver: httpx.Client) -> None:
    page = receiver.get("/").text

    assert "No server has phoned home yet" in page
    assert f"python -m client --url {str(receiver.base_url).rstrip('/')}" in page


@pytest.mark.both_databases
def test_front_page_lists_the_servers(receiver: httpx.Client, clock: Clock) -> None:
    receiver.post("/heartbeat", json=messages.heartbeat())
    clock.advance(12)

    page = receiver.get("/").text

    for shown in ("acme", "web-1", "10.0.0.5:8768", "production", "19.0", "sale_order_create"):
        assert shown in page
    assert 'title="2026-01-31 12:00:00 UTC">12 s ago</time>' in page
    assert "24 hours: 100%" in page
    assert ">1 server<" in page


def test_column_heading_sorts_and_reverses(receiver: httpx.Client, clock: Clock) -> None:
    for name in ("a", "b", "c"):
        receiver.post("/heartbeat", json=messages.heartbeat(server_id=name))
        clock.advance(1)

    page = receiver.get("/").text
    by_trouble, by_name, by_age = re.findall(r'<th scope="col"[^>]*><a href="\.([^"]*)"', page)
    reversed_page = receiver.get(by_age).text

    assert "/" == by_trouble
    assert ["a", "b", "c"] == listed(receiver, by_name)
    assert ["c", "b", "a"] == listed(receiver, by_age)
    assert 'aria-sort="ascending"><a href="./">State' in page
    assert 'aria-sort="ascending"><a href="./?sort=-server_id"' in receiver.get(by_name).text
    assert 'aria-sort="descending"><a href="./?sort=last_seen"' in reversed_page
    assert '<option value="-last_seen" selected>' in reversed_page


def test_list_shows_notes_and_where_they_have_a_word(receiver: httpx.Client) -> None:
    for server_id in ("a", "b", "c"):
        receiver.post("/heartbeat", json=messages.heartbeat(server_id=server_id))
    notes = {"a": "Customer of the <gold> kind since 2019: call Ada first.", "b": "\N{PILE OF POO}"}
    for server_id, note in notes.items():
        asked = {"note": note}
        receiver.patch(f"/servers/{server_id}/labels", json=asked).raise_for_status()

    every, found = receiver.get("/").text, receiver.get("/?query=ADA").text

    shown = [html.escape(note) for note in notes.values()]
    assert shown == re.findall(r'class="noted" title="([^"]*)">note<', every)
    assert "Note: " not in every
    assert "Note: <bdi>… &lt;gold&gt; kind since 2019: call Ada first.</bdi>" in found
    assert "Note: " not in receiver.get("/?query=web-1").text


def test_notes_of_a_page_take_little_room(receiver: httpx.Client) -> None:
    receiver.post("/heartbeats", json=[messages.slim(server_id=f"s{n:02}") for n in range(50)])
    for n in range(50):
        asked = {"note": "&" * 2000}
        receiver.patch(f"/servers/s{n:02}/labels", json=asked).raise_for_status()

    page = receiver.get("/?query=%26").text

    assert len(page.encode()) <= MAX_PAGE_BYTES
    assert 50 == page.count('class="noted"')
    assert 50 > page.count('title="The page of the server has the note."') > 30

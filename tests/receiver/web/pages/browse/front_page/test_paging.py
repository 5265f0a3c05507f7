"""The pages of the list on the front page, and how large they are."""

import html
import re
from urllib.parse import urljoin

import httpx
import pytest

import messages
from page_reading import MAX_PAGE_BYTES, address, link, listed, says
from servers import Clock, wait_until


def test_pages_link_to_the_next_and_the_first_page(receiver: httpx.Client) -> None:
    receiver.post("/heartbeats", json=[messages.slim(server_id=f"s{n}") for n in range(3)])

    second = link(receiver, "/?limit=2", rel="next")

    assert ["s0", "s1"] == listed(receiver, "/?limit=2")
    assert ["s2"] == listed(receiver, second)
    assert "/?limit=2" == link(receiver, second, rel="first")
    receiver.delete("/servers/s2")
    assert "The servers of this page are gone" in receiver.get(second).text


def test_empty_page_of_a_filtered_list_does_not_say_that_nothing_matches(
    receiver: httpx.Client,
) -> None:
    fleet = [messages.heartbeat(server_id=f"s{n}", version="1") for n in range(3)]
    receiver.post("/heartbeats", json=fleet)
    second = link(receiver, "/?limit=2&version=1", rel="next")
    receiver.delete("/servers/s2")

    page = receiver.get(second).text

    assert "No server matches" not in page
    assert "The servers of this page are gone, or on another page by now." in page
    receiver.delete("/servers/s0")
    receiver.delete("/servers/s1")
    assert "No server matches all of these filters" in receiver.get(second).text


def test_pages_by_last_seen_list_servers_that_are_heard_meanwhile(
    receiver: httpx.Client, clock: Clock
) -> None:
    for n in range(6):
        receiver.post("/heartbeat", json=messages.slim(server_id=f"s{n}"))
        clock.advance(60)

    second = link(receiver, "/?limit=3&sort=-last_seen", rel="next")
    receiver.post("/heartbeats", json=[messages.slim(server_id=f"s{n}") for n in (0, 1, 2)])

    assert ["s0", "s1", "s2"] == listed(receiver, second)
    assert "heard while you turn the pages come last" in receiver.get(second).text
    assert "heard while you turn" not in receiver.get("/?limit=3").text


@pytest.mark.parametrize("limit", ["", "?limit=1000"])
def test_front_page_lists_fifty_servers_with_usual_names(
    receiver: httpx.Client, limit: str
) -> None:
    tools = [f"sale_order_line_create_{n}" for n in range(200)]
    fleet = [
        messages.heartbeat(
            server_id=f"customer-{n:04d}-production_odoo-{n:04d}.eu.example.com",
            database=f"customer-{n:04d}-production",
            hostname=f"odoo-{n:04d}.eu.example.com",
            capabilities=tools,
        )
        for n in range(60)
    ]
    for n in range(0, 60, 20):
        receiver.post("/heartbeats", json=fleet[n : n + 20])

    page = receiver.get(f"/{limit}")

    assert 50 <= len(listed(receiver, f"/{limit}"))
    assert len(page.content) <= MAX_PAGE_BYTES
    assert "#tools" in page.text
    assert "sale_order_line_create_7" in receiver.get(address(page.text, of="#tools")).text


@pytest.mark.parametrize("character", ["&", "\N{PILE OF POO}"])
def test_front_page_of_servers_with_long_names_is_small_and_leads_to_all(
    receiver: httpx.Client, character: str
) -> None:
    silence = {"query": "", "reason": "a", "duration_seconds": 60}
    receiver.post("/silences", json=silence).raise_for_status()
    ids = [f"{n:02d}{character * 253}" for n in range(60)]
    for n, server_id in enumerate(ids):
        long = dict.fromkeys(("hostname", "database", "odoo_version"), f"{n}{character * 3000}")
        told = messages.heartbeat(server_id=server_id, odoo_stage=character * (200 + n % 6), **long)
        receiver.post("/heartbeat", json=told)
        receiver.post("/heartbeat", json={**told, "hostname": "other"})

    found: list[str] = []
    path: str | None = "/"
    while path is not None:
        page = receiver.get(path)
        assert len(page.content) <= MAX_PAGE_BYTES
        found += re.findall(r'<tr data-key="server-(\d\d)', page.text)
        following = re.search(r'href="([^"]+)" rel="next"', page.text)
        path = following and urljoin(str(page.url), html.unescape(following[1]))

    assert [each[:2] for each in ids] == found
    news = re.search(r'href="(timeline\?cursor=[^"]+)"', receiver.get("/").text)
    assert news is not None
    older = receiver.get(f"/{html.unescape(news[1])}")
    assert len(says(receiver.get("/").text)) < 12
    assert says(older.text)
    assert len(older.content) <= MAX_PAGE_BYTES


def test_first_page_has_no_link_to_the_first_page(receiver: httpx.Client) -> None:
    receiver.post("/heartbeat", json=messages.heartbeat())

    assert "First page" not in receiver.get("/").text


def test_next_page_keeps_filter_and_sort_order(receiver: httpx.Client, clock: Clock) -> None:
    for n in range(6):
        beat = messages.heartbeat(server_id=f"s{n}", database=f"d{n % 2}")
        receiver.post("/heartbeat", json=beat)
        clock.advance(1)
    path = "/?database=d1&limit=2&sort=-last_seen"

    assert ["s5", "s3"] == listed(receiver, path)
    assert ["s1"] == listed(receiver, link(receiver, path, rel="next"))
    assert ">3 servers found<" in receiver.get(path).text


def test_pages_of_the_list_are_turned_in_both_directions(
    receiver: httpx.Client, clock: Clock
) -> None:
    receiver.post("/heartbeats", json=[messages.slim(server_id=f"s{n}") for n in range(5)])
    clock.advance(100)
    receiver.post("/heartbeats", json=[messages.slim(server_id=f"s{n}") for n in range(4)])
    clock.advance(50)
    wait_until(lambda: listed(receiver, "/?state=late") == ["s4"])

    second = link(receiver, "/?limit=2", rel="next")
    third = link(receiver, second, rel="next")

    assert [["s4", "s0"], ["s1", "s2"], ["s3"]] == [
        listed(receiver, path) for path in ("/?limit=2", second, third)
    ]
    assert ["1-2 of 5", "3-4 of 5", "5 of 5"] == [
        re.findall(r"<span>([^<]* of 5)</span>", receiver.get(path).text)[0].replace(EN_DASH, "-")
        for path in ("/?limit=2", second, third)
    ]
    assert ["s1", "s2"] == listed(receiver, link(receiver, third, rel="prev"))
    assert ["s4", "s0"] == listed(receiver, link(receiver, second, rel="prev"))
    assert 'rel="prev"' not in receiver.get("/?limit=2").text


EN_DASH = "\N{EN DASH}"

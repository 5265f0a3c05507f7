"""The page for people."""

import html
import re

import httpx

import messages
from servers import Clock


def test_empty_fleet_says_how_to_connect_the_first_odoo(receiver: httpx.Client) -> None:
    page = receiver.get("/").text

    assert "No server has phoned home yet" in page
    assert f"python -m client --url {str(receiver.base_url).rstrip('/')}" in page


def test_page_lists_the_fleet(receiver: httpx.Client, clock: Clock) -> None:
    receiver.post("/heartbeat", json=messages.heartbeat())
    clock.advance(150)

    page = receiver.get("/").text

    for shown in ("acme", "web-1", "10.0.0.5", "production", "19.0", "sale_order_create", "late"):
        assert shown in page
    assert "2 minutes ago" in page
    assert "1 server ·" in page


def test_a_server_of_which_nothing_is_known_is_listed(receiver: httpx.Client) -> None:
    receiver.post("/heartbeat", json={"server_id": "only-a-name"})

    assert "only-a-name" in receiver.get("/").text


def test_hostile_names_show_as_text(receiver: httpx.Client) -> None:
    hostile = "<script>alert('x')</script>\"&\u202e"
    receiver.post("/heartbeat", json=messages.heartbeat(hostname=hostile, capabilities=[hostile]))

    page = receiver.get("/").text

    assert "<script" not in page
    assert hostile in html.unescape(page)


def test_link_of_a_server_leads_to_it_whatever_its_id(receiver: httpx.Client) -> None:
    receiver.post("/heartbeat", json=messages.slim(server_id="../a b/health"))

    (link,) = re.findall(r'href="(servers/[^"]+)"', receiver.get("/").text)

    assert "../a b/health" == receiver.get(f"/{link}").json()["server_id"]


def test_pages_lead_to_each_other(receiver: httpx.Client) -> None:
    receiver.post("/heartbeats", json=[messages.slim(server_id=f"s{n}") for n in range(3)])

    first = receiver.get("/", params={"limit": "2"}).text
    cursor = receiver.get("/servers", params={"limit": "2"}).json()["next_cursor"]
    second = receiver.get("/", params={"cursor": cursor}).text
    receiver.delete("/servers/s2")
    gone = receiver.get("/", params={"cursor": cursor}).text

    assert "Next page" in first
    assert "All servers" not in first
    assert "s2" in second
    assert "All servers" in second
    assert "No servers here" in gone


def test_pages_of_a_filtered_list_keep_its_filter(receiver: httpx.Client) -> None:
    fleet = [messages.heartbeat(server_id=f"s{n}", database=f"db{n % 2}") for n in range(6)]
    receiver.post("/heartbeats", json=fleet)

    first = receiver.get("/", params={"database": "db1", "limit": "2"}).text
    (link,) = re.findall(r'href="\./(\?[^"]+)" rel="next"', first)
    second = receiver.get(f"/{html.unescape(link)}").text

    assert "3 servers" in first
    assert ["s1", "s3"] == re.findall(r'title="(s\d)"', first)
    assert ["s5"] == re.findall(r'title="(s\d)"', second)


def test_page_asks_for_nothing_from_elsewhere_and_runs_no_script(receiver: httpx.Client) -> None:
    answer = receiver.get("/")

    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert "nosniff" == answer.headers["x-content-type-options"]
    for file in ("static/fleet.css", "static/fleet.svg"):
        assert file in answer.text
        assert 200 == receiver.get(f"/{file}").status_code

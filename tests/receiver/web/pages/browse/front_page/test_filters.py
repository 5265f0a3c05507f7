"""The HTML pages: front page, server page and timeline."""

import html
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin

import httpx
import pytest

import messages
from receiver.app import create_app
from receiver.domain.cursors import write_event_cursor
from servers import Clock, serve, wait_until


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


def test_front_page_takes_the_filters_as_one_text(receiver: httpx.Client) -> None:
    for server_id, stage in {"a": "production", "b": "", "c": "staging"}.items():
        receiver.post("/heartbeat", json=messages.heartbeat(server_id=server_id, odoo_stage=stage))

    text = "stage:none tool:sale_order_create"
    page, same = (
        re.sub(r'name="form" value="[^"]+"', "", receiver.get("/", params=query).text)
        for query in ({"query": text}, {"stage": "", "capability": "sale_order_create"})
    )

    assert page == same
    assert ["b"] == listed(receiver, "/?query=stage:none")
    assert ">1 server found<" in page
    assert f'name="query" value="{text}"' in page
    assert 'href="./?query=stage%3Anone"><span class="unseen">Remove' in page


WORDS = [f"w{n}" for n in range(51)]
"""One word more than the list may be searched for."""


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("query=colour:red", "is no name that a filter knows"),
        ("query=a&query=b", "there more than once"),
        (
            f"query={'+'.join(WORDS)}",
            "A filter has 50 words without a name at most",
        ),
    ],
)
def test_wrong_filters_of_the_front_page_are_explained(
    receiver: httpx.Client, query: str, why: str
) -> None:
    answer = receiver.get(f"/?{query}")

    assert 400 == answer.status_code
    assert why in html.unescape(answer.text)


def test_text_of_a_filter_that_is_still_being_typed_stays_in_its_field(
    receiver: httpx.Client,
) -> None:
    receiver.post("/heartbeat", json=messages.heartbeat())

    answer = receiver.get("/?query=stage:&sort=-last_seen")

    assert 400 == answer.status_code
    assert 'name="query" value="stage:"' in answer.text
    assert "stage: has an empty value; write none for servers without a stage." in answer.text
    assert ["acme_web-1"] == listed(receiver, "/?query=stage:")


def test_server_without_any_fields_has_its_pages(receiver: httpx.Client) -> None:
    receiver.post("/heartbeat", json={"server_id": "only-a-name"})

    assert ["only-a-name"] == listed(receiver, "/")
    assert "<h1><bdi>only-a-name</bdi></h1>" in receiver.get("/server/only-a-name").text


@pytest.mark.both_databases
def test_hostile_names_are_escaped(receiver: httpx.Client) -> None:
    hostile = "<script>alert('x')</script>\"&\u202e"
    receiver.post("/heartbeat", json=messages.heartbeat(capabilities=["a"]))
    beat = messages.heartbeat(hostname=hostile, capabilities=[hostile], odoo_stage=hostile)
    receiver.post("/heartbeat", json=beat)

    for path in ("/", "/server/acme_web-1", f"/?{httpx.QueryParams({'stage': hostile})}"):
        page = receiver.get(path).text
        assert "<script>" not in page
        assert hostile.replace("\u202e", "⟨U+202E⟩") in html.unescape(page)


def test_bidi_control_characters_of_names_do_not_change_the_text_direction(
    receiver: httpx.Client,
) -> None:
    hostile = "up\u202enwod\u2066"
    receiver.post("/heartbeat", json=messages.heartbeat(server_id="a", odoo_stage=hostile))

    page = receiver.get("/", params={"q": "a", "stage": hostile}).text

    assert "<bdi>up⟨U+202E⟩nwod⟨U+2066⟩</bdi>" in page
    attributes = re.findall(rf'(\S+)="[^"]*{hostile}', page)
    assert {"value"} == set(attributes)  # the fields of forms, which are sent as they are
    assert len(attributes) == page.count(hostile)


@pytest.mark.parametrize("server_id", ["../a b/health", "a/b?c#d%2Fe", "//evil.example/x", "é_ü"])
def test_link_of_a_server_works_for_any_id(receiver: httpx.Client, server_id: str) -> None:
    receiver.post("/heartbeat", json=messages.slim(server_id=server_id))

    link = address(receiver.get("/").text, of="server/")
    page = receiver.get(urljoin(str(receiver.base_url), link))
    as_json = address(page.text, of="servers/")

    assert f"<h1><bdi>{html.escape(server_id)}</bdi></h1>" in page.text
    assert server_id == receiver.get(urljoin(str(page.url), as_json)).json()["server_id"]


@pytest.mark.parametrize(
    "path", ["/", "/timeline", "/server/a%2Fb", "/server/a/b", "/server/nobody", "/?x=1"]
)
def test_static_files_are_found_from_each_page(receiver: httpx.Client, path: str) -> None:
    receiver.post("/heartbeat", json=messages.heartbeat(server_id="a/b"))

    page = receiver.get(path)
    files = re.findall(r'(?:href|src)="([^"]*static/[^"]+)"', page.text)

    kinds = [re.findall(r"\.(\w+)\?", file)[0] for file in files]
    assert ["css", "css", "svg", *["js"] * 4, "svg"] == kinds
    for file in files:
        assert 200 == receiver.get(urljoin(str(page.url), file)).status_code


def test_links_in_pages_are_relative(receiver: httpx.Client) -> None:
    """Relative links work below any path of a reverse proxy."""
    fleet = [messages.heartbeat(server_id=f"s{n}") for n in range(3)]
    receiver.post("/heartbeats", json=fleet)

    for path in (
        "/",
        "/?limit=1&stage=production&q=s",
        "/server/s0",
        "/server/s9",
        "/timeline",
        "/timeline?limit=1&kind=registered&server_id=s0",
    ):
        page = receiver.get(path).text
        links = re.findall(r'(?:href|src|action|data-stream|data-worker)="([^"]*)"', page)
        assert [] == [link for link in links if re.match(r"/|\w+:", link)]


def test_pages_have_no_inline_code_and_no_external_resources(
    receiver: httpx.Client,
) -> None:
    receiver.post("/heartbeat", json=messages.heartbeat())

    for path in ("/", "/server/acme_web-1", "/server/nobody", "/timeline"):
        answer = receiver.get(path)
        policy = dict(
            part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; ")
        )
        assert "'none'" == policy.pop("default-src")
        assert {"'self'", "'none'"} == set(policy.values())
        assert "nosniff" == answer.headers["x-content-type-options"]
        assert [] == re.findall(
            r"<style|<script(?! type=\"module\" src=)| style=| on\w+=", answer.text
        )


@pytest.mark.parametrize("path", ["/", "/timeline", "/server/acme_web-1", "/server/nobody"])
def test_pages_do_not_reload_by_themselves(receiver: httpx.Client, path: str) -> None:
    receiver.post("/heartbeat", json=messages.heartbeat())

    page = receiver.get(path).text

    assert "http-equiv" not in page
    assert (
        '<noscript><p class="still">as of 2026-01-31 12:00:00 UTC <a href="">Refresh</a></p>'
    ) in page


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


@pytest.mark.both_databases
def test_state_tiles_count_and_link_to_their_servers(receiver: httpx.Client, clock: Clock) -> None:
    receiver.post("/register", json=messages.registration(server_id="new"))
    receiver.post("/heartbeat", json=messages.heartbeat(server_id="up-1"))
    receiver.post("/heartbeat", json=messages.heartbeat(server_id="up-2", odoo_stage="dev"))

    page = receiver.get("/").text

    assert {**NONE, "All servers": "3", "Up": "2", "New": "1"} == tiles(page)
    assert ["up-1", "up-2"] == listed(receiver, "/?state=up")
    assert ">2 servers found<" in receiver.get("/?state=up").text
    assert 'href="./?query=state%3Aup"' in page
    narrowed = receiver.get("/?stage=dev&sort=-last_seen").text
    assert {**NONE, "All that match": "1", "Up": "1"} == tiles(narrowed)
    assert "All servers" in tiles(receiver.get("/?state=up").text)
    assert 'href="./?query=stage%3Adev+state%3Aup&amp;sort=-last_seen"' in narrowed


def test_servers_that_are_down_or_late_are_chosen_at_once(
    receiver: httpx.Client, clock: Clock
) -> None:
    def tiles_later() -> dict[str, str]:
        clock.advance(10)
        return tiles(receiver.get("/").text)

    receiver.post("/heartbeat", json=messages.heartbeat(server_id="down"))
    wait_until(lambda: tiles_later()["Down"] == "1")
    receiver.post("/heartbeat", json=messages.heartbeat(server_id="late"))
    wait_until(lambda: tiles_later()["Late"] == "1")
    receiver.post("/heartbeat", json=messages.heartbeat(server_id="up"))

    page = receiver.get("/").text

    assert ("2", "3") == (tiles(page)["Down or late"], tiles(page)["All servers"])
    away = re.search(r'<a class="card tile away" href="([^"]+)"', page)
    assert away is not None
    assert ["down", "late"] == listed(receiver, "/" + html.unescape(away[1])[2:])


def test_state_filter_offers_all_states(receiver: httpx.Client) -> None:
    assert "facet-state" not in receiver.get("/").text  # which says how to connect the first one
    receiver.post("/heartbeat", json=messages.heartbeat())

    for path, up in (("/", "1"), ("/?q=nobody", "0")):
        states = {"down": "0", "late": "0", "new": "0", "up": up, "left": "0"}
        states |= {"superseded": "0", "node": "0"}
        assert states == facet(receiver.get(path).text, "state")


@pytest.mark.both_databases
def test_labels_are_counted_and_stand_apart_in_a_row(receiver: httpx.Client) -> None:
    for server_id in ("a", "b"):
        receiver.post("/heartbeat", json=messages.heartbeat(server_id=server_id))
    asked = {"add": ["gold", "<b>", "c", "d"], "note": "Call Ann first."}
    receiver.patch("/servers/a/labels", json=asked).raise_for_status()

    page = receiver.get("/?query=ANN").text

    assert {html.escape(each): "1" for each in ("<b>", "c", "d", "gold")} == facet(page, "label")
    assert ["&lt;b&gt;", "c", "d"] == re.findall(r'<bdi class="tag">([^<]*)</bdi> ', page)
    assert "</a> <small" in page
    assert ["a"] == listed(receiver, "/?query=ANN") == listed(receiver, "/?q=ol&q=first")
    for name in ("csv", "jsonl"):
        assert f'href="servers?query=ANN&amp;sort=trouble&amp;format={name}">' in page


def test_servers_without_a_stage_are_counted_and_found(receiver: httpx.Client) -> None:
    receiver.post("/heartbeat", json=messages.heartbeat(server_id="some"))
    receiver.post("/heartbeat", json=messages.heartbeat(server_id="says none", odoo_stage=""))
    receiver.post("/heartbeat", json=messages.slim(server_id="says nothing"))

    page = receiver.get("/?stage=").text

    assert {"No stage": "2", "production": "1"} == facet(receiver.get("/").text, "stage")
    assert ["says none", "says nothing"] == listed(receiver, "/?stage=")
    assert {**NONE, "All that match": "2", "Up": "2"} == tiles(page)
    assert ">2 servers found<" in page
    assert 'href="./" aria-current="true"><bdi>No stage<' in page
    assert 'name="query" value="stage:none"' in page


@pytest.mark.both_databases
def test_facet_values_are_counted_for_servers_matching_the_other_filters(
    receiver: httpx.Client,
) -> None:
    fleet = [
        messages.heartbeat(server_id="a", odoo_stage="dev", odoo_version="18.0"),
        messages.heartbeat(server_id="b", odoo_stage="dev", capabilities=["stock_read"]),
        messages.heartbeat(server_id="c", capabilities=["stock_read", "sale_order_create"]),
    ]
    receiver.post("/heartbeats", json=fleet)

    page = receiver.get("/?query=odoo:19.0+-tool:sale_order_create").text

    assert ["b"] == listed(receiver, "/?query=odoo:19.0+-tool:sale_order_create")
    assert {} == facet(page, "stage")  # all have the same
    assert {"19.0": "1"} == facet(page, "odoo")
    assert {"sale_order_create": "1", "stock_read": "2"} == facet(page, "tool")
    assert "<title>Odoo MCP Fleet" in page
    assert ["joined the fleet"] == says(page)
    for shown in (
        'href="./?query=odoo%3A19.0"><span>not </span><bdi>sale_order_create<',
        'href="./?query=odoo%3A19.0+tool%3Astock_read+-tool%3Asale_order_create"><bdi>stock_read<',
        'href="./?query=odoo%3A19.0+-tool%3Asale_order_create%2Cstock_read" title="All but th',
        'href="./?query=-tool%3Asale_order_create"><span class="unseen">Remove the filter </span>o',
        'href="./?query=odoo%3A19.0"><span class="unseen">Remove the filter </span>not tool: <bdi>',
    ):
        assert shown in page


def test_facet_value_that_is_excluded_has_the_number_of_servers_without_it(
    receiver: httpx.Client,
) -> None:
    tools = {"a": ["pay"], "b": ["pay", "sell"], "c": ["sell"], "d": [], "e": ["pay"]}
    fleet = [
        messages.heartbeat(server_id=each, capabilities=names) for each, names in tools.items()
    ]
    receiver.post("/heartbeats", json=fleet)

    one = receiver.get("/?query=-tool:pay").text
    both = receiver.get("/?query=-tool:pay,sell").text

    assert ["c", "d"] == listed(receiver, "/?query=-tool:pay")
    assert {"pay": "2", "sell": "2"} == facet(one, "tool")
    assert {} == facet(both, "tool")
    assert 2 == both.count("<span>not </span>")


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


def test_facet_values_are_found_by_a_part_of_them(receiver: httpx.Client) -> None:
    tools = [f"sale_{n}" for n in range(30)] + ["stock_read"]
    receiver.post("/heartbeat", json=messages.heartbeat(capabilities=tools))
    receiver.post("/heartbeat", json=messages.slim(server_id="other"))

    every = receiver.get("/").text
    found = receiver.get("/?facet=tool&find=STOCK").text

    assert 8 == len(facet(every, "tool"))
    assert "and 23 more" in every
    assert {"stock_read": "1"} == facet(found, "tool")
    assert 'name="find" value="STOCK"' in found
    assert "find=" not in found


@pytest.mark.both_databases
@pytest.mark.parametrize(("length", "has_link"), [(200, True), (201, True), (1000, False)])
def test_stage_with_a_long_name_is_counted_and_found(
    receiver: httpx.Client, length: int, *, has_link: bool
) -> None:
    long = "s" * length
    receiver.post("/heartbeat", json=messages.heartbeat(server_id="a"))
    receiver.post("/heartbeat", json=messages.heartbeat(server_id="b", odoo_stage=long))
    receiver.post("/heartbeat", json=messages.heartbeat(server_id="c", odoo_stage=long + "er"))

    every, one = (receiver.get("/", params=query).text for query in ({}, {"stage": long}))

    assert has_link is (f'href="./?query=stage%3A{long}"' in every)
    assert f"<bdi>{'s' * 59}…</bdi>" in every
    assert ">1 server found<" in one
    assert {**NONE, "All that match": "1", "Up": "1"} == tiles(one)
    assert "sha256" not in every + one


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


def test_stage_filter_without_servers_is_still_selected(receiver: httpx.Client) -> None:
    receiver.post("/heartbeat", json=messages.heartbeat())

    page = receiver.get("/?stage=gone").text

    assert 'href="./" aria-current="true"><bdi>gone<' in page
    assert "No server matches all of these filters" in page


def test_empty_form_fields_count_as_absent(receiver: httpx.Client) -> None:
    receiver.post("/heartbeat", json=messages.heartbeat())

    page = receiver.get("/?q=&sort=&database=&capability=&odoo_version=&version=&limit=").text

    assert ">1 server<" in page
    assert "Clear all filters" not in page


def test_search_and_filters_can_be_removed_one_by_one(receiver: httpx.Client) -> None:
    receiver.post("/heartbeat", json=messages.heartbeat())
    receiver.post(
        "/heartbeat", json=messages.heartbeat(server_id="other", database="b", hostname="x")
    )

    path = "/?q=WEB&capability=sale_order_create"
    page = receiver.get(path).text

    assert ["acme_web-1"] == listed(receiver, path)
    assert 'href="./?query=tool%3Asale_order_create"><span class="unseen">Remove' in page
    assert 'href="./?query=WEB"><span class="unseen">Remove' in page
    assert '<input type="search" name="query" value="tool:sale_order_create WEB"' in page


@pytest.mark.both_databases
def test_silent_server_is_down_on_both_pages(receiver: httpx.Client, clock: Clock) -> None:
    beat = messages.heartbeat()
    receiver.post("/heartbeat", json=beat)
    wait_until(lambda: is_told_later(receiver, clock, "is late"))
    wait_until(lambda: is_told_later(receiver, clock, "went down"))

    fleet, server = receiver.get("/").text, receiver.get("/server/acme_web-1").text

    assert "<title>1 down · Odoo MCP Fleet</title>" in fleet
    assert "<title>acme: down · Odoo MCP Fleet</title>" in server
    assert ["acme_web-1"] == listed(receiver, "/?state=down")
    for page in (fleet, server):
        assert '<span class="state down"' in page
    assert re.search(
        r'<rect class="down"[^>]*><title>31 Jan \d\d:\d\d to \d\d:\d\d UTC: down<', server
    )
    receiver.post("/heartbeat", json=beat)
    ((said, when), *_) = events(receiver, "/")
    assert said.startswith("is back after ")
    assert "just now" == when


def test_event_of_a_change_shows_old_and_new_value(receiver: httpx.Client) -> None:
    receiver.post("/heartbeat", json=messages.heartbeat())
    receiver.post("/heartbeat", json=messages.heartbeat(odoo_version="20.0", capabilities=["a"]))

    for path in ("/", "/server/acme_web-1"):
        page = receiver.get(path).text
        assert "<b>Odoo</b> <bdi>19.0 → 20.0</bdi>" in page
        assert "<b>Added</b> <bdi>a</bdi>" in page
        assert "<b>Removed</b> <bdi>res_partner_search, sale_order_create</bdi>" in page


def test_recent_events_are_those_of_one_day(receiver: httpx.Client, clock: Clock) -> None:
    beat = messages.heartbeat(heartbeat_interval_seconds=86400 * 7)
    receiver.post("/heartbeat", json=beat)
    assert [("joined the fleet", "just now")] == events(receiver, "/")
    clock.advance(86400 + 1)
    receiver.cookies.clear()

    assert "Nothing has changed in the last 24 hours" in receiver.get("/").text
    assert [("joined the fleet", "24 h ago")] == events(receiver, "/server/acme_web-1")


@pytest.mark.both_databases
def test_timeline_groups_events_by_day_and_page(receiver: httpx.Client, clock: Clock) -> None:
    beat = messages.heartbeat(heartbeat_interval_seconds=86400 * 7)
    for version in ("16.0", "17.0", "18.0", "19.0"):
        receiver.post("/heartbeat", json={**beat, "odoo_version": version})
        clock.advance(43200)

    first = "/timeline?limit=3"
    second = link(receiver, first, rel="next")

    assert [
        "Monday, 2 February 2026 (UTC)",
        *("00:00:00", "was upgraded"),
        "Sunday, 1 February 2026 (UTC)",
        *("12:00:00", "was upgraded"),
        *("00:00:00", "was upgraded"),
    ] == timeline_of(receiver, first)
    assert ["Saturday, 31 January 2026 (UTC)", "12:00:00", "joined the fleet"] == timeline_of(
        receiver, second
    )
    assert 'rel="next"' not in receiver.get(second).text
    assert first == link(receiver, second, rel="first")
    assert 'rel="' not in receiver.get("/timeline").text.split("<body")[1]


@pytest.mark.both_databases
def test_timeline_filters_by_kind_and_server(receiver: httpx.Client) -> None:
    for name in ("a", "b/c"):
        receiver.post("/heartbeat", json=messages.heartbeat(server_id=name))
        receiver.post("/heartbeat", json=messages.heartbeat(server_id=name, odoo_version="20.0"))
    receiver.delete("/servers/b%2Fc")

    both = receiver.get("/timeline?kind=registered&kind=upgraded&server_id=").text
    one = receiver.get("/timeline?kind=deleted&server_id=b/c").text

    assert ["was upgraded", "joined the fleet"] * 2 == says(both)
    for shown in (
        'href="timeline?kind=registered" aria-current="true">Was upgraded<',
        'href="timeline?kind=registered&amp;kind=upgraded&amp;kind=moved">Moved<',
        'href="timeline">Everything<',
        'href="events?kind=registered&amp;kind=upgraded">JSON<',
    ):
        assert shown in both
    assert ["was forgotten"] == says(one)
    for shown in (
        "<title>Timeline of b/c · Odoo MCP Fleet</title>",
        'href="timeline?kind=deleted"><span class="unseen">Remove',
        '<input type="hidden" name="kind" value="deleted">',
        'name="server_id" value="b/c"',
        'href="timeline">Clear all filters<',
    ):
        assert shown in one
    assert [] == says(receiver.get("/timeline?since=2026-02-01T00:00:00Z").text)


def test_empty_timeline_explains_what_to_do(receiver: httpx.Client) -> None:
    assert "Show how to connect it" in receiver.get("/timeline").text
    assert "No event matches all of these filters" in receiver.get("/timeline?kind=down").text
    receiver.post("/heartbeat", json=messages.heartbeat())
    (event,) = receiver.get("/events").json()["events"]
    beyond = receiver.get("/timeline", params={"cursor": write_event_cursor(event["id"])})
    assert "Nothing older is remembered" in beyond.text


def test_invalid_timeline_parameter_is_explained(
    receiver: httpx.Client,
) -> None:
    answer = receiver.get("/timeline?kind=x&cursor=y&since=z&q=a")

    assert (400, "text/html; charset=utf-8") == said(answer)
    for name in ("kind", "cursor", "since", "q"):
        assert f"<code><bdi>{name}</bdi></code>" in answer.text


@pytest.mark.both_databases
@pytest.mark.parametrize(("path", "room"), [("/", 12), ("/server/acme_web-1", 30)])
def test_pages_link_to_events_that_they_leave_out(
    receiver: httpx.Client, path: str, room: int
) -> None:
    for n in range(room):
        receiver.post("/heartbeat", json=messages.heartbeat(odoo_version=f"{n}"))
    assert "Older events" not in receiver.get(path).text
    receiver.post("/heartbeat", json=messages.heartbeat(odoo_version="last"))

    page = receiver.get(path)
    every, older = (
        receiver.get(urljoin(str(page.url), html.unescape(address))).text
        for address in re.findall(r'href="([^"]+)">(?:Show all<|Older events<)', page.text)
    )

    assert ["was upgraded"] * room == says(page.text)
    assert says(page.text)[:50] == says(every)[:room]
    assert ["joined the fleet"] == says(older)


@pytest.mark.both_databases
def test_page_of_a_deleted_server_links_to_its_events(receiver: httpx.Client) -> None:
    receiver.post("/heartbeat", json=messages.heartbeat(server_id="a/b"))
    receiver.delete("/servers/a%2Fb")

    gone = receiver.get("/server/a%2Fb")
    timeline = receiver.get(urljoin(str(gone.url), address(gone.text, of="timeline[?]")))

    assert ["was forgotten", "joined the fleet"] == says(timeline.text)


@pytest.mark.parametrize("database", [" ", "", None, "\u200b"])
def test_server_with_a_blank_database_is_titled_by_its_id(
    receiver: httpx.Client, database: str | None
) -> None:
    receiver.post("/heartbeat", json=messages.slim(server_id="a", database=database))

    assert "<bdi>a</bdi></a></th>" in receiver.get("/").text
    assert "<h1><bdi>a</bdi></h1>" in receiver.get("/server/a").text


def test_blank_names_are_shown_as_blank(receiver: httpx.Client) -> None:
    receiver.post("/heartbeat", json=messages.slim(server_id=" ", odoo_version="1"))
    blank = {"hostname": " ", "odoo_stage": " ", "odoo_version": " ", "capabilities": ["\u2003"]}
    receiver.post("/heartbeat", json=messages.slim(server_id=" ", database=" ", **blank))

    for path in ("/", "/?stage=+&q=+", "/server/%20", "/timeline?server_id=+"):
        page = receiver.get(path).text
        assert "(blank)" in page
        assert [] == re.findall(r"<(?:bdi|a)[^>]*>\s*</", page)


@pytest.mark.both_databases
def test_rebuilt_server_and_its_successor_link_to_each_other(
    receiver: httpx.Client, clock: Clock
) -> None:
    old = messages.heartbeat(database_uuid="u")
    new = {**old, "server_id": "acme_web-2", "hostname": "web-2"}
    receiver.post("/heartbeat", json=old)
    wait_until(lambda: is_told_later(receiver, clock, "is late"))
    receiver.post("/heartbeat", json=new)
    wait_until(lambda: listed(receiver, "/") == ["acme_web-2"])

    successor = receiver.get("/server/acme_web-2").text

    assert ["acme_web-1"] == listed(receiver, "/?state=superseded")
    assert ("1", "0") == (
        facet(receiver.get("/").text, "state")["superseded"],
        facet(receiver.get("/?stage=dev").text, "state")["superseded"],
    )
    assert ">1 server found<" in receiver.get("/?state=superseded").text
    superseded = receiver.get("/server/acme_web-1").text
    assert re.search('rebuilt or moved: <a href="../server/acme_web-2".*noticed', superseded)
    assert "<title>acme: superseded" in superseded
    for page in (superseded, receiver.get("/?state=superseded").text):
        assert '<span class="state superseded"' in page
        assert '<span class="state late"' not in page
    assert "was rebuilt" in [said for said, _ in events(receiver, "/server/acme_web-2")]
    assert '<a href="../server/acme_web-1"' in successor


@pytest.mark.both_databases
def test_twins_link_to_each_other(receiver: httpx.Client, clock: Clock) -> None:
    one = messages.heartbeat(database_uuid="u")
    two = {**one, "server_id": "copy_web-2", "database": "copy"}
    for _ in range(6):
        receiver.post("/heartbeats", json=[one, two])
        clock.advance(50)

    def page() -> str:
        receiver.post("/heartbeats", json=[one, two])
        return receiver.get("/server/acme_web-1").text

    wait_until(lambda: 'id="twin"' in page())
    assert '<a href="../server/copy_web-2"' in page()
    assert "has a twin" in receiver.get("/").text


def test_unknown_server_has_a_404_page(receiver: httpx.Client) -> None:
    answer = receiver.get("/server/no<b>ody")

    assert (404, "text/html; charset=utf-8") == said(answer)
    assert "There is no such server" in answer.text
    assert "There is no server &#39;no&lt;b&gt;ody&#39;." in answer.text
    assert 'class="button" href="../">Show all servers' in answer.text


def test_invalid_parameter_has_a_page_that_explains_it(
    receiver: httpx.Client,
) -> None:
    answer = receiver.get("/?limit=many&state=gone&<b>=1&cursor=x&sort=server_id&sort=first_seen")

    assert (400, "text/html; charset=utf-8") == said(answer)
    for name in ("limit", "state", "&lt;b&gt;", "cursor", "sort"):
        assert f"<code><bdi>{name}</bdi></code>" in answer.text
    assert 'class="button" href="./">Show all servers' in answer.text


@pytest.mark.parametrize("path", ["/", "/server/acme_web-1", "/timeline"])
def test_page_of_an_unavailable_database_says_so_with_503(
    tmp_path: Path, sqlite_receiver: httpx.Client, path: str
) -> None:
    with sqlite3.connect(tmp_path / "fleet.db") as other:
        for table in ("servers", "events"):
            other.execute(f"ALTER TABLE {table} RENAME TO {table}_gone")
    other.close()

    answer = sqlite_receiver.get(path)

    assert (503, "text/html; charset=utf-8") == said(answer)
    assert "5" == answer.headers["retry-after"]
    assert "The fleet cannot be read right now" in answer.text
    assert "_gone" not in answer.text


MAX_PAGE_BYTES = 120_000
EN_DASH = "\N{EN DASH}"


@pytest.fixture
def sqlite_receiver(sqlite_url: str, clock: Clock) -> Iterator[httpx.Client]:
    app = create_app(environ={"FLEET_DATABASE_URL": sqlite_url}, clock=clock)
    with serve(app) as client:
        yield client


def says(page: str) -> list[str]:
    """The texts of the events on a page."""
    return re.findall(r'<span class="says">([^<]+)<', page)


def timeline_of(receiver: httpx.Client, path: str) -> list[str]:
    """The days of a timeline page, and time and text of each event."""
    part = r'(?:<h3 class="day" [^>]+|<p class="at"><time [^>]+|<span class="says")>([^<]+)<'
    return re.findall(part, receiver.get(path).text)


def listed(receiver: httpx.Client, path: str) -> list[str]:
    """The ids of the servers on a page, in order."""
    return re.findall(r'<tr data-key="server-([^"]+)"', receiver.get(path).text)


def events(receiver: httpx.Client, path: str) -> list[tuple[str, str]]:
    """Text and age of each event on a page."""
    event = r'<span class="says">([^<]+)</span> <span class="when"><time [^>]+>([^<]+)<'
    return re.findall(event, receiver.get(path).text)


def is_told_later(receiver: httpx.Client, clock: Clock, what: str) -> bool:
    """Whether the front page shows an event ten seconds later."""
    clock.advance(10)
    return what in [said for said, _ in events(receiver, "/")]


NONE = dict.fromkeys(("Down or late", "Up", "New", "Late", "Down"), "0")
"""The tiles of states in which no server is."""


def tiles(page: str) -> dict[str, str]:
    """The number on each tile."""
    tile = r'<span class="label">([^<]+)</span>\s*<span class="number">([^<]+)<'
    return dict(re.findall(tile, page))


def facet(page: str, name: str) -> dict[str, str]:
    """The values of a name beside the list, and their numbers."""
    value = (
        rf'<li data-key="{name}-[^>]*>\s*<(?:a|span)[^>]*>(?:<span>not </span>)?'
        r'<bdi>([^<]+)</bdi></(?:a|span)> <span class="n">([^<]+)<'
    )
    return dict(re.findall(value, page))


def link(receiver: httpx.Client, path: str, *, rel: str) -> str:
    """The target of the link of a page with this `rel`."""
    (address,) = re.findall(rf'href="([^"]+)" rel="{rel}"', receiver.get(path).text)
    return urljoin(path, html.unescape(address))


def address(page: str, *, of: str) -> str:
    """The first link of a page whose address contains `of`."""
    return html.unescape(re.findall(rf'href="([^"]*{of}[^"]*)"', page)[0])


def said(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.headers["content-type"]

"""The filters of the front page, and what it counts beside and above the list."""

import html
import re

import httpx
import pytest

import messages
from page_reading import facet, listed, says
from servers import Clock, wait_until


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
    assert 'id="selection"' not in answer.text  # or something would be done to all of them
    assert 'id="selection"' in receiver.get("/").text


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
    assert {**NONE, "Matching": "1", "Up": "1"} == tiles(narrowed)
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
    assert {**NONE, "Matching": "2", "Up": "2"} == tiles(page)
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
    assert {"sale_order_create": "1", "stock_read": "1"} == facet(page, "tool")
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
    assert {"pay": "2", "sell": "1"} == facet(one, "tool")
    assert ["c"] == listed(receiver, "/?query=-tool:pay+tool:sell")
    assert {} == facet(both, "tool")
    assert 2 == both.count("<span>not </span>")


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
    assert {**NONE, "Matching": "1", "Up": "1"} == tiles(one)
    assert "sha256" not in every + one


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


NONE = dict.fromkeys(("Down or late", "Up", "New", "Late", "Down"), "0")
"""The tiles of states in which no server is."""


def tiles(page: str) -> dict[str, str]:
    """The number on each tile."""
    tile = r'<span class="label">([^<]+)</span>\s*<span class="number">([^<]+)<'
    return dict(re.findall(tile, page))

"""Two servers side by side, as a page and as JSON."""

import html
import re
from typing import Any

import httpx
import pytest

import messages
from page_reading import MAX_PAGE_BYTES
from watched import Watched


def register(receiver: httpx.Client, server_id: str, tools: dict[str, str], **told: Any) -> None:
    described = [{"name": name, "description": text} for name, text in tools.items()]
    message = messages.registration(
        server_id=server_id, capabilities=sorted(tools), tools=described, **told
    )
    receiver.post("/register", json=message).raise_for_status()


@pytest.fixture
def pair(receiver: httpx.Client) -> httpx.Client:
    """A receiver with two servers of one database, which differ."""
    register(receiver, "a/1", {"pay": "Pays.", "sell": "Sells.", "old": "x"})
    newer = {"pay": "Pays twice.", "sell": "Sells.", "new": "x"}
    register(receiver, "b", newer, odoo_version="20.0", hostname="web-2", odoo_stage="")
    return receiver


def fields(page: str, of: str) -> dict[str, list[str]]:
    """The values of the fields in a part of a page, by the name of the field."""
    part = page.split(f'id="{of}"', 1)[1].split("</table>", 1)[0]
    found = re.findall(r'<tr data-key="field-(\w+)">(.*?)</tr>', part, re.DOTALL)
    return {
        name: [re.sub("<[^>]+>", "", cell) for cell in re.findall(r"<td.*?</td>", row)]
        for name, row in found
    }


@pytest.mark.both_databases
def test_comparison_page_shows_the_differences_first(pair: httpx.Client) -> None:
    page = pair.get("/compare?a=a/1&b=b").text

    assert {"odoo_stage": ["production", "none"], "odoo_version": ["19.0", "20.0"]} == fields(
        page, "differences"
    )
    assert "What differs: 2 fields" in page
    own, alike = fields(page, "own"), fields(page, "alike")
    assert ["web-1", "web-2"] == own["hostname"]
    assert ["acme", "acme"] == alike["database"]
    assert not own.keys() & alike.keys()
    tools = page.split('id="tools"', 1)[1].split("</section>", 1)[0]
    assert "1 is the same on both" in tools
    assert ["old", "new", "pay"] == re.findall(r'name=(\w+)"', tools)
    assert '<span class="differs">other description</span>' in tools
    assert [
        "1 tool only on web-1 and not on web-2",
        "1 tool only on web-2 and not on web-1",
        "1 tool on both, which they describe in different ways",
    ] == [re.sub("<[^>]+>", "", each) for each in re.findall(r"<h3>(.*?)</h3>", tools)]
    assert 'href="compare?a=b&amp;b=a%2F1">Swap' in page


def test_comparison_says_which_server_is_silenced(pair: httpx.Client) -> None:
    silence = {"query": "odoo:20.0", "reason": "Upgrade", "duration_seconds": 3600}
    pair.post("/silences", json=silence).raise_for_status()

    page = pair.get("/compare?a=a/1&b=b").text
    sides = re.findall(r'<li class="card" data-key="side-.*?</li>', page)
    offered = pair.get("/compare?a=acme").text
    choices = re.findall(r'<li data-key="choice-.*?</li>', offered)

    assert [False, True] == ["silenced" in side for side in sides]
    assert [False, True] == ["silenced" in choice for choice in choices]
    assert 'title="No alarm is told until 2026-01-31 13:00:00 UTC"' in sides[1]


def test_comparison_is_told_as_json(pair: httpx.Client) -> None:
    told = pair.get("/compare.json?a=a/1&b=b").json()

    assert ("a/1", "b") == (told["a"], told["b"])
    assert {"a": "19.0", "b": "20.0"} == told["differs"]["odoo_version"]
    assert {"a": "production", "b": ""} == told["differs"]["odoo_stage"]
    assert "database" in told["alike"]
    assert "twin_of" not in told["alike"]
    assert {
        "only_a": ["old"],
        "only_b": ["new"],
        "changed": {"pay": ["description"]},
        "same": 1,
    } == told["tools"]
    assert 404 == pair.get("/compare.json?a=a/1&b=c").status_code
    refused = pair.get("/compare.json?b=b")
    assert (400, ["a"]) == (
        refused.status_code,
        [each["path"] for each in refused.json()["errors"]],
    )


def test_equal_servers_are_said_to_be_equal(receiver: httpx.Client) -> None:
    for server_id in "ab":
        receiver.post("/heartbeat", json=messages.slim(server_id=server_id))

    page = receiver.get("/compare?a=a&b=b").text

    assert "They run the same" in page
    assert "Both offer the same tools" in page


def test_comparison_headings_tell_the_two_servers_apart(receiver: httpx.Client) -> None:
    """By their databases, or else by hosts, or else by ids; one server has two columns, too."""
    for server_id, database in {"a": "<b>", "b": "acme", "c": "acme"}.items():
        receiver.post("/heartbeat", json=messages.slim(server_id=server_id, database=database))

    receiver.post("/heartbeat", json=messages.slim(server_id="b", hostname="web-1"))
    other = messages.slim(server_id="d", database="acme", hostname="web-2")
    receiver.post("/heartbeat", json=other)

    def headings(path: str) -> list[str]:
        page = receiver.get(path).text
        head = re.findall(r'<th scope="col"><bdi>(.*?)</bdi></th>', page)[:2]
        (title,) = re.findall(r"<h1>(.*?)</h1>", page)
        assert "Compare <bdi>{}</bdi> and <bdi>{}</bdi>".format(*head) == title
        return head

    assert ["&lt;b&gt;", "acme"] == headings("/compare?a=a&b=b")
    assert ["web-1", "web-2"] == headings("/compare?a=b&b=d")
    assert ["b", "c"] == headings("/compare?a=b&b=c")
    assert ["First server", "Second server"] == headings("/compare?a=b&b=b")


def choices(receiver: httpx.Client, path: str) -> list[str]:
    """The links of the servers that a page offers for comparison."""
    page = receiver.get(path).text
    assert "<h1>Compare two servers</h1>" in page
    return [html.unescape(each) for each in re.findall(r'href="(compare\?[^"]+)"', page)]


def test_servers_to_compare_are_chosen_by_a_part_of_their_names(pair: httpx.Client) -> None:
    register(pair, "other", {}, hostname="else", database="x")

    assert [] == choices(pair, "/compare")
    assert [] == choices(pair, "/compare?a=&b=")
    assert ["compare?a=other&b=a%2F1", "compare?a=other&b=b"] == choices(
        pair, "/compare?a=other&b=acme"
    )
    assert "What differs: 2 fields" in pair.get("/compare?a=a/1&b=web-2").text
    assert "There is no server whose names contain" in pair.get("/compare?a=a/1&b=moon").text
    assert 'name="a" value="a/1"' in pair.get("/compare?a=a/1").text
    assert 'href="../compare?a=other"' in pair.get("/server/other").text
    assert 400 == pair.get("/compare?c=1").status_code


def test_first_server_is_not_offered_as_the_second(pair: httpx.Client) -> None:
    """Unless it is the only one whose names contain the text."""
    register(pair, "third", {}, odoo_stage="staging")

    offered = ["compare?a=a%2F1&b=b", "compare?a=a%2F1&b=third"]
    assert offered == choices(pair, "/compare?a=a/1&b=acme")
    assert "<bdi>staging</bdi> · <bdi>third</bdi>" in pair.get("/compare?a=a/1&b=acme").text
    pair.delete("/servers/third").raise_for_status()
    assert "What differs: 2 fields" in pair.get("/compare?a=a/1&b=acme").text
    assert "They run the same" in pair.get("/compare?a=b&b=web-2").text


def test_form_of_a_comparison_begins_at_the_server_that_is_missing(pair: httpx.Client) -> None:
    for path, name in (("/compare", "a"), ("/compare?a=b", "b"), ("/compare?a=acme&b=moon", "a")):
        fields = re.findall(r'<input type="text" name="(\w)"[^>]* autofocus>', pair.get(path).text)
        assert [name] == fields, path


def test_twin_successor_and_database_of_a_node_are_offered_for_comparison(
    receiver: httpx.Client, fleet: Watched
) -> None:
    fleet.beat("old", database_uuid="u-1")
    for number in range(20):
        fleet.beat("a", "copy-of-a", database_uuid="u-2", sequence=number)
        fleet.beat(("b", "node-of-b")[number % 2], database_uuid="u-3", sequence=number)
        fleet.sweep()
        fleet.clock.advance(60)
    fleet.register("new", database_uuid="u-1")
    fleet.sweep()

    for one, other in {"old": "new", "a": "copy-of-a", "node-of-b": "b"}.items():
        assert [f"compare?a={one}&b={other}"] == choices(receiver, f"/compare?a={one}")
    assert [] == choices(receiver, "/compare?a=new")


def test_comparison_page_is_small_for_long_names_and_many_tools(receiver: httpx.Client) -> None:
    for n in (0, 1):
        told = dict.fromkeys(("database", "hostname", "odoo_stage", "version"), f"{n}" + "&" * 3000)
        names = [f"{n}{m:03}" + "&" * 190 for m in range(150)] + [f"{m:03}<b>" for m in range(40)]
        tools = [{"name": name, "title": f"{n}"} for name in names[150:]]
        message = messages.registration(
            server_id=f"{n}" + "&" * 254, capabilities=names, tools=tools, **told
        )
        receiver.post("/register", json=message).raise_for_status()

    page = receiver.get(f"/compare?a=0{'%26' * 254}&b=1{'%26' * 254}")
    chosen = receiver.get("/compare?a=%26&b=%26")

    for answer in (page, chosen):
        assert 200 == answer.status_code
        assert len(answer.content) <= MAX_PAGE_BYTES
        assert "<b>0" not in answer.text
    assert "more, which the JSON lists" in page.text

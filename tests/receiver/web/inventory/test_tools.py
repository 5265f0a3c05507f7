"""All tools of the fleet, as a page for browsers and as JSON for programs."""

import html
import json
import re
from typing import Any
from urllib.parse import urljoin

import httpx
import pytest

import messages
from page_reading import MAX_PAGE_BYTES

HTML = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
PAY = {"name": "pay", "title": "Pay an invoice", "provider": "account", "description": "Pays it."}
CONFIRM = {"name": "sale_order_confirm", "input_schema_digest": "d1"}


def register(receiver: httpx.Client, server_id: str, *tools: dict[str, Any], **told: Any) -> None:
    names = sorted({tool["name"] for tool in tools})
    message = messages.registration(server_id=server_id, capabilities=names, tools=[*tools], **told)
    receiver.post("/register", json=message).raise_for_status()


@pytest.fixture
def fleet(receiver: httpx.Client) -> httpx.Client:
    """A receiver with two servers of production, one of staging, and one without tools."""
    register(receiver, "a", PAY, CONFIRM)
    register(receiver, "b", {**PAY, "description": "Pays it twice."})
    register(receiver, "c", CONFIRM, odoo_stage="staging")
    register(receiver, "d", odoo_stage="")
    return receiver


def page(receiver: httpx.Client, path: str = "/tools") -> str:
    answer = receiver.get(path, headers=HTML)
    assert (200, "text/html; charset=utf-8") == (
        answer.status_code,
        answer.headers["content-type"],
    )
    assert len(answer.content) <= MAX_PAGE_BYTES
    return answer.text


def listed(text: str) -> list[str]:
    """The names of the tools on a page, in order."""
    return [html.unescape(each) for each in re.findall(r'<tr data-key="tool-([^"]+)"', text)]


def cells(text: str) -> list[list[str]]:
    """The texts of the cells of the table of a page, row by row."""
    body = text.split("<tbody", 1)[1].split("</tbody>", 1)[0]
    rows = re.findall(r"<tr.*?</tr>", body, re.DOTALL)
    return [
        [re.sub("<[^>]+>", "", cell).strip() for cell in re.findall(r"<t[hd].*?</t[hd]>", row)]
        for row in rows
    ]


@pytest.mark.both_databases
def test_tools_page_lists_every_tool_with_its_servers(fleet: httpx.Client) -> None:
    text = page(fleet)

    assert [
        ["Pay an invoicepay", "account", "2 servers", "2 servers", "Other description"],
        ["sale_order_confirm", "not known", "2 servers", "2 servers", "alike"],
    ] == cells(text)
    assert "2 tools, offered by 3 of 4 servers" in text
    assert 'href="./?query=tool%3Apay">2 servers' in text
    assert 'href="./?query=-tool%3Apay">2' in text
    assert "not counted" not in text


def test_tools_url_answers_a_browser_with_a_page_and_a_program_with_json(
    fleet: httpx.Client,
) -> None:
    for accept in ("*/*", "application/json", "text/html;q=0, */*", ""):
        answer = fleet.get("/tools?search=pay", headers={"Accept": accept})
        assert "application/json" == answer.headers["content-type"]
        assert ["pay", "pay"] == [tool["name"] for tool in answer.json()["tools"]]
    assert 400 == fleet.get("/tools").status_code
    assert ["pay"] == listed(page(fleet, "/tools?search=pay"))
    for accept in (HTML["Accept"], "*/*"):
        refused = fleet.post("/tools", headers={"Accept": accept})
        assert (405, "GET, HEAD") == (refused.status_code, refused.headers["allow"])


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("search=INVOICE", ["pay"]),
        ("search=account+pay", ["pay"]),
        ("search=order", ["sale_order_confirm"]),
        ("search=twice", ["pay"]),  # by its description
        ("search=moon", []),
        ("search=&sort=&differs=", ["pay", "sale_order_confirm"]),
        ("differs=true", ["pay"]),
        ("sort=-servers", ["pay", "sale_order_confirm"]),
    ],
)
def test_tools_page_searches_and_filters_tools(
    fleet: httpx.Client, query: str, expected: list[str]
) -> None:
    assert expected == listed(page(fleet, f"/tools?{query}"))
    if "=&" not in query:
        found = fleet.get(f"/tools.json?{query}").json()
        assert expected == [tool["name"] for tool in found["tools"]]
        assert len(expected) == found["total"]


def test_links_of_the_tools_page_keep_the_filters(fleet: httpx.Client) -> None:
    text = page(fleet, "/tools?search=pay&differs=true&sort=servers")

    assert 'href="tools?search=pay&amp;sort=servers">All tools<' in text
    assert 'href="tools?differs=true&amp;sort=servers"><span class="unseen">Remove' in text
    assert 'href="tools.json?search=pay&amp;differs=true&amp;sort=servers">JSON' in text
    assert '<input type="hidden" name="differs" value="true">' in text
    assert '<option value="servers" selected>' in text
    assert "1 tool found" in text


def test_pages_of_tools_have_each_tool_once(receiver: httpx.Client) -> None:
    names = [f"tool_{n:03}" for n in range(120)]
    register(receiver, "a", *({"name": name} for name in names))

    seen: list[str] = []
    path: str | None = "/tools"
    while path is not None:
        text = page(receiver, path)
        seen += listed(text)
        following = re.search(r'href="([^"]+)" rel="next"', text)
        path = following and urljoin(path, html.unescape(following[1]))
    assert names == seen
    assert "101\N{EN DASH}120 of 120" in text
    before = re.search(r'href="([^"]+)" rel="prev"', text)
    assert before is not None
    assert names[50:100] == listed(page(receiver, urljoin("/", html.unescape(before[1]))))
    assert names[:50] == listed(page(receiver, "/tools"))
    assert 'href="tools" rel="prev"' in page(receiver, "/tools?cursor=20")

    found: list[str] = []
    cursor = ""
    while cursor is not None:
        answer = receiver.get(f"/tools.json?limit=50&{cursor}").json()
        found += [tool["name"] for tool in answer["tools"]]
        cursor = answer["next_cursor"] and f"cursor={answer['next_cursor']}"
    assert names == found


def test_empty_tools_page_says_why(receiver: httpx.Client) -> None:
    assert "No server has said which tools it offers" in page(receiver)
    register(receiver, "a", PAY)
    assert "No tool matches all of this" in page(receiver, "/tools?search=moon")
    assert "are gone, or on another page by now" in page(receiver, "/tools?cursor=50")


@pytest.mark.parametrize(
    "query", ["limit=0", "sort=size", "cursor=x", "cursor=0", "q=a", "differs=1"]
)
def test_invalid_parameters_of_the_tools_page_are_explained(
    receiver: httpx.Client, query: str
) -> None:
    for path, headers in (("/tools.json", {}), ("/tools", HTML)):
        answer = receiver.get(f"{path}?{query}", headers=headers)
        assert 400 == answer.status_code
        assert query.partition("=")[0] in answer.text


def test_tools_are_told_as_a_file(fleet: httpx.Client) -> None:
    csv = fleet.get("/tools.json?format=csv").text.splitlines()
    lines = fleet.get("/tools.json?format=jsonl&limit=1&cursor=1").text.splitlines()

    assert [
        "name,title,provider,server_count,variant_count,differs_in",
        'pay,Pay an invoice,account,2,2,"[""description""]"',
        "sale_order_confirm,,,2,1,[]",
    ] == csv
    assert ["sale_order_confirm"] == [json.loads(line)["name"] for line in lines]
    assert 400 == fleet.get("/tools.json?format=csv&name=pay").status_code
    found = fleet.get("/tools?search=pay&format=csv", headers=HTML)
    assert "text/csv; charset=utf-8; header=present" == found.headers["content-type"]
    assert 'href="tools.json?differs=true&amp;format=csv">CSV' in page(fleet, "/tools?differs=true")


# One tool


@pytest.mark.both_databases
def test_page_of_a_tool_shows_servers_with_and_without_the_tool_and_differences(
    fleet: httpx.Client,
) -> None:
    text = page(fleet, "/tools?name=pay")

    assert [
        ["Every stage", "2 servers", "2 servers"],
        ["production", "2 servers", "none"],
        ["No stage", "none", "1 server"],
        ["staging", "none", "1 server"],
    ] == cells(text)
    assert 'href="././?query=stage%3Aproduction+tool%3Apay"' in text
    assert 'href="././?query=stage%3Astaging+-tool%3Apay"' in text
    assert "2 descriptions under this name" in text
    assert "They differ: other description" in text
    assert ["Pays it.", "Pays it twice."] == re.findall(r"<p><bdi>([^<]+)</bdi></p>", text)
    assert ["a", "b"] == named(text, "holders")
    assert "2 servers offer it" in text
    assert 'id="lacking"' not in text
    assert 1 == text.count('<span class="differs">other description</span>')
    variants = re.findall(r'href="\./server/(\w)"[^>]*><bdi>(\w+)<', text.split('id="variants"')[1])
    assert [("a", "a"), ("b", "b")] == variants


def named(text: str, part: str) -> list[str]:
    """The ids of the servers that a part of the page of a tool names, in order."""
    section = text.split(f'id="{part}"', 1)[1].split("</section>", 1)[0]
    return re.findall(r'<a href="\./server/([^"]+)"', section)


def test_page_of_a_tool_calls_servers_of_the_same_name_by_their_ids(fleet: httpx.Client) -> None:
    register(fleet, "x", PAY, database="beta")

    shown = page(fleet, "/tools?name=pay").partition('id="holders"')[2].partition("</ul>")[0]

    assert ["a", "b", "beta"] == sorted(re.findall("<bdi>([^<]*)</bdi></a>", shown))


def test_page_of_a_common_tool_names_the_servers_that_lack_the_tool(
    receiver: httpx.Client,
) -> None:
    """An exception lacks a tool that most servers of its stage offer."""
    fleet = [
        messages.heartbeat(server_id=f"s{n:02}", capabilities=["pay"] if n % 3 else ["sell"])
        for n in range(42)
    ]
    lone = messages.heartbeat(server_id="lone", capabilities=["sell"], odoo_stage="staging")
    receiver.post("/heartbeats", json=[*fleet, lone]).raise_for_status()

    text = page(receiver, "/tools?name=pay")

    assert [f"s{n:02}" for n in range(42) if n % 3][:24] == named(text, "holders")
    assert 'and 4 more: <a href="././?query=tool%3Apay">show all 28 in the list</a>' in text
    assert [f"s{n:02}" for n in range(0, 42, 3)][:12] == named(text, "lacking")
    assert "14 servers lack it, though most of their stage offer it" in text
    assert "././?query=stage%3Aproduction+-tool%3Apay" in text.split('id="lacking"')[1]


def test_page_of_a_tool_has_production_before_larger_stages(receiver: httpx.Client) -> None:
    for name, stage in {"a": "staging", "b": "staging", "c": "production"}.items():
        beat = messages.heartbeat(server_id=name, capabilities=["pay"], odoo_stage=stage)
        receiver.post("/heartbeat", json=beat).raise_for_status()

    stages = [row[0] for row in cells(page(receiver, "/tools?name=pay"))]

    assert ["Every stage", "production", "staging"] == stages


def test_tool_is_told_as_json(fleet: httpx.Client) -> None:
    told = fleet.get("/tools.json?name=pay").json()

    assert {
        "name": "pay",
        "title": "Pay an invoice",
        "provider": "account",
        "server_count": 2,
        "variant_count": 2,
        "differs_in": ["description"],
    } == {name: told[name] for name in told if name not in {"stages", "variants"}}
    assert {"stage": "production", "offering": 2, "lacking": 0} == told["stages"][0]
    assert [["a"], ["b"]] == [each["server_ids"] for each in told["variants"]]
    assert ["Pays it.", "Pays it twice."] == [each["description"] for each in told["variants"]]
    assert [[], ["description"]] == [each["differs_in"] for each in told["variants"]]


def test_unknown_tool_has_a_404(fleet: httpx.Client) -> None:
    asked = {"name": "no<b>thing"}

    assert 404 == fleet.get("/tools.json", params=asked).status_code
    shown = fleet.get("/tools", params=asked, headers=HTML)
    assert 404 == shown.status_code
    assert "No server offers a tool" in shown.text
    assert "There is no such tool" in shown.text
    assert 'href="./tools">Show all tools' in shown.text
    assert 'aria-current="page">Tools</a>' in shown.text
    assert "<b>thing" not in shown.text


def test_tool_without_a_description_has_a_page(receiver: httpx.Client) -> None:
    receiver.post("/heartbeat", json=messages.heartbeat(capabilities=["bare"]))

    assert [["bare", "1 server", "none"]] == cells(page(receiver))
    assert '<th scope="col">Module</th>' not in page(receiver)
    one = page(receiver, "/tools?name=bare")
    assert "No server has described it." in one
    assert '<code data-copy class="unseen" aria-hidden="true"><bdi>bare<' in one


def test_hints_of_a_tool_are_shown_in_words(receiver: httpx.Client) -> None:
    hints = {"readOnlyHint": True, "destructiveHint": False}
    register(receiver, "a", {**PAY, "annotations": hints})

    assert "<dd>read-only, deletes nothing</dd>" in page(receiver, "/tools?name=pay")


@pytest.mark.parametrize("letter", ["&", "\N{PILE OF POO}", "\u202e"])
def test_pages_are_small_whatever_tools_are_called(receiver: httpx.Client, letter: str) -> None:
    tools = [
        {"name": f"{n:02}{letter * 198}", "title": letter * 200, "description": letter * 4000}
        for n in range(20)
    ]
    for n in range(14):
        described = [{**tool, "provider": f"{n}{letter * 190}"} for tool in tools[:6]]
        stage = f"{n % 5}{letter * 190}"
        register(receiver, f"{n:02}{letter * 250}", *described, odoo_stage=stage)
    register(receiver, f"x{letter * 250}", odoo_stage=f"0{letter * 190}")
    register(receiver, "z", *tools)

    names = [str(tool["name"]) for tool in tools]
    seen: list[str] = []
    path: str | None = "/tools"
    while path is not None:
        text = page(receiver, path)
        seen += [each[:2] for each in listed(text)]
        following = re.search(r'href="([^"]+)" rel="next"', text)
        path = following and urljoin(path, html.unescape(following[1]))
    assert [name[:2] for name in names] == seen
    assert "<script" not in page(
        receiver, f"/tools?{httpx.QueryParams({'name': names[0]})}"
    ).replace('<script type="module"', "")
    one = page(receiver, f"/tools?{httpx.QueryParams({'name': names[0]})}")
    assert "more descriptions, which few servers have" in one
    assert "1 server lacks it, though most of its stage offer it" in one

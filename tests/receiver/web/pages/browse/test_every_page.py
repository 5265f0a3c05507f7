"""What holds for every page that one browses: hostile names, links, and what cannot be shown."""

import html
import re
import sqlite3
from pathlib import Path
from urllib.parse import urljoin

import httpx
import pytest

import messages
from page_reading import address, listed, said


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
    tmp_path: Path, on_sqlite: httpx.Client, path: str
) -> None:
    with sqlite3.connect(tmp_path / "fleet.db") as other:
        for table in ("servers", "events"):
            other.execute(f"ALTER TABLE {table} RENAME TO {table}_gone")
    other.close()

    answer = on_sqlite.get(path)

    assert (503, "text/html; charset=utf-8") == said(answer)
    assert "5" == answer.headers["retry-after"]
    assert "The fleet cannot be read right now" in answer.text
    assert "_gone" not in answer.text

"""The versions that the fleet runs, as a page and as JSON."""

import re
from collections import Counter
from collections.abc import Sequence

import httpx
import pytest

import messages
from page_reading import MAX_PAGE_BYTES
from receiver.domain.inventory.software import Software, VersionCount
from receiver.web.pages.inventory.versions import table


def run(receiver: httpx.Client, *fleet: tuple[str, str, str]) -> None:
    for n, (odoo_version, version, stage) in enumerate(fleet):
        told = {"odoo_version": odoo_version, "version": version, "odoo_stage": stage}
        receiver.post("/heartbeat", json=messages.heartbeat(server_id=f"s{n}", **told))


def rows(page: str, of: str) -> list[list[str]]:
    section = page.split(f'id="versions-{of}"', 1)[1].split("</section>", 1)[0]
    return [
        [re.sub("<[^>]+>", "", cell).strip() for cell in re.findall(r"<t[hd].*?</t[hd]>", row)]
        for row in re.findall(r"<tr.*?</tr>", section, re.DOTALL)[1:]
    ]


@pytest.mark.both_databases
def test_versions_page_shows_servers_by_version_the_oldest_first(receiver: httpx.Client) -> None:
    run(
        receiver,
        *[("19.0", "1.1", "production")] * 3,
        ("saas~18.3", "1.0", "staging"),
        ("16.0", "1.1", "production"),
        ("16.0", "1.1", ""),
    )
    receiver.post("/heartbeat", json=messages.slim(server_id="silent"))
    receiver.post("/heartbeat", json=messages.slim(server_id="gone", odoo_version="9.0"))
    receiver.post("/heartbeat", json=messages.slim(server_id="gone", status="uninstalled"))

    page = receiver.get("/versions").text

    assert [
        ["16.0", "2", "28.6%", "1", "1", "0"],
        ["saas~18.3", "1", "14.3%", "0", "0", "1"],
        ["19.0", "3", "42.9%", "3", "0", "0"],
        ["Not reported", "1", "14.3%", "0", "1", "0"],
    ] == rows(page, "odoo-version")
    assert ["1.0", "1.1", "Not reported"] == [row[0] for row in rows(page, "version")]
    assert "what 7 servers run" in page
    assert "Odoo: 3 versions" in page
    assert 'The oldest is <b><bdi>16.0</bdi></b>, on <a href="./?query=odoo%3A16.0">2</a>' in page
    assert 'href="./?query=stage%3Aproduction+odoo%3A16.0">1</a>' in page
    assert 'href="./?query=version%3A1.0">1</a>' in page
    assert ["s4", "s5"] == [
        each["server_id"] for each in receiver.get("/servers?query=odoo:16.0").json()["servers"]
    ]

    told = receiver.get("/versions.json").json()
    assert 7 == told["count"]
    assert {"version": "16.0", "servers": 2, "stages": {"": 1, "production": 1}} == told[
        "odoo_version"
    ][0]
    assert ["1.0", "1.1", ""] == [each["version"] for each in told["version"]]


def test_versions_page_has_production_in_its_first_column(receiver: httpx.Client) -> None:
    run(receiver, *[("19.0", "1.1", "staging")] * 2, ("19.0", "1.1", "production"))

    page = receiver.get("/versions").text

    assert [["19.0", "3", "100.0%", "1", "2"]] == rows(page, "odoo-version")
    assert page.index(">production</bdi></th>") < page.index(">staging</bdi></th>")


def test_versions_are_told_as_a_file(receiver: httpx.Client) -> None:
    run(receiver, ("19.0", "1.1", "production"), ("16.0", "1.1", ""), ("16.0", "1.1", "dev"))

    csv = receiver.get("/versions.json?format=csv").text.splitlines()

    assert [
        "software,version,stage,servers",
        "odoo_version,16.0,,1",
        "odoo_version,16.0,dev,1",
        "odoo_version,19.0,production,1",
        "version,1.1,,1",
        "version,1.1,dev,1",
        "version,1.1,production,1",
    ] == csv


def test_versions_page_of_an_empty_fleet_says_what_to_do(receiver: httpx.Client) -> None:
    assert "as soon as the first has phoned home" in receiver.get("/versions").text
    assert {"odoo_version": [], "version": [], "count": 0} == receiver.get("/versions.json").json()


@pytest.mark.parametrize("letter", ["&", "\N{PILE OF POO}", "\u202e"])
def test_versions_page_is_small_for_long_versions(receiver: httpx.Client, letter: str) -> None:
    beats = [
        messages.heartbeat(
            server_id=f"s{n}",
            odoo_version=f"{n}{letter * 90}",
            version=f"{n}{letter * 300}",
            odoo_stage=f"{n % 6}{letter * 90}",
        )
        for n in range(150)
    ]
    receiver.post("/heartbeats", json=beats).raise_for_status()

    page = receiver.get("/versions")

    assert len(page.content) <= MAX_PAGE_BYTES
    assert "Odoo: 150 versions" in page.text
    assert re.search(r"and \d+ more versions on \d+ servers", page.text)
    assert "Other stages" in page.text


def count(version: str, servers: int) -> VersionCount:
    return VersionCount(version=version, servers=servers, stages=[("", servers)])


def test_versions_table_has_the_oldest_and_the_most_frequent_versions() -> None:
    counts: Sequence[VersionCount] = [count(f"{n}", 1000 if n == 95 else 1) for n in range(100)]

    found = table(Software.ODOO, counts, Counter({"": 1099}))

    shown = [each.version for each in found.versions]
    assert [f"{n}" for n in range(20)] == shown[:20]
    assert "95" == shown[-1]
    assert 40 == len(shown)
    assert (60, 60) == (found.more_versions, found.more_servers)

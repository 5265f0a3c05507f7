"""The pages that are pictures, and the same figures as JSON."""

import html
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import insert, make_url

import messages
from receiver.app import Tuning, create_app
from receiver.domain.history import Hour, begin_of_hour
from receiver.store import SqlStore
from receiver.store.history.tables import hours
from receiver.web.pages.pictures import wall
from servers import ANY_PAUSE_SECONDS, Clock, serve, wait_until

HOSTILE = "<script>alert('x')</script>\"&\u202e"
AN_HOUR = timedelta(hours=1)


@pytest.fixture
def begun(sqlite_url: str, clock: Clock) -> Iterator[httpx.Client]:
    """A receiver with a history of some hours, with a gap, in which one server of ten was down."""
    clock.advance(300)
    begins_at = begin_of_hour(clock.now)
    keep(
        sqlite_url,
        hour(begins_at - 30 * AN_HOUR, up=8),
        hour(begins_at - 5 * AN_HOUR, worst={"up": 9, "down": 1}, up=9),
        hour(begins_at - 4 * AN_HOUR, up=10),
        hour(begins_at - 2 * AN_HOUR, up=10, heartbeats=595, turned_away=2, missed=3.0),
    )
    app = create_app(
        environ={"FLEET_DATABASE_URL": sqlite_url},
        clock=clock,
        tuning=Tuning(absence_seconds=ANY_PAUSE_SECONDS),
    )
    with serve(app) as client:
        wait_until(lambda: client.get("/history.json").json()["slots"][-1]["minutes"] == 1)
        yield client


def hour(begins_at: Any, *, worst: dict[str, int] | None = None, up: int, **more: Any) -> Hour:
    return Hour(
        **{
            "begins_at": begins_at,
            "counted_at": begins_at + timedelta(minutes=59),
            "minutes": 60,
            "sums": {"up": 60 * up, "late": 6},
            "worst": worst or {"up": up},
            "stages": [(HOSTILE, 5), ("production", 3), ("", 1), (None, 1)],
            "odoo_versions": [("19.0", 10)],
            "versions": [(f"1.{n}", 1) for n in range(8)],
            **more,
        }
    )


def keep(url: str, *kept: Hour) -> None:
    store = SqlStore(make_url(url))
    names = hours.columns.keys()
    with store.transactions.read() as connection:
        rows = [{name: getattr(each, name) for name in names} for each in kept]
        connection.execute(insert(hours), rows)
        connection.commit()
    store.close()


def tables(page: str) -> dict[str, list[list[str]]]:
    """The cells of each table of a page, by the title of its picture."""
    found = {}
    for figure in re.findall(r"<figure.*?</figure>", page, re.DOTALL):
        (title,) = re.findall(r"<h2[^>]*>(.*?)</h2>", figure)
        rows = re.findall(r"<tr>(.*?)</tr>", figure, re.DOTALL)
        cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in rows]
        found[title] = [[re.sub("<[^>]*>", "", each) for each in row] for row in cells]
    return found


@pytest.mark.both_databases
def test_history_page_of_a_new_receiver_draws_what_it_has_counted(
    receiver: httpx.Client, clock: Clock
) -> None:
    receiver.post("/heartbeat", json=messages.heartbeat())
    clock.advance(60)
    wait_until(lambda: receiver.get("/history.json").json()["slots"][-1]["minutes"] == 2)

    page = receiver.get("/history").text

    assert 'in the <a href="./report">weekly report</a>' in page
    shown = tables(page)
    assert ["Sat 31 Jan 12:00", "0", "0", "1", "100%", "2 min"] == shown["Late or down"][1]
    assert [["From", "production"], ["Sat 31 Jan 12:00", "1"]] == shown["Stages"][:2]
    assert [["From", "19.0"], ["Sat 31 Jan 12:00", "1"]] == shown["Odoo versions"][:2]
    assert ["Sat 31 Jan 12:00", "1", "0", "0", "2 min"] == shown["Heartbeats"][1]
    assert ["Sat 31 Jan 11:00", "not known"] == shown["Late or down"][2]


def test_history_page_without_a_history_says_so(receiver: httpx.Client, sqlite_url: str) -> None:
    wait_until(lambda: receiver.get("/history.json").json()["slots"][-1]["minutes"] == 1)
    with closing(sqlite3.connect(str(make_url(sqlite_url).database))) as database:
        database.execute("DELETE FROM hours")
        database.commit()

    page = receiver.get("/history").text

    assert "Nothing is known of this time yet" in page
    assert "<figure" not in page


def test_history_page_of_a_fleet_without_servers_says_so(receiver: httpx.Client) -> None:
    wait_until(lambda: receiver.get("/history.json").json()["slots"][-1]["minutes"] == 1)

    page = receiver.get("/history").text

    assert "There was no server in this time" in page
    assert '<a class="button" href="./">Show how to connect one</a>' in page
    assert "<figure" not in page


def test_pictures_show_outages_gaps_and_losses(begun: httpx.Client) -> None:
    page = begun.get("/history").text

    shown = tables(page)
    assert ["Sat 31 Jan 07:00", "1", "0", "10", "98.9%", "60 min"] == shown["Late or down"][6]
    assert ["Sat 31 Jan 09:00", "not known"] == shown["Late or down"][4]
    assert ["Sat 31 Jan 10:00", "595", "2", "3", "60 min"] == shown["Heartbeats"][3]
    assert "At worst 1 of 10 servers at once, in the hour from Sat 31 Jan 07:00 UTC." in page
    assert "595 came, 5 did not: 99.2% came." in page
    assert [["From", "Up", "New", "Late", "Down"], ["Sat 31 Jan 07:00", "9", "0", "0.1", "0"]] == [
        shown["Up"][n] for n in (0, 6)
    ]
    assert ("9 of 9.1 at first, 0 of 0 now.") in page
    assert ["worst moment of the hour", "average of the hour", "sum of the hour"] == re.findall(
        "Each bar: ([^<]+)", page
    )[:3]
    assert "<title>Sat 31 Jan 07:00: 1 down, 0 late of 10, counted in 60 min</title>" in page
    assert "<title>Sat 31 Jan 09:00: not known, no receiver ran</title>" in page
    others = ["From", *(f"1.{n}" for n in range(6)), "others"]
    assert others == shown["MCP server versions"][0]
    assert ["Sat 31 Jan 10:00", *["1"] * 6, "2"] == shown["MCP server versions"][3]


def test_availability_of_the_fleet_says_over_which_time_it_is_known(begun: httpx.Client) -> None:
    """
    It is an average over the minutes in which servers were counted. So in a fleet that was rarely
    counted, it falls faster than it would if all of its time were known.
    """
    page = begun.get("/history").text

    shares = re.findall(r'<dt>([^<]*)</dt><dd>([^<]*)</dd><dd class="known">([^<]*)<', page)
    assert [
        ("Available", "99.0%", "of all servers together, in the 3 h 1 min in which a receiver ran"),
        ("Time a receiver ran", "49.4%", "since Sat 31 Jan 08:00"),
    ] == shares


def test_hours_in_which_a_receiver_ran_in_part_stand_before_another_ground(
    sqlite_url: str, clock: Clock
) -> None:
    begins_at = begin_of_hour(clock.now)
    minutes = {6: 60, 5: 54, 4: 53, 3: 12, 2: 60}
    keep(
        sqlite_url,
        *(hour(begins_at - n * AN_HOUR, up=10, minutes=known) for n, known in minutes.items()),
    )
    with serve(create_app(environ={"FLEET_DATABASE_URL": sqlite_url}, clock=clock)) as receiver:
        wait_until(lambda: receiver.get("/history.json").json()["slots"][-1]["minutes"] == 1)
        page = receiver.get("/history").text

    assert {"M190 240V0h20V240"} == {*re.findall('<path class="partly" d="([^"]*)"', page)}
    assert '<span class="partly">known in part</span>' in page
    assert "0 down, 0 late of 10, counted in 12 min</title>" in page


def test_charts_say_how_many_servers_are_up_now(receiver: httpx.Client, clock: Clock) -> None:
    """The average of the last bar still counts the time before some went down."""
    for n in range(3):
        receiver.post("/heartbeat", json=messages.heartbeat(server_id=f"s{n}"))
    receiver.post("/heartbeat", json=messages.slim(server_id="gone", status="uninstalled"))
    for _ in range(2):
        clock.advance(75)
        receiver.post("/heartbeat", json=messages.slim(server_id="s0"))
    wait_until(lambda: receiver.get("/events", params={"kind": "late"}).json()["count"] == 2)

    page = receiver.get("/history").text

    assert " at first, 1 of 3 now." in page
    assert "<h1>Charts</h1>" in page
    assert 'aria-current="page">Charts</a>' in page


def test_hostile_names_are_escaped_in_pictures(begun: httpx.Client) -> None:
    page = begun.get("/history").text

    assert "<script>" not in page
    assert "<bdi>no stage</bdi>" in page
    assert "<bdi>others</bdi>" in page
    assert HOSTILE[:20] in html.unescape(page)


@pytest.mark.parametrize(("period", "known"), [("day", 24), ("week", 7 * 24), ("quarter", 92 * 24)])
def test_pictures_of_each_period_fit_into_a_page(
    sqlite_url: str, clock: Clock, period: str, known: int
) -> None:
    """Also when all hours are known, and the names are as long as they are kept."""
    begins_at = begin_of_hour(clock.now)
    names = [("w" * 62 + f"{n:02}", 10_000 + n) for n in range(12)]
    keep(
        sqlite_url,
        *(
            hour(
                begins_at - n * AN_HOUR,
                up=100_000 + 7919 * n % 50_000,
                worst={"up": 90_000, "late": 7919 * n % 5_000, "down": 104_729 * n % 5_000},
                heartbeats=6_000_000 + 104_729 * n % 1_000_000,
                turned_away=104_729 * n % 10_000,
                missed=7919.0 * n % 10_000,
                stages=names,
                odoo_versions=names,
                versions=names,
            )
            for n in range(1, known)
        ),
    )
    with serve(create_app(environ={"FLEET_DATABASE_URL": sqlite_url}, clock=clock)) as receiver:
        answer = receiver.get("/history", params={"period": period})

    assert 200 == answer.status_code
    assert len(answer.content) < 120 * 1024
    assert 6 == len(tables(answer.text))


def test_history_json_has_the_figures_of_the_page(begun: httpx.Client) -> None:
    answer = begun.get("/history.json?period=day")

    found = answer.json()
    assert ("day", 24) == (found["period"], len(found["slots"]))
    assert 0.0 < found["listened"] < 1.0
    assert {
        "begins_at": "2026-01-31T07:00:00Z",
        "ends_at": "2026-01-31T08:00:00Z",
        "minutes": 60,
        "availability": 1 - 6 / 546,
        "mean": {"new": 0, "up": 9, "late": 0.1, "down": 0},
        "worst": {"new": 0, "up": 9, "late": 0, "down": 1},
        "heartbeats": 0,
        "turned_away": 0,
        "missed": 0,
        "stages": [
            {"value": HOSTILE, "servers": 5},
            {"value": "production", "servers": 3},
            {"value": "", "servers": 1},
            {"value": None, "servers": 1},
        ],
        "odoo_versions": [{"value": "19.0", "servers": 10}],
        "versions": [{"value": f"1.{n}", "servers": 1} for n in range(8)],
    } == found["slots"][-6]
    assert {"minutes": 0, "worst": None, "heartbeats": None, "stages": []}.items() <= (
        found["slots"][-4].items()
    )
    same = begun.get("/history.json?period=day", headers={"If-None-Match": answer.headers["etag"]})
    assert 304 == same.status_code


def test_history_json_of_a_week_has_slots_of_three_hours(begun: httpx.Client) -> None:
    week = begun.get("/history.json?period=week").json()

    assert 56 == len(week["slots"])
    assert 60 * 4 + 1 == sum(slot["minutes"] for slot in week["slots"])


@pytest.mark.parametrize("path", ["/history", "/history.json"])
def test_unknown_period_of_the_history_is_refused(receiver: httpx.Client, path: str) -> None:
    answer = receiver.get(f"{path}?period=year")

    assert 400 == answer.status_code
    assert "expected one of day, week, quarter" in html.unescape(answer.text)


def test_front_page_tells_of_the_last_day(begun: httpx.Client) -> None:
    begun.post("/heartbeat", json=messages.slim())

    page = begun.get("/").text

    (trend,) = re.findall(r'<section class="card trend".*?</section>', page, re.DOTALL)
    assert (
        "At worst <b>1</b> of 10 late or down. "
        "Available <b>99.0%</b> in the 3 h 1 min in which a receiver ran."
    ) in trend
    assert "<title>Not known: no receiver ran</title>" in trend
    assert ["down", "late", "no receiver ran", "known in part"] == re.findall(
        r'<span class="\w+">([^<]+)<', trend
    )
    assert ["1", "0", "24 hours ago", "now"] == re.findall(r"<span>([^<]+)</span>", trend)
    assert '<path class="down"' in trend
    assert "Whole fleet, last 24 hours" in trend
    narrowed = trend.replace("Whole fleet,", "Whole fleet, not only these,")
    assert narrowed in begun.get("/?query=stage:staging").text


def test_front_page_of_a_calm_day_says_so(receiver: httpx.Client) -> None:
    receiver.post("/heartbeat", json=messages.slim())
    wait_until(lambda: receiver.get("/history.json").json()["slots"][-1]["minutes"] == 1)

    # Nothing is said of how available it was before servers were counted in a minute.
    says = "No server was late or down in the 1 min in which a receiver ran.</p>"
    assert says in receiver.get("/").text


def test_page_of_a_server_shows_when_it_was_silent_today(
    receiver: httpx.Client, clock: Clock
) -> None:
    receiver.post("/heartbeat", json=messages.slim())
    before = receiver.get("/server/acme_web-1").text
    for kind in ("late", "down"):
        clock.advance(150)
        wait_until(lambda: receiver.get("/events", params={"kind": kind}).json()["count"] == 1)  # noqa: B023 - it is over
    receiver.post("/heartbeat", json=messages.slim())
    clock.advance(10)
    page = receiver.get("/server/acme_web-1").text

    assert "Never late or down, as long as it is known" in before
    assert "Late or down once, 2 min 30 s in all" in page
    hours = re.findall(r'<text x="[^"]+" y="12">([^<]+)<', page)
    assert ["18:00 UTC", "00:00", "06:00"] == hours[:3]
    (row,) = re.findall(r'<tr><th scope="row"><time.*?</tr>', page)
    late_from, down_from, heard_again = re.findall("<time[^>]*>(.*?)</time>", row)
    assert "2026-01-31 12:02:30 UTC" == late_from
    assert "2026-01-31 12:05:00 UTC" == down_from == heard_again
    assert "<td>2 min 30 s</td></tr>" in row


# The wallboard


def halls(page: str) -> dict[str, dict[str, int]]:
    """How many servers of each group of the wallboard are in which state."""
    found = {}
    for title in re.findall(r'<h2 id="hall-\d+">(.*?)</h2>', page):
        (name,) = re.findall("<bdi>(.*?)</bdi>", title)
        numbers = re.findall(r'</i>([\d,]+)<span class="unseen"> (\w+)</span>', title)
        found[name] = {state: int(number.replace(",", "")) for number, state in numbers}
    return found


def many(receiver: httpx.Client, number: int, **said: Any) -> None:
    """Send a heartbeat of so many servers."""
    fleet = [
        messages.heartbeat(server_id=f"s{n:04}", database=f"d{n}", **said) for n in range(number)
    ]
    for first in range(0, number, 200):
        assert 200 == receiver.post("/heartbeats", json=fleet[first : first + 200]).status_code


@pytest.mark.both_databases
def test_wall_has_a_tile_for_each_database_in_groups(receiver: httpx.Client, clock: Clock) -> None:
    receiver.post("/register", json=messages.registration(server_id="new", odoo_stage="staging"))
    for server_id, stage in {"a": "production", "b": "production", "c": ""}.items():
        beat = messages.heartbeat(server_id=server_id, database=f"db-{server_id}", odoo_stage=stage)
        receiver.post("/heartbeat", json=beat)
    clock.advance(100)
    receiver.post("/heartbeat", json=messages.slim(server_id="a"))
    clock.advance(50)
    wait_until(lambda: receiver.get("/events", params={"kind": "late"}).json()["count"] == 3)

    page = receiver.get("/wall").text

    assert {
        "production": {"late": 1, "up": 1},
        "no stage": {"late": 1},
        "staging": {"late": 1},
    } == halls(page)
    assert '<li data-key="b1" class="late" title="db-b"><i class="mark late"></i>' in page
    assert '<a href="./">Back to the list</a>' in page
    assert 'class="wall huge"' in page
    assert "<bdi>db-b</bdi> <small>late <time" in page
    assert "Late or down:" not in page


def test_tiles_of_databases_with_the_same_name_show_the_ids(receiver: httpx.Client) -> None:
    for server_id, name in {"odoo_web-1": "odoo", "odoo_web-2": "odoo", "x": "acme"}.items():
        receiver.post("/heartbeat", json=messages.heartbeat(server_id=server_id, database=name))

    tiles = re.findall(r'<li data-key="b\d+".*?<bdi>([^<]*)</bdi>', receiver.get("/wall").text)

    assert ["acme", "odoo_web-1", "odoo_web-2"] == sorted(tiles)


def test_wall_shows_the_servers_of_a_filter_by_another_field(receiver: httpx.Client) -> None:
    for n, (stage, version) in enumerate([("p", "18.0"), ("p", "19.0"), ("q", "19.0")]):
        beat = messages.heartbeat(server_id=f"s{n}", odoo_stage=stage, odoo_version=version)
        receiver.post("/heartbeat", json=beat)

    def shown(**query: str) -> dict[str, dict[str, int]]:
        return halls(receiver.get("/wall", params=query).text)

    assert {"p": {"up": 2}, "q": {"up": 1}} == shown()
    assert {"18.0": {"up": 1}, "19.0": {"up": 1}} == shown(query="stage:p", by="odoo_version")
    assert {"1.0.0": {"up": 3}} == shown(by="version")
    page = receiver.get("/wall", params={"query": "stage:p", "by": "version"}).text
    assert '<a href="./?query=stage%3Ap">Back to the list</a>' in page
    narrowed = receiver.get("/wall", params={"query": "stage:none"}).text
    assert "No server is here." in narrowed
    assert "Show how to connect one" not in narrowed
    assert 400 == receiver.get("/wall", params={"by": "colour"}).status_code


def silence(receiver: httpx.Client, query: str) -> None:
    asked = {"query": query, "reason": "Upgrade", "duration_seconds": 3600}
    receiver.post("/silences", json=asked).raise_for_status()


def late(receiver: httpx.Client, clock: Clock, number: int, *alive: str) -> None:
    """Let so many servers become late, while others send."""
    for _ in range(2):
        clock.advance(75)
        receiver.post("/heartbeats", json=[messages.slim(server_id=each) for each in alive])
    path = "/events?kind=late&limit=100"
    wait_until(lambda: receiver.get(path).json()["count"] == number)


@pytest.mark.both_databases
def test_wall_counts_silenced_servers_apart(receiver: httpx.Client, clock: Clock) -> None:
    for n, stage in enumerate(("production", "staging", "staging", "staging")):
        beat = messages.heartbeat(server_id=f"s{n}", database=f"db{n}", odoo_stage=stage)
        receiver.post("/heartbeat", json=beat)
    silence(receiver, "stage:staging")
    late(receiver, clock, 3, "s3")

    page = receiver.get("/wall").text

    assert {"production": {"late": 1}, "staging": {"silenced": 2, "up": 1}} == halls(page)
    assert {"down": "0", "late": "1", "silenced": "2", "new": "0", "up": "1"} == sums(page)
    assert "Nobody was told of <b>1</b> that is late or down" in page
    (tile,) = re.findall(r"<li[^>]*>(?:(?!</li>).)*<bdi>db1</bdi>.*?</li>", page)
    assert 'class="silenced"' in tile
    assert "<small>late <time" in tile
    assert "</time>, silenced</small>" in tile


def test_tiles_leave_out_the_stage_that_stands_above_them(receiver: httpx.Client) -> None:
    """Unless another server is called so, or nothing would be left."""
    stages = {"acme-production": "production", "beta_staging": "staging", "-staging": "staging"}
    stages |= {"gamma-production": "production", "gamma": "staging", "deltaproduction": ""}
    for name, stage in stages.items():
        beat = messages.heartbeat(server_id=f"id-{name}", database=name, odoo_stage=stage)
        receiver.post("/heartbeat", json=beat)

    page = receiver.get("/wall").text

    tiles = re.findall(r'<li data-key="b\d+"[^>]* title="([^"]*)">.*?<bdi>([^<]*)</bdi>', page)
    assert {
        "acme-production": "acme",
        "beta_staging": "beta",
        "-staging": "-staging",
        "gamma-production": "gamma-production",
        "gamma": "gamma",
        "deltaproduction": "deltaproduction",
    } == dict(tiles)


def sums(page: str) -> dict[str, str]:
    """The numbers at the top of the wallboard, by what they count."""
    return dict(
        re.findall(r'data-key="sum-(\w+)" class="[^"]+"[^>]*><i [^>]*></i> <b>([\d,]+)<', page)
    )


@pytest.mark.parametrize("most_cells", [5_000, 50])
def test_wall_of_many_draws_silenced_servers_apart(
    receiver: httpx.Client, clock: Clock, monkeypatch: pytest.MonkeyPatch, most_cells: int
) -> None:
    """Whether a cell stands for one server or for several."""
    monkeypatch.setattr(wall, "_MOST_CELLS", most_cells)
    monkeypatch.setattr(wall, "_MOST_TILES", 10)
    monkeypatch.setattr(wall, "_SIZES", {"small": most_cells + 1})
    many(receiver, 60)
    silence(receiver, "server:s0001,s0002")
    late(receiver, clock, 3, "s0000", *(f"s{n:04}" for n in range(4, 60)))

    page = receiver.get("/wall").text

    assert {"production": {"late": 1, "silenced": 2, "up": 57}} == halls(page)
    assert 'fill="url(#cell-silenced)"' in page
    assert "Late or down: 1" in page
    assert "2 more are silenced" in page
    assert ["d3"] == re.findall(r'data-key="n\d+".*?<bdi>([^<]+)<', page)


def test_wall_of_hundreds_has_cells_and_names_those_in_trouble(
    receiver: httpx.Client, clock: Clock
) -> None:
    many(receiver, 300)
    calm = receiver.get("/wall").text
    clock.advance(100)
    fleet = [messages.slim(server_id=f"s{n:04}") for n in range(270)]
    receiver.post("/heartbeats", json=fleet)
    clock.advance(50)
    wait_until(lambda: receiver.get("/events?kind=late&limit=100").json()["count"] == 30)

    page = receiver.get("/wall").text

    assert "Nothing is late or down." in calm
    assert {"production": {"late": 30, "up": 270}} == halls(page)
    assert 'fill="url(#cell-late)"' in page
    assert "Late or down: 30" in page
    assert "and 6 more" in page
    assert 24 == len(re.findall('data-key="n', page))


def test_wall_of_too_many_servers_has_cells_that_stand_for_several(
    receiver: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wall, "_MOST_CELLS", 50)
    monkeypatch.setattr(wall, "_MOST_TILES", 10)
    monkeypatch.setattr(wall, "_SIZES", {"small": 51})
    monkeypatch.setattr(wall, "_MOST_GROUPS", 1)
    many(receiver, 120)
    for n in range(3):
        receiver.post("/heartbeat", json=messages.slim(server_id=f"x{n}"))

    page = receiver.get("/wall").text

    assert {"production": {"up": 120}, "others": {"up": 3}} == halls(page)
    assert "A cell stands for up to 3 servers." in page
    assert 2 == page.count('fill="url(#cell-up)"')


def test_wall_of_hostile_names_is_escaped_and_bounded(receiver: httpx.Client) -> None:
    fleet = [
        messages.slim(server_id=f"{n:03}" + "<&>" * 84, database=HOSTILE + "\N{PILE OF POO}" * 200)
        for n in range(240)
    ]
    for first in range(0, 240, 60):
        receiver.post("/heartbeats", json=fleet[first : first + 60])

    answer = receiver.get("/wall")

    assert "<script>" not in answer.text
    assert 240 == len(re.findall('data-key="b', answer.text))
    assert "title=" not in answer.text.split('id="groups"')[1]
    assert 'class="wall small long"' in answer.text
    assert len(answer.content) < 120 * 1024

"""The front page begins with what needs somebody."""

import html
import re
from collections.abc import Iterator
from datetime import timedelta

import httpx
import pytest
from attrs import evolve
from sqlalchemy import Engine, text

import messages
from alert_values import NOW
from contract import State
from keyring import bearer, expired, keep, made, revoked
from page_reading import MAX_PAGE_BYTES
from receiver.app import Tuning, create_app
from receiver.domain.alerts.reach import Reach, Telling
from receiver.domain.grouping.problems import Trouble
from receiver.web.pages.told import told_of
from server_records import server_record
from servers import ANY_PAUSE_SECONDS, Clock, serve
from watched import Watched, change_servers

HOSTILE = "<script>alert('x')</script>\u202e"


def later(receiver_clock: Clock, fleet: Watched, seconds: float, *alive: str) -> None:
    """Let time pass for the receiver, too, while only some servers send."""
    fleet.go_on(seconds, *alive, every=50)
    receiver_clock.now = fleet.now


def section(page: str) -> str:
    """The HTML of the section of problems."""
    found = re.search(r'<section class="card needs.*?</section>', page, re.DOTALL)
    assert found is not None
    return found[0]


def title(page: str) -> str:
    found = re.search(r'id="problems-title"><span[^>]*>(.*?)</span></h2>', section(page), re.DOTALL)
    assert found is not None
    return plain(found[1])


def items(page: str) -> list[str]:
    """The text of each problem."""
    found = re.findall(r'<li data-key="problem.*?</li>', section(page), re.DOTALL)
    return [plain(each) for each in found]


def listed(page: str) -> list[str]:
    """The ids of the servers in the list."""
    return re.findall(r'<tr data-key="server-(\w+)"', page)


def plain(part: str) -> str:
    return " ".join(html.unescape(re.sub("<[^>]*>", " ", part)).split()).replace(" ,", ",")


def test_outage_is_one_problem_and_leads_to_its_servers(
    receiver: httpx.Client, fleet: Watched, clock: Clock
) -> None:
    for n in range(12):
        fleet.beat(f"s{n:02d}", hostname=f"web-{n % 3}", odoo_stage="staging")
    fleet.beat("well", odoo_stage="production")
    later(clock, fleet, 300, "well")

    page = receiver.get("/").text

    assert "12 down" == title(page)
    (outage,) = items(page)
    assert re.match(r"12 servers went down at 2026-01-31 12:0\d:\d\d UTC just now ", outage), outage
    assert "Nobody was told of this: there is no channel. Add a channel" in plain(section(page))
    assert 'href="./alerts/channels/new"' in section(page)
    alerts = plain(receiver.get("/alerts").text)
    assert "What nobody was told of 12 servers are down s00, s01, s02 and 9 more" in alerts
    (more,) = re.findall('<a href="([^"]*)">and 9 more</a>', receiver.get("/alerts").text)
    assert "./?query=state%3Adown" == more
    assert 1 == alerts.count("Add a channel")
    assert "No alarm was raised: there is no channel yet" in alerts
    assert "Nothing is alarming" not in alerts
    assert "12 of 12 staging" in outage
    assert "3 hosts" in outage
    assert "s00, s01, s02 and 9 more" in outage
    listed, happened = re.findall(r'class="leads">.*?href="([^"]+)".*?href="([^"]+)"', page)[0]
    assert 12 == receiver.get(html.unescape(listed)).text.count('<tr data-key="server-s')
    events = receiver.get(html.unescape(happened).replace("./", "/", 1)).text
    assert ["went down", "became late", "joined the fleet"] == re.findall(
        r"<b>12 servers</b>.*?<span class=\"says\">([^<]+)<", events, re.DOTALL
    )
    assert "From: 2026-01-31 11:55:00 UTC" in plain(events)


def test_front_page_shows_each_kind_of_problem(
    receiver: httpx.Client, fleet: Watched, clock: Clock, engine: Engine
) -> None:
    fleet.beat("gone", database="acme", odoo_stage="production", hostname="web-1")
    alive = ("twin", "copy", "conflict", "flaps", "well")
    later(clock, fleet, 290, *alive)
    fleet.beat("late")
    later(clock, fleet, 150, *alive)
    now = int(fleet.now.timestamp() * 1_000_000)
    for server_id, changed in {
        "twin": "twin_of = 'copy', database_uuid = 'u', hostname = 'old-<1>', database = 'acme'",
        "copy": "twin_of = 'twin', database_uuid = 'u', hostname = 'web-9', database = 'acme'",
        "conflict": f"conflict_since = {now}",
        "flaps": f"flapping_since = {now}",
    }.items():
        with engine.begin() as connection:
            change_servers(connection, changed, "server_id = :id", id=server_id)

    page = receiver.get("/").text

    assert "1 down, 1 late, 1 ID conflict, 2 twins, 1 flapping" == title(page)
    down, late, conflict, twins, flapping = items(page)
    assert down.startswith("acme went down at 2026-01-31 12:0")
    assert "production on web-1 last seen 7 min ago" in down
    assert late.startswith("late is late since 2026-01-31 12:0")
    assert conflict.startswith("conflict is used by two machines since")
    assert twins.startswith("copy, twin share one database UUID")
    assert "on web-9, old-<1> one database is a copy of the other" in twins
    assert "give the copy a database.uuid of its own" in twins
    assert 'href="./compare?a=copy&amp;b=twin"' in page
    assert flapping.startswith("flaps is flapping since")


def test_copies_with_the_same_name_are_called_by_their_ids(
    receiver: httpx.Client, fleet: Watched, engine: Engine
) -> None:
    for server_id in ("odoo_web-1", "odoo_web-2"):
        fleet.beat(server_id, database="odoo")
    with engine.begin() as connection:
        change_servers(connection, "twin_of = 'x', database_uuid = 'u'")

    (twins,) = items(receiver.get("/").text)
    alerts = plain(receiver.get("/alerts").text)

    assert twins.startswith("odoo_web-1, odoo_web-2 share one database UUID")
    assert "2 servers share their database UUIDs odoo_web-1, odoo_web-2" in alerts


def test_each_problem_of_a_server_is_shown_separately() -> None:
    record = server_record(at=NOW, state=State.DOWN, conflict_since=NOW)

    every = told_of([record], Telling(), NOW)
    of_down = told_of([record], Telling(), NOW, trouble=Trouble.DOWN)

    assert [Trouble.DOWN, Trouble.CONFLICT] == [each.trouble for each in every]
    assert [Trouble.DOWN] == [each.trouble for each in of_down]
    assert {Reach.NO_CHANNEL} == {each.reach for each in every}


def test_servers_in_production_are_named_first() -> None:
    """Of those of which nobody is told; one without a stage counts as if it were in production."""
    stages = {"a": "staging", "b": "production", "c": "dev", "d": None}
    records = [
        server_record(name, at=NOW, odoo_stage=stage, state=State.DOWN)
        for name, stage in stages.items()
    ]

    (told,) = told_of(records, Telling(), NOW)

    assert ["b", "d", "a", "c"] == [each.server_id for each in told.servers]


def test_front_page_says_since_when_nothing_is_wrong(
    receiver: httpx.Client, fleet: Watched, clock: Clock
) -> None:
    fleet.beat("a", "b")
    began = plain(section(receiver.get("/").text))
    assert began.startswith("Nothing is wrong all servers were heard in time since 2026-01-31 12:0")
    assert began.endswith(", when the receiver began to listen")
    later(clock, fleet, 300, "a")
    fleet.beat("b")
    back = fleet.now
    later(clock, fleet, 3600, "a", "b")

    page = receiver.get("/").text

    assert "Nothing is wrong" == title(page)
    assert plain(section(page)).endswith(f"since {back:%Y-%m-%d %H:%M:%S} UTC, 60 min ago")
    assert "needs calm" in page
    assert "Nothing is wrong with these" == title(receiver.get("/?stage=").text)
    narrowed = plain(section(receiver.get("/?stage=").text))
    assert "all servers that match the filters are heard in time" in narrowed
    assert "since" not in narrowed
    assert "Nothing is wrong" not in receiver.get("/?stage=production").text  # as there are none


def test_silenced_servers_are_listed_apart_from_the_problems(
    receiver: httpx.Client, fleet: Watched, clock: Clock
) -> None:
    fleet.beat("calm", odoo_stage="staging")
    fleet.beat("loud", odoo_stage="production")
    later(clock, fleet, 300, "well")
    silence = {"query": "stage:staging", "reason": "upgrade", "duration_seconds": 3600}
    receiver.post("/silences", json=silence).raise_for_status()

    page = receiver.get("/").text
    narrowed = receiver.get("/?stage=staging").text

    alerts = plain(receiver.get("/alerts").text)

    assert "1 down (1 more is silenced)" == title(page)
    assert "<title>1 down · Odoo MCP Fleet</title>" in page
    assert '<span class="number">2</span> <small>1 silenced</small>' in page
    says = r"1 server in trouble is silenced: 1 down since 2026-01-31 12:05:00 UTC just now"
    assert re.search(says, plain(section(page)))
    assert "1 server is down loud" in alerts
    assert "1 server in trouble is silenced" in alerts
    assert ["loud", "calm", "well"] == re.findall(r'data-key="server-(\w+)"', page)
    assert 'title="Silent since 2026-01-31 12:00:00 UTC">down' in page
    assert ["loud went down", "calm went down"] == [
        each[: each.index(" at ")] for each in items(page)
    ]
    assert page.index("loud") < page.index('id="silenced-problems"') < page.index(">calm<")
    assert "1 down (silenced)" == title(narrowed)
    assert "<title>Odoo MCP Fleet</title>" in narrowed
    assert "needs hushed" in narrowed
    assert "1 server in trouble is silenced" in plain(section(narrowed))


def test_silenced_problems_say_since_when_without_being_opened(
    receiver: httpx.Client, fleet: Watched, clock: Clock, engine: Engine
) -> None:
    fleet.beat("a")
    later(clock, fleet, 200, "twin", "copy")
    fleet.beat("b")
    later(clock, fleet, 400, "twin", "copy")
    with engine.begin() as connection:
        change_servers(connection, "twin_of = 'x'", "server_id IN ('twin', 'copy')")
    silence = {"query": "", "reason": "upgrade", "duration_seconds": 3600}
    receiver.post("/silences", json=silence).raise_for_status()

    page = receiver.get("/").text

    (summary,) = re.findall(r"<summary>(\d+ servers in trouble.*?)</summary>", page)
    assert re.fullmatch(
        r"4 servers in trouble are silenced: 2 down, the first since 2026-01-31 12:0\d:\d\d UTC "
        r"\d+ min ago ; 2 twins",
        plain(summary),
    ), plain(summary)


def test_stages_of_a_problem_are_counted_unless_only_a_part_of_the_fleet_was_read(
    receiver: httpx.Client, fleet: Watched, clock: Clock
) -> None:
    for n in range(4):
        fleet.beat(f"s{n}", odoo_stage="production", database="acme" if n % 2 else "blue")
    fleet.beat("t", "u", odoo_stage="staging")
    later(clock, fleet, 300, "s0", "s1", "t", "u")

    (whole,) = items(receiver.get("/").text)
    (of_stage,) = items(receiver.get("/?query=stage:production state:up").text)
    (found,) = items(receiver.get("/?query=s").text)
    (of_label,) = items(receiver.get("/?query=-label:gold").text)

    assert "2 of 4 production" in whole
    assert "2 of 4 production" in of_stage
    assert "only production" in found
    assert "only production" in of_label


def test_problem_of_several_stages_leads_to_the_servers_of_each(
    receiver: httpx.Client, fleet: Watched, clock: Clock
) -> None:
    fleet.beat("a", "b", "c", odoo_stage="staging")
    fleet.beat("d", odoo_stage="production")
    fleet.beat("e")
    for n in range(2):
        fleet.beat(f"f{n}", odoo_stage=f"f{n}")
    later(clock, fleet, 300)

    page = receiver.get("/").text
    (line,) = items(page)
    links = {
        says: html.unescape(link)
        for link, says in re.findall(r'<a href="([^"]+)">(\d+ of \d+ [^<]+)</a>', section(page))
    }
    of_staging = receiver.get(f"/{links['3 of 3 staging']}").text

    assert "1 of 1 production, 1 of 1 without stage, 3 of 3 staging and 2 more" in line
    assert "d, e, a and 4 more" in line
    assert ["a", "b", "c"] == listed(of_staging)
    assert ["d"] == listed(receiver.get(f"/{links['1 of 1 production']}").text)
    assert ["e"] == listed(receiver.get(f"/{links['1 of 1 without stage']}").text)
    assert "<span>3 of 3 staging</span>" in of_staging  # which is this list
    long = receiver.get(f"/?query=-odoo:{'x' * 180}").text  # would be in many links
    assert "<span>1 of 1 production, 1 of 1 without stage, 3 of 3 staging and 2 more</span>" in long


def test_problem_says_when_its_servers_were_last_seen(
    receiver: httpx.Client, fleet: Watched, clock: Clock
) -> None:
    """The list tells when they were last seen, which is long before they are down."""
    fleet.beat("a")
    later(clock, fleet, 50)
    fleet.beat("b")
    later(clock, fleet, 350)

    page = receiver.get("/").text

    (down,) = items(page)
    assert "last seen 6 min ago to 5 min ago" in down
    (row,) = re.findall(r'<tr data-key="server-a".*?</tr>', page, re.DOTALL)
    assert re.search(r"6 min ago down (\d+ (s|min) ago|just now)", plain(row))


def test_problem_of_servers_with_long_names_leads_to_the_events_of_its_time(
    receiver: httpx.Client, fleet: Watched, clock: Clock, engine: Engine
) -> None:
    fleet.beat(*(f"s{n}{'x' * 200}" for n in range(21)))
    with engine.begin() as connection:
        change_servers(connection, "flapping_since = 1769860800000000")

    (link,) = re.findall(r'class="leads"> <a href="([^"]+)"', receiver.get("/").text)

    assert {"kind": "flapping", "grouped": "false"}.items() <= dict(
        httpx.QueryParams(html.unescape(link).partition("?")[2])
    ).items()


def test_list_with_trouble_first_begins_with_production(
    receiver: httpx.Client, fleet: Watched, clock: Clock
) -> None:
    fleet.beat("a", odoo_stage="staging")
    fleet.beat("b", odoo_stage="production")
    later(clock, fleet, 300, "c")

    page = receiver.get("/").text
    lines = receiver.get("/servers?sort=trouble&format=csv").text.splitlines()

    assert ["b", "a", "c"] == re.findall(r'data-key="server-(\w+)"', page)
    assert ["b", "a", "c"] == [line.partition(",")[0] for line in lines[1:]]


def test_problems_and_silences_are_found_by_words_of_notes(
    receiver: httpx.Client, fleet: Watched, clock: Clock
) -> None:
    fleet.beat("a", "b")
    receiver.patch("/servers/a/labels", json={"note": "Call Ann first."}).raise_for_status()
    later(clock, fleet, 300)

    assert ("1 down", "2 down") == (
        title(receiver.get("/?query=ann").text),
        title(receiver.get("/").text),
    )
    silence = {"query": "ANN", "reason": "upgrade", "duration_seconds": 3600}
    receiver.post("/silences", json=silence).raise_for_status()
    assert "1 down (silenced)" == title(receiver.get("/?query=ann").text)
    assert "1 down (1 more is silenced)" == title(receiver.get("/").text)


def test_problems_follow_the_filters_and_stand_on_the_first_page_only(
    receiver: httpx.Client, fleet: Watched, clock: Clock
) -> None:
    fleet.beat("a", odoo_stage="staging")
    fleet.beat("b", odoo_stage="production")
    later(clock, fleet, 300)

    assert "2 down" == title(receiver.get("/").text)
    narrowed = receiver.get("/?stage=staging&state=up").text
    assert "1 down" == title(narrowed)
    assert "of the servers that match the filters, whatever their state" in narrowed
    assert '<span class="label">In any state</span>' in narrowed
    assert "whatever their state" not in receiver.get("/?stage=staging").text
    following = re.search(r'href="([^"]+)" rel="next"', receiver.get("/?limit=1").text)
    assert following is not None
    assert 'id="problems"' not in receiver.get(html.unescape(following[1])).text


def test_many_problems_are_counted_and_lead_to_the_list(
    receiver: httpx.Client, fleet: Watched, clock: Clock
) -> None:
    for n in range(12):
        fleet.beat(f"s{n:02d}")
        later(clock, fleet, 100)
    later(clock, fleet, 300)

    page = receiver.get("/").text

    assert "12 down" == title(page)
    *shown, left = items(page)
    assert 8 >= len(shown) > 3
    assert f"{12 - len(shown)} more are down" == left
    assert 'href="./?query=state%3Adown"><b>' in page


def test_each_kind_of_problem_is_shown_beside_many_of_another(
    receiver: httpx.Client, fleet: Watched, clock: Clock, engine: Engine
) -> None:
    for n in range(12):
        fleet.beat(f"s{n:02d}", "conflict", "flaps", "waves")
        later(clock, fleet, 100, "conflict", "flaps", "waves")
    later(clock, fleet, 300, "conflict", "flaps", "waves")
    now = int(fleet.now.timestamp() * 1_000_000)
    with engine.begin() as connection:
        for server_id, column in {
            "conflict": "conflict_since",
            "flaps": "flapping_since",
            "waves": "flapping_since",
        }.items():
            change_servers(connection, f"{column} = {now}", "server_id = :id", id=server_id)

    page = receiver.get("/").text

    assert "12 down, 1 ID conflict, 2 flapping" == title(page)
    *down, left, conflict, flapping = items(page)
    assert down
    assert all("went down" in each for each in down)
    assert conflict.startswith("conflict is used by two machines since")
    assert flapping.startswith("2 servers are flapping since")
    assert f"{12 - len(down)} more are down" == left


def test_kinds_of_problems_without_room_are_counted(
    receiver: httpx.Client, fleet: Watched, clock: Clock, engine: Engine
) -> None:
    long = HOSTILE.ljust(255, "\N{PILE OF POO}")
    fleet.beat(long, hostname=long, database=long)
    fleet.beat(f"{long[:-1]}x", hostname=long, database=long)
    with engine.begin() as connection:
        change_servers(connection, "flapping_since = 1")
        connection.execute(
            text("UPDATE servers SET conflict_since = 1 WHERE server_id = :key"), {"key": long}
        )

    page = receiver.get("/").text

    assert "1 ID conflict, 2 flapping" == title(page)
    assert "2 servers are flapping" == items(page)[-1]


def test_hostile_names_of_problems_are_escaped_and_cut(
    receiver: httpx.Client, fleet: Watched, clock: Clock
) -> None:
    for n in range(30):
        long = f"{n}{HOSTILE}".ljust(255, "\N{PILE OF POO}")
        fleet.beat(long, hostname=long, database=long, odoo_stage=f"{HOSTILE}{n % 5}")
        later(clock, fleet, 70)
    later(clock, fleet, 300)

    page = receiver.get("/").text

    assert "<script>" not in page
    assert HOSTILE[:-1] in html.unescape(section(page))
    assert len(page.encode()) <= MAX_PAGE_BYTES
    assert 12_500 >= len(section(page).encode())  # of one problem, which is shown always


@pytest.fixture
def admin(database_url: str, clock: Clock) -> Iterator[httpx.Client]:
    """A client with an administrator's key, beside keys that end or have ended."""
    key, token = made("admin")
    keys = [key]
    for days in (1, 2, 3, 4, 400):
        made_key, _ = made("viewer", name=f"ends in {days}")
        ends = clock.now + timedelta(days=days)
        keys.append(evolve(made_key, created_at=ends - timedelta(days=500), expires_at=ends))
    agent, _ = made("agent", name="has ended")
    idle, _ = made("agent", name="has nothing")
    gone, _ = made("agent", name="was revoked")
    keep(database_url, *keys, expired(agent), expired(idle), revoked(gone))
    environ = {"FLEET_DATABASE_URL": database_url}
    tuning = Tuning(absence_seconds=ANY_PAUSE_SECONDS, look_seconds=0.05)
    with serve(create_app(environ=environ, clock=clock, tuning=tuning)) as client:
        client.headers.update(bearer(token))
        owned = {"a": agent.id, "b": agent.id, "c": gone.id, "d": None}
        for server_id in owned:
            client.post("/heartbeat", json=messages.heartbeat(server_id=server_id))
        client.headers["X-Owners"] = ",".join(f"{one}:{key}" for one, key in owned.items() if key)
        yield client


def test_front_page_names_expired_and_expiring_keys(
    admin: httpx.Client, engine: Engine, clock: Clock
) -> None:
    for pair in admin.headers.pop("X-Owners").split(","):
        server_id, key_id = pair.split(":")
        with engine.begin() as connection:
            query = "UPDATE servers SET owner = :owner WHERE server_id = :key"
            connection.execute(text(query), {"owner": key_id, "key": server_id})
    clock.advance(60)

    page = admin.get("/").text

    assert "The servers are well" == title(page)
    ended, *ending, more = items(page)
    assert ended.startswith("The key has ended has expired")
    assert "2 servers cannot send, and are counted nowhere" in ended
    assert ["ends in 1", "ends in 2", "ends in 3"] == [each[8:17] for each in ending]
    assert "expires in 23 h 59 min" in ending[0]
    assert more.startswith("1 more key has expired, or will soon")
    assert "was revoked" not in section(page)
    assert "has nothing" not in section(page)
    assert "keyring" in section(page)


def test_problems_follow_a_filter_by_key(admin: httpx.Client, engine: Engine, clock: Clock) -> None:
    del admin.headers["X-Owners"]
    with engine.begin() as connection:
        for server_id, owner in {"a": "fine", "b": "other"}.items():
            changed = "conflict_since = 1, owner = :owner"
            change_servers(connection, changed, "server_id = :id", owner=owner, id=server_id)

    def told(query: str) -> list[str]:
        page = admin.get("/", params={"query": query}).text
        return re.findall(r'data-key="problem-conflict-([^"]+)"', page)

    assert ["a"] == told("key:fine")
    assert ["b"] == told("-key:fine stage:production")
    assert [] == told("key:none")


def test_number_of_alarms_is_in_the_title_and_on_the_icon(
    receiver: httpx.Client, fleet: Watched
) -> None:
    fleet.beat("a")

    page = receiver.get("/").text

    assert "<title>Odoo MCP Fleet</title>" in page
    assert re.search(r'rel="icon" href="./static/fleet.svg', page)


def test_news_of_a_large_outage_count_all_of_its_events(
    receiver: httpx.Client, fleet: Watched, clock: Clock
) -> None:
    """The page reads 1,000 events, and says which of its numbers are of a part of them."""
    fleet.beat(*(f"s{n:03d}" for n in range(600)), "well")
    later(clock, fleet, 300, "well")

    page = receiver.get("/").text

    sums = re.search(r'<p class="sums">(.*?)</p>', page, re.DOTALL)
    assert sums is not None
    assert "1 mass outage 600 went down 600 became late 601 joined the fleet 1,802 events" == plain(
        sums[1]
    )
    groups = re.findall(r'<p class="who">(.*?)</p>.*?class="says">(.*?)<', page, re.DOTALL)
    assert ["600 servers went down", "399+ servers became late"] == [
        f"{plain(who)} {says}" for who, says in groups
    ]
    (link,) = re.findall(r'<a href="([^"]+)">600 went down</a>', page)
    opened = receiver.get(f"/{html.unescape(link)}").text
    assert "600 servers" in opened
    assert "became late" not in opened.partition('class="events')[2]

"""The texts of the pages: ages, durations, facts of a server and events in words."""

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from attrs import evolve, fields

from contract import Event, EventKind, IpAddresses, ServerRecord, State
from receiver.domain.grouping.timeline import Alike, Group
from receiver.domain.keys import KeyScope
from receiver.service.availability import Span
from receiver.web.pages import wording
from receiver.web.pages.wording import Fact, Tale
from server_records import server_record

NOW = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
RECORD = server_record("s", at=NOW)


def moved(*addresses: list[str]) -> dict[str, Any]:
    """Details of a change of IP addresses; the first of each list is the primary one."""
    old, new = ({"primary": each[0], "all": each} for each in addresses)
    return {"from": old, "to": new}


def test_each_scope_of_a_key_is_explained() -> None:
    assert {*KeyScope} == {*wording.SCOPES}


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (-5, "just now"),
        (0.9, "just now"),
        (1, "1 s ago"),
        (12.7, "12 s ago"),
        (119, "119 s ago"),
        (120, "2 min ago"),
        (7199, "119 min ago"),
        (7200, "2 h ago"),
        (86400 * 3, "3 d ago"),
    ],
)
def test_age_has_one_unit(seconds: float, expected: str) -> None:
    assert expected == wording.ago(NOW - timedelta(seconds=seconds), NOW)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0 s"),
        (0.25, "0.25 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3605, "1 h"),
        (5 * 3600 + 240, "5 h 4 min"),
        (86400 + 3600, "1 d 1 h"),
        (1e300, "1e+300 s"),
    ],
)
def test_duration_has_two_units_at_most(seconds: float, expected: str) -> None:
    assert expected == wording.duration(seconds)


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        (None, "\N{EN DASH}"),
        (1.0, "100%"),
        (0.999999, "99.9%"),
        (0.5, "50.0%"),
        (0.0, "0.0%"),
    ],
)
def test_only_a_full_share_is_100_percent(share: float | None, expected: str) -> None:
    assert expected == wording.percent(share)


@pytest.mark.parametrize("text", ["a", " a ", "é", "\N{PILE OF POO}", "\u202ea", "-", "e\u0301"])
def test_visible_text_is_shown_unchanged(text: str) -> None:
    assert text == wording.shown(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\t\n",
        "\xa0\u2003\u3000",
        "\u200b\u202e\ufeff",
        "\ufe0f",
        "\u2028",
        "\u2800\u3164\u115f\u1160\uffa0",
    ],
)
def test_invisible_text_is_shown_as_blank(text: str) -> None:
    assert "(blank)" == wording.shown(text)
    assert not wording.is_seen(text)


def test_facts_have_every_field_of_a_record_once() -> None:
    found = [fact.name for group in wording.facts(RECORD).values() for fact in group]

    assert sorted(field.name for field in fields(ServerRecord)) == sorted(found)


@pytest.mark.parametrize(
    ("state", "expected"), [(State.LEFT, ("uninstalled",)), (State.NEW, ()), (State.UP, ())]
)
def test_server_that_is_back_does_not_say_that_it_is_uninstalled(
    state: State, expected: tuple[str, ...]
) -> None:
    record = evolve(RECORD, status="uninstalled", state=state)
    (status,) = [each for each in wording.facts(record)["Software"] if each.name == "status"]

    assert expected == status.values


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("hostname", "web-1", ("web-1",)),
        ("hostname", None, ()),
        ("odoo_stage", "", ("none",)),
        ("port", 8768, ("8768",)),
        ("uptime_seconds", 90.0, ("1 min 30 s",)),
        ("capabilities", ("a", "b"), ("a", "b")),
        ("capabilities", ("a", "\u200b"), ("a", "(blank)")),
        ("capabilities", (), ("none",)),
        ("state", State.LATE, ("late",)),
        ("started_at", NOW, ("2026-01-31 12:00:00 UTC",)),
        (
            "ip_addresses",
            IpAddresses(primary="10.0.0.5", all=("10.0.0.5", "fd00::5")),
            ("10.0.0.5", "fd00::5"),
        ),
    ],
)
def test_fact_formats_the_value_of_a_field(
    name: str, value: Any, expected: tuple[str, ...]
) -> None:
    record = evolve(RECORD, **{name: value})

    facts = {fact.name: fact for group in wording.facts(record).values() for fact in group}

    assert expected == facts[name].values
    assert (value if isinstance(value, datetime) else None) == facts[name].moment
    assert isinstance(facts[name], Fact)


@pytest.mark.parametrize(
    ("kind", "details", "expected"),
    [
        ("registered", {}, Tale(says="joined the fleet", more=[])),
        (
            "moved",
            {
                "hostname": {"from": "web-1", "to": "web-2"},
                "ip_addresses": {
                    "from": {"primary": "10.0.0.5", "all": []},
                    "to": {"primary": "10.0.0.6", "all": []},
                },
            },
            Tale(
                says="moved",
                more=[("Hostname", "web-1 → web-2"), ("IP addresses", "10.0.0.5 → 10.0.0.6")],
            ),
        ),
        (
            "moved",
            {"ip_addresses": moved(["10.0.0.5", "fd00::5", "fd00::6"], ["10.0.0.5", "fd00::7"])},
            Tale(
                says="moved",
                more=[
                    ("IP addresses added", "fd00::7"),
                    ("IP addresses removed", "fd00::5, fd00::6"),
                ],
            ),
        ),
        (
            "moved",
            {"ip_addresses": moved(["10.0.0.5", "fd00::5"], ["10.0.0.6", "fd00::5", "fd00::6"])},
            Tale(
                says="moved",
                more=[
                    ("IP addresses", "10.0.0.5 → 10.0.0.6"),
                    ("IP addresses added", "fd00::6"),
                ],
            ),
        ),
        (
            "moved",
            {"ip_addresses": moved(["10.0.0.5", "::1", "::2"], ["10.0.0.5", "::2", "::1"])},
            Tale(says="moved", more=[("IP addresses", "in another order")]),
        ),
        (
            "updated",
            {"ip_addresses": {**moved([""], ["10.0.0.5", "fd00::5"]), "from": None}},
            Tale(
                says="details changed",
                more=[("IP addresses", "unknown → 10.0.0.5, fd00::5")],
            ),
        ),
        (
            "moved",
            {"hostname": {"from": " ", "to": "web-1"}},
            Tale(says="moved", more=[("Hostname", "(blank) → web-1")]),
        ),
        (
            "restarted",
            {"uptime_seconds": {"from": 7200.0, "to": 5.0}},
            Tale(says="restarted", more=[("Uptime, as last heard", "2 h → 5 s")]),
        ),
        (
            "restarted",
            {"started_at": {"from": None, "to": "2026-01-31T12:00:00Z"}},
            Tale(says="restarted", more=[("Started", "unknown → 2026-01-31 12:00:00 UTC")]),
        ),
        (
            "upgraded",
            {"odoo_version": {"from": "18.0", "to": "19.0"}},
            Tale(says="was upgraded", more=[("Odoo", "18.0 → 19.0")]),
        ),
        (
            "capabilities_changed",
            {"capabilities": {"gained": list("abcd\tfg"), "lost": []}},
            Tale(says="tools changed: +7", more=[("Added", "a, b, c, d, (blank) and 2 more")]),
        ),
        (
            "tools_changed",
            {
                "tools": {
                    "confirm": ["title", "description", "annotations"],
                    "read": ["description", "input_schema_digest", "provider"],
                }
            },
            Tale(
                says="tool descriptions changed",
                more=[
                    ("Other title", "confirm"),
                    ("Other description", "confirm, read"),
                    ("Other hints", "confirm"),
                    ("Other arguments", "read"),
                    ("Other module", "read"),
                ],
            ),
        ),
        (
            "stage_changed",
            {"odoo_stage": {"from": "", "to": "production"}},
            Tale(says="stage changed", more=[("Stage", "none → production")]),
        ),
        (
            "updated",
            {"capabilities": {"from": None, "to": []}, "uptime_seconds": {"from": None}},
            Tale(
                says="details changed",
                more=[
                    ("Tools", "unknown → none"),
                    ("Uptime, as last heard", "unknown → unknown"),
                ],
            ),
        ),
        ("late", {"last_seen": "2026-01-31T12:00:00Z"}, Tale(says="became late", more=[])),
        ("down", {"last_seen": "2026-01-31T12:00:00Z"}, Tale(says="went down", more=[])),
        ("recovered", {"away_seconds": 301.5}, Tale(says="is back after 5 min 1 s", more=[])),
        ("rebuilt", {"superseded_by": "b"}, Tale(says="was rebuilt", more=[], other="b")),
        ("twin", {"twin_of": "b"}, Tale(says="has a twin", more=[], other="b")),
        (
            "flapping",
            {"turns": 6, "since": "2026-01-31T12:00:00Z"},
            Tale(
                says="is flapping",
                more=[("Fell silent or came back", "6 times; from now on this is only counted")],
            ),
        ),
        (
            "calm",
            {"turns": 42, "since": "2026-01-31T12:00:00Z", "state": "down"},
            Tale(
                says="stopped flapping",
                more=[("Fell silent or came back", "42 times"), ("State now", "down")],
            ),
        ),
        ("deleted", {}, Tale(says="was forgotten", more=[])),
        (
            "refused_write",
            {"key": "a1", "name": "acme"},
            Tale(
                says="refused: key acme does not own this server",
                more=[("Key ID", "a1")],
            ),
        ),
        (
            "fleet_silent",
            {"silent": 40, "of": 50},
            Tale(
                says="mass outage: 40 of 50 servers fell silent",
                more=[("Look first at", "the network, and this receiver")],
                among="timeline?kind=late&since=2026-01-31T11%3A55%3A00Z"
                "&until=2026-01-31T12%3A05%3A00Z&grouped=false",
            ),
        ),
        (
            "silenced",
            {"until": "2026-01-31T14:00:00Z", "reason": "upgrade", "by": "acme"},
            Tale(
                says="is silenced",
                more=[
                    ("Until", "2026-01-31 14:00:00 UTC"),
                    ("Reason", "upgrade"),
                    ("By", "acme"),
                ],
            ),
        ),
        (
            "silenced",
            {"until": "2026-01-31T12:00:00Z", "reason": "upgrade", "by": "acme"},
            Tale(
                says="is not silenced any more",
                more=[("Reason", "upgrade"), ("By", "acme")],
            ),
        ),
        (
            "acknowledged",
            {"kind": "down", "by": "acme"},
            Tale(
                says="alarm acknowledged",
                more=[("Alarm", "down"), ("By", "acme")],
            ),
        ),
        (
            "labelled",
            {"labels": {"gained": ["eu", "gold"], "lost": []}, "note": "changed", "by": "acme"},
            Tale(
                says="labels or note changed",
                more=[("Added", "eu, gold"), ("Note", "changed"), ("By", "acme")],
            ),
        ),
        (
            "labelled",
            {"labels": {"gained": [], "lost": ["eu"]}},
            Tale(says="labels or note changed", more=[("Removed", "eu")]),
        ),
    ],
)
def test_event_has_a_sentence_and_details(
    kind: str, details: dict[str, Any], expected: Tale
) -> None:
    event = Event(kind=EventKind(kind), at=NOW, server_id="s", details=details)

    assert expected == wording.tale(event)


@pytest.mark.parametrize(
    ("kind", "details", "expected"),
    [
        (
            "silenced",
            {"query": "stage:staging", "until": None, "reason": "nights", "by": "acme"},
            Tale(
                says="Alarms of stage:staging are silenced",
                more=[("Until", "somebody ends it"), ("Reason", "nights"), ("By", "acme")],
            ),
        ),
        (
            "silenced",
            {"query": "", "until": "2026-01-31T12:00:00Z", "reason": "nights", "by": "acme"},
            Tale(
                says="All alarms are not silenced any more",
                more=[("Reason", "nights"), ("By", "acme")],
            ),
        ),
        (
            "acknowledged",
            {"kind": "fleet_silent", "by": "acme"},
            Tale(
                says="alarm acknowledged",
                more=[("Alarm", "fleet_silent"), ("By", "acme")],
            ),
        ),
        (
            "undelivered",
            {"channel": "Mail", "title": "acme is down", "error": "timed out"},
            Tale(
                says="message not delivered",
                more=[
                    ("Channel", "Mail"),
                    ("Message", "acme is down"),
                    ("Last error", "timed out"),
                ],
            ),
        ),
    ],
)
def test_event_of_no_server_is_a_whole_sentence(
    kind: str, details: dict[str, Any], expected: Tale
) -> None:
    event = Event(kind=EventKind(kind), at=NOW, server_id=None, details=details)

    assert expected == wording.tale(event)


def test_changed_tools_are_counted() -> None:
    details = {"capabilities": {"gained": ["a", "b"], "lost": ["c"]}}
    event = Event(kind=EventKind.CAPABILITIES_CHANGED, at=NOW, server_id="s", details=details)

    tale = wording.tale(event)

    assert "tools changed: +2 \N{MINUS SIGN}1" == tale.says
    assert [("Added", "a, b"), ("Removed", "c")] == tale.more


def test_too_many_copies_of_a_database_are_counted() -> None:
    details = {"database_uuid": "u", "servers": 51}
    event = Event(kind=EventKind.COPIES, at=NOW, server_id=None, details=details)

    tale = wording.tale(event)

    assert "51 servers have one database UUID" == tale.says
    assert ("Database UUID", "u") == tale.more[0]


@pytest.mark.parametrize(
    ("kind", "details", "expected"),
    [
        ("rebuilt", {"superseded_by": "t"}, "rebuilt or moved:"),
        ("node_left", {"node_of": "t"}, "one of the nodes"),
    ],
)
def test_sentence_about_a_superseded_server_says_how_it_was_superseded(
    kind: str, details: dict[str, Any], expected: str
) -> None:
    earlier = NOW - timedelta(hours=1)
    happened = [
        Event(kind=EventKind.UPDATED, at=NOW, server_id="s"),
        Event(kind=EventKind.REBUILT, at=NOW, server_id="another"),
        Event(kind=EventKind(kind), at=earlier, server_id="s", details=details),
        Event(kind=EventKind.REBUILT, at=NOW - timedelta(days=1), server_id="s"),
    ]

    superseded = wording.superseded("s", happened)

    assert expected in superseded.says
    assert earlier == superseded.at


def test_sentence_about_a_superseded_server_needs_no_event() -> None:
    superseded = wording.superseded("s", [])

    assert "taken over the database" in superseded.says
    assert superseded.at is None


def test_time_of_another_day_has_its_date() -> None:
    assert "12:00:00" == wording.clock(NOW, NOW)
    assert "30 Jan 12:00:00" == wording.clock(NOW - timedelta(days=1), NOW)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([("staging", 5)], ["only staging"]),
        ([("", 5)], ["only without stage"]),
        ([("staging", 1200), ("", 1)], ["1,200 staging", "1 without stage"]),
        ([(each, 1) for each in "abcd"], ["1 a", "1 b", "1 c"]),
    ],
)
def test_stages_of_servers_are_counted(found: list[tuple[str, int]], expected: list[str]) -> None:
    assert expected == wording.counted_stages(found)


def test_stages_say_of_how_many_servers_they_are() -> None:
    totals = {"production": 1200, "staging": 1}

    assert ["2 of 1,200 production"] == wording.counted_stages([("production", 2)], totals)
    # Those of staging were counted at another moment.
    assert ["2 staging", "1 of 1,200 production", "1 dev"] == wording.counted_stages(
        [("staging", 2), ("production", 1), ("dev", 1)], totals
    )


@pytest.mark.parametrize(("database", "expected"), [("acme", "acme"), (" ", "s"), (None, "s")])
def test_server_is_called_by_its_database(database: str | None, expected: str) -> None:
    assert expected == wording.called(evolve(RECORD, database=database))


def test_servers_of_the_same_name_are_called_by_their_ids() -> None:
    names = {"odoo_web-1": "odoo", "odoo_web-2": "odoo", "acme_web-1": "acme"}
    records = [evolve(RECORD, server_id=each, database=name) for each, name in names.items()]
    group = Group(id=1, kind=EventKind.DOWN, server_ids=(*names, "x"), first=NOW, last=NOW)

    apart = {"odoo_web-1": "odoo_web-1", "odoo_web-2": "odoo_web-2", "acme_web-1": "acme"}
    assert apart == wording.apart(names) == wording.called_apart(records)
    assert {**apart, "x": "x"} == wording.named_apart(group, names)


def test_server_with_the_id_of_another_for_a_name_is_called_by_its_own_id() -> None:
    assert {"a": "x", "b": "odoo", "c": "c"} == wording.apart({"a": "x", "b": "odoo", "c": "a"})
    assert {"a": "a", "b": "b"} == wording.apart({"a": "a", "b": "b"})


def test_title_begins_with_a_capital_letter_and_is_otherwise_unchanged() -> None:
    assert "Two machines under one ID" == wording.titled("two machines under one ID")
    assert not wording.titled("")


def test_each_kind_of_event_has_an_importance() -> None:
    assert sorted(EventKind) == sorted(wording.BY_IMPORTANCE)


def test_each_kind_of_event_has_a_topic() -> None:
    assert {*EventKind} == {kind for kinds in wording.TOPICS.values() for kind in kinds}


def test_group_of_events_says_what_became_what_with_numbers() -> None:
    odoo = [
        Alike({"odoo_version": {"from": f"{n}.0", "to": "19.0"}}, 20 - n) for n in range(13, 19)
    ]
    titles = {"tools": {"confirm": ["title", "description"], "x" * 60: ["title"]}}
    tools = [Alike(titles, 3), Alike({"tools": {"confirm": ["title"]}}, 2)]
    stages = [Alike({"odoo_stage": {"from": "staging", "to": "production"}}, 3)]
    first = [Alike({"capabilities": {"from": None, "to": ["a"]}}, 3)]

    assert lines_of(EventKind.UPGRADED, odoo) == [
        (
            "Odoo",
            "13.0 → 19.0 (7), 14.0 → 19.0 (6), 15.0 → 19.0 (5), 16.0 → 19.0 (4) and 2 more",
        )
    ]
    assert lines_of(EventKind.TOOLS_CHANGED, tools) == [
        ("Other title", f"confirm, {'x' * 49}… (3)"),
        ("Other description", "confirm (3)"),
    ]
    assert [("Stage", "staging → production")] == lines_of(EventKind.STAGE_CHANGED, stages)
    assert [] == lines_of(EventKind.CAPABILITIES_CHANGED, first)
    assert [] == lines_of(EventKind.UPGRADED, [])


def lines_of(kind: EventKind, alike: list[Alike]) -> list[tuple[str, str]]:
    group = Group(id=1, kind=kind, server_ids="abc", first=NOW, last=NOW, alike=alike)
    return wording.tale_of_many(group).more


def test_sentence_about_several_servers_is_in_the_plural() -> None:
    assert "are back" == wording.many(EventKind.RECOVERED)
    assert "went down" == wording.many(EventKind.DOWN)


def test_headings_are_counted_with_a_sign() -> None:
    assert "1 became late" == wording.counted(EventKind.LATE, 1)
    assert "5,000+ became late" == wording.counted(EventKind.LATE, 5000, "+")
    assert "50 \N{MULTIPLICATION SIGN} tools changed" == wording.counted(
        EventKind.CAPABILITIES_CHANGED, 50
    )


def test_every_kind_of_event_has_a_sentence() -> None:
    for kind in EventKind:
        assert wording.tale(Event(kind=kind, at=NOW, server_id="s")).says


def test_neighbouring_bars_of_one_state_are_drawn_as_one_line() -> None:
    spans = [Span("up", NOW - timedelta(hours=4), NOW)]

    strip = wording.strip(spans, start=NOW - timedelta(hours=4), end=NOW, bars=24)

    assert {"up": "M0 5h95"} == strip.paths


def test_strip_bar_shows_its_worst_state() -> None:
    start = NOW - timedelta(hours=4)
    spans = [
        Span("up", start + timedelta(hours=1), start + timedelta(hours=2, minutes=10)),
        Span(
            "late", start + timedelta(hours=2, minutes=10), start + timedelta(hours=2, minutes=12)
        ),
        Span("up", start + timedelta(hours=2, minutes=12), NOW),
    ]

    strip = wording.strip(spans, start=start, end=NOW, bars=4)

    assert ["unknown", "up", "late", "up"] == [bar.state for bar in strip.bars] == strip.states
    assert "31 Jan 10:00 to 11:00 UTC: late" == strip.bars[2].title
    assert {"unknown": "M0 5h3", "up": "M4 5h3M12 5h3", "late": "M8 5h3"} == strip.paths
    assert "up for 2 h 58 min, late for 2 min" == strip.says
    moment = evolve(strip, times={**strip.times, "flapping": timedelta()})
    assert strip.says == moment.says


def test_empty_strip_says_not_known() -> None:
    strip = wording.strip([], start=NOW - timedelta(hours=1), end=NOW, bars=1)

    assert "not known" == strip.says

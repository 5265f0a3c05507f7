"""The messages: what an operator at night must know, and names that pretend to be more."""

import json
import re
import unicodedata
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from alarm_world import NOON, World, channel, rule
from contract import Event, EventKind, IpAddresses, State
from contract.fields import format_moment
from receiver.domain.alerts.ids import new_id, new_message_id
from receiver.domain.alerts.messages import texts
from receiver.domain.alerts.messages.spelling import duration, names, safe
from receiver.domain.alerts.values import TELLABLE, Alarm, Channel, Delivery, DeliveryKind, Rule

MINUTE = timedelta(minutes=1)
ACME = "acme_web-1"
EVERYTHING = rule(*TELLABLE - {"down", "late", "fleet_silent"}, after=timedelta())


def fleet_of(*rules: Rule, **options: Any) -> World:
    fleet = World(*rules, **options)
    fleet.add(
        ACME,
        odoo_version="19.0",
        version="1.2.0",
        ip_addresses=IpAddresses(primary="10.0.0.5", all=("10.0.0.5",)),
        port=8069,
        status="ok",
    )
    return fleet


def told(fleet: World, event: Event) -> Delivery:
    """The message about an event."""
    fleet.happen(event)
    fleet.wait(minutes=1)
    return fleet.deliveries[-1]


# Down, and back


def test_message_about_a_server_that_is_down_says_all_that_an_operator_needs() -> None:
    fleet = fleet_of(rule(name="Production is down"))
    fleet.wait(minutes=2)

    fleet.go(State.DOWN, ACME)
    fleet.wait(minutes=6)

    assert (
        """\
acme (production) on web-1 is down: silent for more than four heartbeats.
Since: 2026-01-31 13:02:00 UTC+01:00, 5 min 30 s ago
Last seen: 2026-01-31 13:00:00 UTC+01:00
Last known: Odoo 19.0, MCP server 1.2.0, at 10.0.0.5:8069, status ok
Server ID: acme_web-1
Page: https://fleet.example/server/acme_web-1

Rule: Production is down
All alarms: https://fleet.example/alerts"""
        == fleet.deliveries[0].text
    )


def test_message_about_a_server_that_is_back_says_from_when_to_when_it_was_away() -> None:
    fleet = fleet_of(rule())
    fleet.public_url = None
    fleet.go(State.DOWN, ACME)
    fleet.wait(hours=2)

    fleet.go(State.UP, ACME)
    fleet.wait(minutes=1)

    assert (
        """\
acme (production) on web-1 is back after 2 h.
From: 2026-01-31 13:00:00 UTC+01:00
Until: 2026-01-31 15:00:00 UTC+01:00
Last seen before: 2026-01-31 13:00:00 UTC+01:00
Last known: Odoo 19.0, MCP server 1.2.0, at 10.0.0.5:8069, status ok
Server ID: acme_web-1

Rule: Rule r"""
        == fleet.deliveries[1].text
    )


def test_message_about_several_servers_has_a_paragraph_for_each() -> None:
    fleet = fleet_of(rule())
    fleet.add("blue_web-1", odoo_stage="", endpoint_url="https://blue.example/mcp", port=8069)

    fleet.go(State.DOWN, ACME, "blue_web-1")
    fleet.wait(minutes=6)

    since = "Since: 2026-01-31 13:00:00 UTC+01:00, 5 min 30 s ago"
    seen = "Last seen: 2026-01-31 13:00:00 UTC+01:00"
    assert (
        f"""\
- acme (production) on web-1 is down: silent for more than four heartbeats.
  {since}; {seen}
  https://fleet.example/server/acme_web-1

- blue on web-1 is down: silent for more than four heartbeats.
  {since}; {seen}
  https://fleet.example/server/blue_web-1

Rule: Rule r
All alarms: https://fleet.example/alerts"""
        == fleet.deliveries[0].text
    )


def test_message_names_twenty_servers_and_counts_the_others() -> None:
    fleet = World(rule())
    fleet.public_url = None
    for n in range(45):
        fleet.add(f"db{n:02}_web")

    fleet.go(State.DOWN, *fleet.rows)
    fleet.wait(minutes=6)

    (delivery,) = fleet.deliveries
    assert "45 down: db00, db01, db02 and 42 more" == delivery.title
    assert 20 == delivery.text.count("is down")
    assert 20 == delivery.text.count("  Server ID: db")
    assert "\n\nand 25 more\n\n" in delivery.text
    assert 45 == len(delivery.body["data"]["alarms"])


def test_webhook_json_names_a_hundred_alarms_and_counts_all() -> None:
    fleet = World(rule())
    for n in range(130):
        fleet.add(f"db{n}_web")

    fleet.go(State.DOWN, *fleet.rows)
    fleet.wait(minutes=6)

    data = fleet.deliveries[0].body["data"]
    assert (130, 100) == (data["total"], len(data["alarms"]))


def test_message_about_many_servers_names_those_in_production_first() -> None:
    """One without a stage counts as if it were in production."""
    fleet = World(rule())
    stages = {**{f"s{n:02}": "staging" for n in range(25)}, "prod": "production", "none": ""}
    for name, stage in stages.items():
        fleet.add(f"db-{name}_web", odoo_stage=stage)

    fleet.go(State.DOWN, *fleet.rows)
    fleet.wait(minutes=6)

    (message,) = fleet.deliveries
    assert "27 down: db-prod, db-none, db-s00 and 24 more" == message.title
    named = re.findall(r"^- (\S+)", message.text, re.MULTILINE)
    assert ["db-prod", "db-none", *(f"db-s{n:02}" for n in range(18))] == named


def test_title_of_alarms_of_several_kinds_counts_each_kind() -> None:
    fleet = fleet_of(rule("moved", "twin", after=timedelta()))

    fleet.change(ACME, hostname="web-2", twin_of="acme_web-9")
    fleet.change(ACME, hostname="web-3")
    fleet.wait(minutes=1)

    assert "2 moved, 1 twin: acme" == fleet.titles()[0]


@pytest.mark.parametrize("server_id", [".", "..", "a/b c?", "ä"])
def test_message_link_leads_to_the_page_of_any_server(server_id: str) -> None:
    fleet = World(rule())
    fleet.public_url = "https://fleet.example/"
    fleet.add(server_id, database="", hostname="")

    fleet.go(State.DOWN, server_id)
    fleet.wait(minutes=6)

    url = {
        ".": "by-id/server?id=.",
        "..": "by-id/server?id=..",
        "a/b c?": "server/a%2Fb%20c%3F",
        "ä": "server/%C3%A4",
    }[server_id]
    assert f"Page: https://fleet.example/{url}\n" in fleet.deliveries[0].text
    assert f"Down: {server_id}" == fleet.titles()[0]


def test_times_are_in_utc_when_the_time_zone_of_the_channel_is_gone() -> None:
    fleet = fleet_of(rule(), channels=[channel(time_zone="Europe/Atlantis")])

    fleet.go(State.DOWN, ACME)
    fleet.wait(minutes=6)

    assert "Since: 2026-01-31 12:00:00 UTC+00:00, " in fleet.deliveries[0].text


# JSON


def test_webhook_gets_the_alarm_with_the_event_as_it_is_in_the_api() -> None:
    fleet = fleet_of(rule(name="Production is down"))
    fleet.go(State.DOWN, ACME)
    fleet.wait(minutes=6)

    (delivery,) = fleet.deliveries
    data = delivery.body["data"]
    assert ("fleet.alarm", "2026-01-31T12:05:30Z") == (
        delivery.body["type"],
        delivery.body["timestamp"],
    )
    assert (delivery.title, delivery.text) == (data["title"], data["text"])
    assert "https://fleet.example/alerts" == data["url"]
    (alarm,) = data["alarms"]
    assert {
        "id": 1,
        "kind": "down",
        "rule": {"id": "r", "name": "Production is down"},
        "server_id": ACME,
        "begun_at": "2026-01-31T12:00:00Z",
        "told_at": "2026-01-31T12:05:30Z",
        "ended_at": None,
        "acknowledged_at": None,
        "acknowledged_by": None,
        "ending": None,
        "key": None,
        "servers": [],
        "url": "https://fleet.example/server/acme_web-1",
    } == {name: value for name, value in alarm.items() if name not in {"event", "server"}}
    assert fleet.events[0].to_json() == alarm["event"]
    assert "10.0.0.5" == alarm["server"]["ip_address"]
    assert delivery.body == json.loads(json.dumps(delivery.body))


def test_webhook_json_types_are_alarm_reminder_and_end() -> None:
    fleet = fleet_of(rule(remind_every=60 * MINUTE))
    fleet.go(State.DOWN, ACME)
    fleet.wait(minutes=70)
    fleet.go(State.UP, ACME)
    fleet.wait(minutes=1)

    assert ["fleet.alarm", "fleet.reminder", "fleet.end"] == [
        each.body["type"] for each in fleet.deliveries
    ]
    (alarm,) = fleet.deliveries[2].body["data"]["alarms"]
    assert ("recovered", "2026-01-31T13:10:00Z") == (alarm["ending"], alarm["ended_at"])


def test_message_about_no_server_has_no_link() -> None:
    fleet = fleet_of(rule("receiver_away", after=timedelta()))
    fleet.pause = (NOON - 2 * MINUTE, NOON)
    fleet.wait(minutes=1)

    (delivery,) = fleet.deliveries
    assert None is delivery.body["data"]["alarms"][0]["url"]
    assert """\
The receiver was not running: what happened meanwhile was not seen.
From: 2026-01-31 12:58:00 UTC+01:00
Until: 2026-01-31 13:00:00 UTC+01:00""" == delivery.text.partition("\n\n")[0]


# What is particular about a kind


@pytest.mark.parametrize(
    ("kind", "details", "lines"),
    [
        ("moved", {"hostname": {"from": "a", "to": "b"}}, ["Hostname: a → b"]),
        (
            "moved",
            {"ip_addresses": {"from": {"primary": "::1"}, "to": {"primary": "10.0.0.1"}}},
            ["Ip addresses: ::1 → 10.0.0.1"],
        ),
        ("updated", {"status": {"from": None, "to": "ok"}}, ["Status: unknown → ok"]),
        (
            "capabilities_changed",
            {"capabilities": {"gained": ["a", "b"], "lost": []}},
            ["Capabilities gained: a, b"],
        ),
        (
            "capabilities_changed",
            {"capabilities": {"gained": [*"abcdefg"], "lost": ["h"]}},
            ["Capabilities gained: a, b, c, d, e and 2 more", "Capabilities lost: h"],
        ),
        ("upgraded", {"truncated": True}, []),
        ("tools_changed", {"tools": {"search": ["title"]}}, ["Tools: search"]),
        ("tools_changed", {"truncated": True}, []),
        ("rebuilt", {"superseded_by": "acme_web-2"}, ["Its successor: acme_web-2"]),
        ("node", {"node_of": "acme_web-2"}, ["Node of: acme_web-2"]),
        ("node", {"truncated": True}, []),
        ("calm", {"turns": 42}, ["Turned: 42 times"]),
        ("calm", {"truncated": True}, []),
        ("refused_write", {"key": "k3J", "name": "acme"}, ["Key: acme (k3J)"]),
        ("left", {"last_seen": "2026-01-31T12:00:00Z"}, []),
    ],
)
def test_message_about_an_event_says_what_has_changed(
    kind: str, details: dict[str, Any], lines: list[str]
) -> None:
    fleet = fleet_of(EVERYTHING)
    event = Event(kind=EventKind(kind), at=NOON, server_id=ACME, details=details)

    said = told(fleet, event).text.split("\n")

    assert "At: 2026-01-31 13:00:00 UTC+01:00" == said[1]
    assert [*lines, "Last seen: 2026-01-31 13:00:00 UTC+01:00"] == said[2 : len(lines) + 3]


def test_message_about_copies_of_a_database_counts_the_copies() -> None:
    details = {"database_uuid": "6f1d", "servers": 51}
    event = Event(kind=EventKind.COPIES, at=NOON, server_id=None, details=details)

    said = told(fleet_of(EVERYTHING), event).text.split("\n")

    assert "The fleet has too many servers with one database UUID to tell them apart." == said[0]
    assert ["Servers: 51", "Database UUID: 6f1d"] == said[2:4]


def alarm(kind: str, /, *, server_id: str | None = ACME, **details: Any) -> Alarm:
    event = {"id": 1, "kind": kind, "at": format_moment(NOON), "details": details}
    return Alarm(
        id=1,
        rule_id="r",
        channel_id="c",
        kind=kind,
        server_id=server_id,
        event_id=1,
        begun_at=NOON,
        due_at=NOON,
        ended_at=NOON,
        known={"event": {**event, "server_id": server_id}},
    )


def occasion(kind: DeliveryKind = DeliveryKind.ALARM, **said: Any) -> texts.Occasion:
    given: dict[str, Any] = {"channel": channel(), "rules": {"r": rule()}, "public_url": None}
    return texts.Occasion(kind=kind, now=NOON + MINUTE, **given | said)


@pytest.mark.parametrize(
    ("found", "title", "lines"),
    [
        (
            alarm("silenced", until="2026-01-31T13:00:00Z", reason="upgrade", by="ada"),
            f"Silenced: {ACME}",
            ["Silenced until: 2026-01-31 14:00:00 UTC+01:00", "Reason: upgrade", "By: ada"],
        ),
        (
            alarm("silenced", server_id=None, until=None, reason="upgrade", by="ada", query=""),
            "Silenced: The fleet",
            ["Reason: upgrade", "By: ada"],
        ),
        (alarm("acknowledged", kind="down", by="ada"), f"Acknowledged: {ACME}", ["By: ada"]),
        (
            alarm("labelled", labels={"gained": ["a"], "lost": ["b"]}, note="removed", by="ada"),
            f"Labels changed: {ACME}",
            ["Added: a", "Removed: b", "Note: removed", "By: ada"],
        ),
        (alarm("labelled"), f"Labels changed: {ACME}", []),
        (
            alarm("undelivered", server_id=None, channel="Mail", title="Down: acme", error="550"),
            "Undelivered: A message to a channel",
            ["Channel: Mail", "Message: Down: acme", "Error: 550"],
        ),
    ],
)
def test_message_about_alerts_themselves_says_who_and_why(
    found: Alarm, title: str, lines: list[str]
) -> None:
    made = texts.message([found], occasion())

    assert title == made.title
    assert lines == made.text.split("\n")[2 : 2 + len(lines)]


@pytest.mark.parametrize("kind", sorted(TELLABLE))
def test_each_kind_of_alarm_has_a_wording_in_messages(kind: str) -> None:
    known = {
        "event": {"details": {}},
        "key": {"id": "k", "name": "CI", "expires_at": "2026-02-10T12:00:00Z"},
        "silent": 5,
        "of": 5,
        "still_away": 0,
    }
    found = evolve(alarm(kind), known=known, ending="other")

    for each in (DeliveryKind.ALARM, DeliveryKind.REMINDER, DeliveryKind.END):
        made = texts.message([found, evolve(found, id=2, event_id=2)], occasion(each))
        assert re.fullmatch(r"[A-Z2][^\n]+", made.title)
        made = texts.message([found], occasion(each))
        assert re.fullmatch(r"[A-Z2][^\n]+", made.title)
        assert made.text.partition("\n")[0].endswith(".")


def test_all_kinds_of_events_have_a_wording_in_messages() -> None:
    assert {kind.value for kind in EventKind} <= TELLABLE


def test_message_about_a_key_says_when_it_expires() -> None:
    known = {
        "key": {"id": "k3J", "name": "CI <b>", "expires_at": "2026-02-10T12:00:00Z"},
    }
    found = evolve(alarm("key_expires", server_id=None), known=known, ended_at=None)

    made = texts.message([found], occasion())

    assert "Key expires: CI \u2039b\u203a" == made.title
    assert (
        """\
The key CI \u2039b\u203a (k3J) expires soon.
Expires: 2026-02-10 13:00:00 UTC+01:00

Rule: Rule r"""
        == made.text
    )


def test_end_of_an_alarm_about_a_key_says_what_became_of_the_key() -> None:
    known = {"key": {"id": "k3J", "name": "CI", "expires_at": "2026-02-10T12:00:00Z"}}
    found = evolve(alarm("key_expires", server_id=None), known=known, ending="renewed")

    made = texts.message([found], occasion(DeliveryKind.END))

    assert "Over: The key CI (k3J) does not expire soon any more" == made.title


def test_title_of_several_keys_names_them() -> None:
    known = {"key": {"id": "k3J", "name": "CI", "expires_at": "2026-02-10T12:00:00Z"}}
    found = evolve(alarm("key_expires", server_id=None), known=known, subject="k3J")

    made = texts.message([found, evolve(found, id=2, subject="k4J")], occasion())

    assert "2 key expires: CI" == made.title


def test_message_says_which_server_has_taken_the_place_of_another() -> None:
    found = evolve(alarm("down"), ended_at=NOON + MINUTE, ending="rebuilt")

    made = texts.message([found], occasion(DeliveryKind.END))

    assert (
        f"Over: {ACME} was rebuilt, and another server has taken its place after 1 min"
        == made.title
    )


def test_message_names_no_rule_that_is_gone() -> None:
    made = texts.message([alarm("left")], occasion(rules={}))

    assert "Rule" not in made.text
    assert {"id": "r", "name": None} == made.body["data"]["alarms"][0]["rule"]


# Tests of channels, and deliveries


@pytest.mark.parametrize("url", [None, "https://fleet.example"])
def test_message_that_tests_a_channel_says_so(url: str | None) -> None:
    mail = channel(name="Mail to\nops")

    made = texts.test_message(mail, now=NOON, public_url=url)

    assert "Test: this channel works" == made.title
    assert "through the channel Mail to\ufffdops. Nothing is wrong." in made.text
    assert (url is not None) == ("\nAlerts: https://fleet.example/alerts" in made.text)
    assert ("fleet.test", "2026-01-31T12:00:00Z") == (made.body["type"], made.body["timestamp"])


def test_delivery_has_an_id_of_its_own_and_is_due_at_once() -> None:
    made = texts.test_message(channel(), now=NOON, public_url=None)

    one, other = (
        texts.delivery(DeliveryKind.TEST, made, channel_id="c", thread="t", now=NOON)
        for _ in range(2)
    )

    assert re.fullmatch("msg_[A-Za-z0-9]{27}", one.id)
    assert one.id != other.id
    assert ("c", "t", NOON, NOON, 0, None) == (
        one.channel_id,
        one.thread,
        one.created_at,
        one.next_at,
        one.attempts,
        one.sent_at,
    )
    assert (made.title, made.text, made.body) == (one.title, one.text, one.body)


def test_delivery_ids_are_random_letters_and_digits() -> None:
    assert 1000 == len({new_id() for _ in range(1000)})
    assert re.fullmatch("[A-Za-z0-9]{10}", new_id())
    assert re.fullmatch("msg_[A-Za-z0-9]{27}", new_message_id())


# Names that pretend to be more


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("acme", "acme"),
        ("acme\nRule: none", "acme\ufffdRule: none"),
        ("a\u202eb\u2066c\u200bd\u2028e", "a\ufffdb\ufffdc\ufffdd\ufffde"),
        ("<b>&amp;[x](https://evil.example)", None),
        ("@everyone <!channel> `x` *y* |z| ~a~ #b \\c", None),
        ("a\u00a0\u3000 b", "a b"),
        ("", "(blank)"),
        ("  ", "(blank)"),
        ("x" * 80, "x" * 80),
        ("x" * 81, "x" * 79 + "…"),
        ("x" * 100_000, "x" * 79 + "…"),
    ],
)
def test_name_in_a_message_is_shown_on_one_line_and_without_markup(
    text: str, shown: str | None
) -> None:
    assert shown in {None, safe(text)}
    assert not re.search(r"[<>\[\]`*|~@&#\\\n]|://", safe(text))


@given(st.text(max_size=200), st.integers(2, 100))
def test_any_name_in_a_message_is_short_visible_and_on_one_line(text: str, most: int) -> None:
    shown = safe(text, most)

    assert len(shown) <= max(most, len("(blank)"))
    assert 1 == len(shown.splitlines())
    assert not {unicodedata.category(each) for each in shown} & {"Cc", "Cf", "Zl", "Zp", "Cs"}
    assert not re.search(r"[<>\[\]`*|~@&#\\]|://", shown)


hostile = st.sampled_from(
    ["\nRule: x\n", "\r\n\r\n- all is well", "\u202e", "https://evil.example/", "<!channel>", ""]
) | st.text(max_size=20)


@given(st.tuples(hostile, hostile, hostile, hostile, hostile), st.integers(1, 3))
def test_line_breaks_in_names_add_no_line_to_a_message(
    said: tuple[str, str, str, str, str], servers: int
) -> None:
    fields = ("database", "hostname", "odoo_stage", "version", "status")
    server = dict(zip(fields, said, strict=True))
    tame = dict.fromkeys(fields, "x")

    def lines(known: dict[str, str]) -> int:
        found = [
            evolve(
                alarm("moved", hostname={"from": known["hostname"], "to": known["status"]}),
                id=number,
                event_id=number,
                server_id=f"{known['database']}_{number}",
                known={
                    "server": known,
                    "event": {"details": {known["version"]: {"gained": [known["status"]]}}},
                },
            )
            for number in range(1, servers + 1)
        ]
        made = texts.message(found, occasion(rules={"r": rule(name=known["status"])}))
        assert 1 == len(made.title.splitlines())
        return len(made.text.splitlines())

    full = {name: value or "x" for name, value in server.items()}
    assert lines(tame) == lines(full)


# Times and durations


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-5, "0 s"),
        (0, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3600 + 61, "1 h 1 min"),
        (86400 + 59, "1 d"),
        (3 * 86400 + 2 * 3600 + 60, "3 d 2 h"),
    ],
)
def test_duration_has_its_two_largest_units(seconds: float, said: str) -> None:
    assert said == duration(timedelta(seconds=seconds))


def test_list_of_names_shows_the_first_five_and_counts_the_others() -> None:
    assert "a, b, c, d, e" == names([*"abcde"])
    assert "a, b, c, d, e and 1 more" == names([*"abcdef"])


@pytest.mark.parametrize(
    ("moment", "said"),
    [
        (datetime(2026, 3, 29, 0, 59, 59, tzinfo=timezone.utc), "2026-03-29 01:59:59 UTC+01:00"),
        (datetime(2026, 3, 29, 1, tzinfo=timezone.utc), "2026-03-29 03:00:00 UTC+02:00"),
        (datetime(2026, 10, 25, 0, 30, tzinfo=timezone.utc), "2026-10-25 02:30:00 UTC+02:00"),
        (datetime(2026, 10, 25, 1, 30, tzinfo=timezone.utc), "2026-10-25 02:30:00 UTC+01:00"),
    ],
)
def test_message_time_has_its_offset_when_clocks_are_set(moment: datetime, said: str) -> None:
    berlin: Channel = channel()
    found = evolve(alarm("moved"), begun_at=moment, ended_at=moment)

    assert f"At: {said}" in texts.message([found], occasion(channel=berlin)).text

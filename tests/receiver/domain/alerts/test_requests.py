"""Requests for channels, rules and silences: what is read of them, and what is refused."""

import base64
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import jsonschema
import pytest

from contract import InvalidMessage, json_schema
from receiver.domain.alerts.requests import (
    ChannelChange,
    ChannelFields,
    NewChannel,
    NewRule,
    NewSilence,
    ShortSilence,
)
from receiver.domain.alerts.values import Channel, ChannelKind, Rule, Silence
from receiver.domain.filter_text import MAX_LENGTH

NOW = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
SECRET = "whsec_" + base64.b64encode(bytes(range(24))).decode()
CHANNEL = {"name": "operators", "kind": "webhook", "address": "https://example.com/hook"}
MAIL = {**CHANNEL, "kind": "apprise", "address": "mailtos://u:pass@example.com"}
RULE = {"name": "Down", "kinds": ["down"], "channel_id": "abcdefghij"}
WORDS = " ".join(f"w{n}" for n in range(51))
SILENCE = {"query": "stage:staging", "duration_seconds": 3600, "reason": "upgrade"}


def made(**changed: Any) -> Channel:
    new = NewChannel.of({**CHANNEL, **changed})
    return new.issue(address=b"sealed", service="example.com", now=NOW)


def refused(read: Callable[[], object]) -> dict[str, str]:
    """The problems of a request, by path."""
    with pytest.raises(InvalidMessage) as caught:
        read()
    return {each.path: each.message for each in caught.value.problems}


def test_channel_has_defaults() -> None:
    channel = made()

    assert channel == Channel(
        id=channel.id,
        name="operators",
        kind=ChannelKind.WEBHOOK,
        address=b"sealed",
        service="example.com",
        per_hour=20,
        report_at=None,
        time_zone="UTC",
        created_at=NOW,
    )


def test_channel_is_read_whole() -> None:
    asked = {"per_hour": 5, "report_at": "0 8 * * 1", "time_zone": "Europe/Berlin"}
    new = NewChannel.of({**MAIL, **asked})

    assert (5, "0 8 * * 1", "Europe/Berlin") == (new.per_hour, new.report_at, new.time_zone)
    assert "mailtos://u:pass@example.com" == new.address


@pytest.mark.parametrize(
    ("address", "read"),
    [
        ("https://example.com/hook", {"url": "https://example.com/hook"}),
        ({"url": "http://a/b"}, {"url": "http://a/b"}),
        ({"url": "http://a/b", "secret": None}, {"url": "http://a/b"}),
        ({"url": "http://a/b", "secret": SECRET}, {"url": "http://a/b", "secret": SECRET}),
    ],
)
def test_address_of_a_webhook_must_be_an_object(address: Any, read: Any) -> None:
    assert read == NewChannel.of({**CHANNEL, "address": address}).address


@pytest.mark.parametrize(
    "address",
    [
        "ftp://hidden.example",
        "hidden",
        "https://hid den",
        {"url": 5},
        {"secret": SECRET},
        {"url": "https://hidden.example", "more": 1},
        ["https://hidden.example"],
        7,
    ],
)
def test_address_that_is_no_webhook_is_refused_without_showing_it(address: Any) -> None:
    problems = refused(lambda: NewChannel.of({**CHANNEL, "address": address}))

    assert "expected the address of a webhook" in problems["address"]
    assert "hid" not in str(problems)


@pytest.mark.parametrize(
    "secret",
    ["hidden", f"{SECRET}!", "whsec_hidden", "whsec_" + base64.b64encode(bytes(65)).decode(), 5],
)
def test_wrong_secret_of_a_webhook_is_refused_without_showing_it(secret: Any) -> None:
    address = {"url": "https://example.com", "secret": secret}
    problems = refused(lambda: NewChannel.of({**CHANNEL, "address": address}))

    assert "whsec_ and the base64 of 24 to 64 random bytes" in problems["address"]
    assert "hidden" not in str(problems)


@pytest.mark.parametrize("address", ["hidden", "hid den://x", "a://b c", {"url": "https://a"}, 5])
def test_address_that_apprise_cannot_read_is_refused_without_showing_it(address: Any) -> None:
    problems = refused(lambda: NewChannel.of({**MAIL, "address": address}))

    assert "expected a URL as Apprise reads it" in problems["address"]
    assert "hid" not in str(problems)


@pytest.mark.parametrize(
    ("changed", "path", "why"),
    [
        ({"name": ""}, "name", "1 to 100 printable characters"),
        ({"name": " "}, "name", "1 to 100 printable characters"),
        ({"name": "a\nb"}, "name", "1 to 100 printable characters"),
        ({"kind": "email"}, "kind", "one of webhook, apprise"),
        ({"kind": ["webhook"]}, "kind", "one of webhook, apprise"),
        ({"address": None}, "address", "expected the address of a webhook"),
        ({"per_hour": 0}, "per_hour", "a whole number of messages from 1 to 1,000"),
        ({"per_hour": 1.5}, "per_hour", "a whole number of messages from 1 to 1,000"),
        ({"per_hour": True}, "per_hour", "a whole number of messages from 1 to 1,000"),
        ({"per_hour": float("inf")}, "per_hour", "a whole number of messages from 1 to 1,000"),
        ({"per_hour": "5"}, "per_hour", "a whole number of messages from 1 to 1,000"),
        ({"report_at": "soon"}, "report_at", "A cron expression has 5 fields"),
        ({"time_zone": "Europe"}, "time_zone", "an IANA time zone such as Europe/Berlin"),
        ({"time_zone": "../etc/passwd"}, "time_zone", "an IANA time zone"),
        ({"time_zone": 5}, "time_zone", "an IANA time zone"),
        ({"time_zone": "a" * 101}, "time_zone", "an IANA time zone"),
        ({"secret": SECRET}, "secret", "is no field of a channel; these are: name, kind, address"),
    ],
)
def test_invalid_channel_request_is_refused(changed: Any, path: str, why: str) -> None:
    assert why in refused(lambda: NewChannel.of({**CHANNEL, **changed}))[path]


@pytest.mark.parametrize("asked", [None, [], "webhook", 5])
def test_alert_request_that_is_no_object_is_refused(asked: Any) -> None:
    for read in (NewChannel.of, NewRule.of, ShortSilence.of):
        assert "expected an object" in refused(lambda read=read: read(asked))[""]  # type: ignore[misc]


def test_channel_is_changed_where_the_request_says_so() -> None:
    channel = made(report_at="0 8 * * 1")
    asked = {"name": "others", "report_at": None, "address": "https://example.com/other"}
    change = ChannelChange.of(asked, channel)

    assert {
        "name": "others",
        "report_at": None,
        "address": {"url": "https://example.com/other"},
    } == change.values
    assert "other" not in repr(change)


@pytest.mark.parametrize(
    ("asked", "path", "why"),
    [
        ({}, "", "says nothing to change; it may be: name, address, per_hour, report_at"),
        ({"name": None}, "name", "may be left out, but not be null"),
        ({"time_zone": None}, "time_zone", "may be left out, but not be null"),
        ({"address": None}, "address", "may be left out, but not be null"),
        ({"address": "mailto://a"}, "address", "expected the address of a webhook"),
        ({"report_at": "soon"}, "report_at", "A cron expression has 5 fields"),
        ({"kind": "apprise"}, "kind", "is no field of a channel that may be changed"),
    ],
)
def test_invalid_change_request_of_a_channel_is_refused(asked: Any, path: str, why: str) -> None:
    assert why in refused(lambda: ChannelChange.of(asked, made()))[path]


def test_rule_has_defaults() -> None:
    rule = NewRule.of(RULE).issue(now=NOW)

    assert rule == Rule(
        id=rule.id,
        name="Down",
        query="",
        kinds=frozenset({"down"}),
        after=timedelta(),
        channel_id="abcdefghij",
        remind_every=None,
        created_at=NOW,
    )


def test_rule_is_read_whole_and_keeps_its_id() -> None:
    asked = {
        "query": '  database:"acme"   stage:production',
        "kinds": ["late", "down", "down"],
        "after_seconds": 300.0,
        "remind_seconds": 3600,
    }
    rule = NewRule.of({**RULE, **asked}).issue(now=NOW, rule_id="jihgfedcba")

    assert rule == Rule(
        id="jihgfedcba",
        name="Down",
        query="database:acme stage:production",
        kinds=frozenset({"down", "late"}),
        after=timedelta(minutes=5),
        channel_id="abcdefghij",
        remind_every=timedelta(hours=1),
        created_at=NOW,
    )


@pytest.mark.parametrize(
    ("changed", "path", "why"),
    [
        ({"kinds": []}, "kinds", "expected at least one kind of alarms"),
        ({"kinds": ["dwn"]}, "kinds[0]", "expected one of acknowledged, calm, "),
        ({"query": "colour:red"}, "query", "'colour' is no name that a filter knows"),
        ({"query": "key:acme"}, "query", "only lists know which key a server belongs to"),
        ({"query": WORDS}, "query", "has 50 words without a name at most; this one has 51"),
        ({"query": "a" * (MAX_LENGTH + 1)}, "query", "0 to 1,000 printable characters"),
        ({"after_seconds": -1}, "after_seconds", "from 0 to 2,592,000"),
        ({"remind_seconds": 299}, "remind_seconds", "from 300 to 2,592,000"),
        ({"kind": "down"}, "kind", "is no field of a rule"),
    ],
)
def test_invalid_rule_request_is_refused(changed: Any, path: str, why: str) -> None:
    assert why in refused(lambda: NewRule.of({**RULE, **changed}))[path]


def test_silence_of_some_length_begins_now() -> None:
    silence = NewSilence.of(SILENCE, now=NOW).issue(author="ada", now=NOW)

    assert silence == Silence(
        id=silence.id,
        query="stage:staging",
        server_id=None,
        begins_at=NOW,
        ends_at=NOW + timedelta(hours=1),
        cron=None,
        duration=None,
        time_zone="UTC",
        reason="upgrade",
        author="ada",
        created_at=NOW,
    )


def test_silence_of_a_server_has_times_of_its_own() -> None:
    asked = {
        "server_id": "acme_web-1",
        "begins_at": "2026-02-01T12:00:00Z",
        "ends_at": "2026-02-01T14:00:00+01:00",
        "reason": "upgrade",
    }
    silence = NewSilence.of(asked, now=NOW).issue(author="ada", now=NOW)

    assert ("", "acme_web-1") == (silence.query, silence.server_id)
    assert NOW + timedelta(days=1) == silence.begins_at
    assert NOW + timedelta(days=1, hours=1) == silence.ends_at


@pytest.mark.parametrize("ends_at", [None, "2026-03-01T00:00:00Z"])
def test_silence_by_a_cron_expression_lasts_each_time(ends_at: str | None) -> None:
    asked = {**SILENCE, "cron": "0 22 * * 6", "time_zone": "Europe/Berlin", "ends_at": ends_at}
    silence = NewSilence.of(asked, now=NOW).issue(author="ada", now=NOW)

    assert ("0 22 * * 6", "Europe/Berlin") == (silence.cron, silence.time_zone)
    assert timedelta(hours=1) == silence.duration
    assert (ends_at is None) == (silence.ends_at is None)


@pytest.mark.parametrize(
    ("changed", "path", "why"),
    [
        ({"query": None}, "query", "either by server_id, or by query"),
        ({"server_id": "a"}, "query", "either by server_id, or by query"),
        ({"duration_seconds": None}, "ends_at", "either by ends_at, a time such as"),
        ({"ends_at": "2026-02-01T12:00:00Z"}, "ends_at", "either by ends_at, a time such as"),
        (
            {"duration_seconds": None, "ends_at": "2026-01-31T12:00:00Z"},
            "ends_at",
            "is not after the beginning",
        ),
        (
            {
                "duration_seconds": None,
                "begins_at": "2026-01-31T10:00:00Z",
                "ends_at": "2026-01-31T11:00:00Z",
            },
            "ends_at",
            "is over already",
        ),
        ({"begins_at": "9999-12-31T23:59:59Z"}, "ends_at", "within the next ten years"),
        ({"cron": "0 22 * * 6", "ends_at": "9999-12-31T23:59:59Z"}, "ends_at", "ten years"),
        ({"cron": "0 22 * * 6", "duration_seconds": None}, "duration_seconds", "each time"),
        ({"cron": "61 0 * * *"}, "cron", "is no cron expression"),
        ({"cron": "0 22"}, "cron", "A cron expression has 5 fields"),
        ({"reason": None}, "reason", "1 to 200 printable characters"),
        ({"reason": "a\nb"}, "reason", "1 to 200 printable characters"),
        ({"query": "colour:red"}, "query", "'colour' is no name that a filter knows"),
        ({"query": "key:acme"}, "query", "only lists know which key a server belongs to"),
        ({"minutes": 5}, "minutes", "is no field of a silence"),
    ],
)
def test_invalid_silence_request_is_refused(changed: Any, path: str, why: str) -> None:
    assert why in refused(lambda: NewSilence.of({**SILENCE, **changed}, now=NOW))[path]


def test_silence_of_some_minutes_is_of_one_server() -> None:
    silence = ShortSilence.of({"minutes": 30}).issue("acme_web-1", author="agent", now=NOW)

    assert ("acme_web-1", "", "maintenance", "agent") == (
        silence.server_id,
        silence.query,
        silence.reason,
        silence.author,
    )
    assert (NOW, NOW + timedelta(minutes=30)) == (silence.begins_at, silence.ends_at)


@pytest.mark.parametrize(
    ("asked", "path", "why"),
    [
        ({"minutes": 0}, "minutes", "a whole number of minutes from 1 to 1,440, got 0"),
        ({"minutes": 1441}, "minutes", "a whole number of minutes from 1 to 1,440"),
        ({}, "minutes", "is required"),
        ({"minutes": 5, "until": 1}, "until", "is no field of a silence of a server"),
    ],
)
def test_invalid_number_of_minutes_of_a_silence_is_refused(asked: Any, path: str, why: str) -> None:
    assert why in refused(lambda: ShortSilence.of(asked))[path]


@pytest.mark.parametrize(
    ("asked", "kind"),
    [
        (CHANNEL, NewChannel),
        ({**CHANNEL, "address": {"url": "https://a/b", "secret": SECRET}}, NewChannel),
        (MAIL, NewChannel),
        ({"report_at": None, "name": "a"}, ChannelFields),
        ({**RULE, "remind_seconds": None}, NewRule),
        (SILENCE, NewSilence),
        ({"minutes": 30}, ShortSilence),
    ],
)
def test_request_matches_the_schema_that_is_published(asked: Any, kind: type) -> None:
    jsonschema.validate(asked, json_schema(kind), cls=jsonschema.Draft202012Validator)

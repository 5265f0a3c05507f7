"""Keys, labels, silences and alerts that commands change, over HTTP as by the database."""

import json
import re
from typing import Any

import pytest

from alerting import SECRET_KEY
from commanding import Command
from receiver.store import SqlStore
from two_ways import Ways, serving
from watched import Watched


def test_keys_are_made_listed_rotated_and_revoked_over_http(ways: Ways, store: SqlStore) -> None:
    command = ways.http
    made = command("keys", "create", "--name", "acme", "--scope", "agent", "--servers", "acme_*")
    (as_json,) = command("keys", "create", "--name", "b", "--scope", "registry", "--json").said
    ids = {line.split()[1]: line.split()[0] for line in command("keys", "list").said}
    key_id = ids["acme"]
    rotated = command("keys", "rotate", key_id)
    with_time = command("keys", "rotate", key_id, "--expires", "90d")
    of_registry = command("keys", "rotate", json.loads(as_json)["key"]["id"])
    revoked = command("keys", "revoke", key_id, "--forget")
    again = command("keys", "revoke", key_id)

    assert made.said[0].startswith("fleetkey_")
    assert "covers servers of several databases" in made.explained
    assert f"Receivers on {command.environ['FLEET_URL']}" in made.explained
    assert {"key", "token", "path", "warnings"} == json.loads(as_json).keys()
    assert {"NAME", "admin", "acme", "b"} == ids.keys()
    assert rotated.said[0].startswith(f"fleetkey_{key_id}_")
    assert (2, True) == (with_time.status, "leave out --expires" in with_time.explained)
    assert "/registry/fleetkey_" in of_registry.explained
    assert (0, []) == revoked[:2]
    assert "0 servers of it are forgotten" in revoked.explained
    assert (1, f"There is no key {key_id!r} that is not revoked.") == (
        again.status,
        again.explained,
    )
    assert 3 == len(store.keys.all())


def test_servers_are_handed_over_over_http(ways: Ways, store: SqlStore) -> None:
    create = ("keys", "create", "--name", "acme", "--scope")
    (agent,) = ways.http(*create, "agent").said
    (viewer,) = ways.http(*create, "viewer").said
    hand_over = ("keys", "hand-over", "--server", "acme_web-1")

    done = ways.http(*hand_over, "--server", "nobody", "--to", agent)
    refused = ways.http(*hand_over, "--to", viewer)
    all_of = ways.http("keys", "hand-over", "--all-of", agent, "--to", agent)

    assert (1, ["acme_web-1", "nobody: there is no such server"]) == done[:2]
    assert agent.split("_")[1] == store.servers.owner("acme_web-1")
    assert (1, True) == (refused.status, "is a viewer's" in refused.explained)
    assert (2, True) == (all_of.status, "told by the database only" in all_of.explained)


@pytest.mark.parametrize("way", ["database", "http"])
def test_server_is_silenced_for_a_while(ways: Ways, way: str) -> None:
    command: Command = getattr(ways, way)
    status, (silence_id,), explained = command(
        "silence", "acme_web-1", "--for", "2h", "--reason", "upgrade"
    )
    (line,) = command("silences", "list", "--json").said
    staging = command("silence", "--query", "stage:staging", "--until", "2026-02-01T12:00:00Z")
    unknown = command("silence", "nobody", "--for", "2h")
    ended = command("silences", "end", silence_id)
    all_of_them = command("silences", "list", "--all")

    assert 0 == status
    assert (
        "Nobody is told until 2026-01-31 14:05 UTC. To end it before: "
        f"odoo-mcp-fleet silences end {silence_id}"
    ) == explained
    assert ("acme_web-1", "upgrade") == (
        json.loads(line)["server_id"],
        json.loads(line)["reason"],
    )
    assert "2026-02-01 12:00 UTC" in staging.explained
    assert (1, [], "There is no server 'nobody'.") == unknown
    assert (0, f"The silence {silence_id} has ended.") == (ended.status, ended.explained)
    assert 3 == len(all_of_them.said)


@pytest.mark.parametrize("reason", ["", "x" * 2000])
def test_silence_with_a_wrong_reason_is_a_wrong_use_in_both_ways(ways: Ways, reason: str) -> None:
    asked = ("silence", "acme_web-1", "--for", "2h", "--reason", reason)
    of_nobody = ("silence", "nobody", "--for", "2h", "--reason", reason)

    for way in (ways.database, ways.http):
        for refused in (way(*asked), way(*of_nobody)):
            assert (2, []) == (refused.status, refused.said)
            assert refused.explained.startswith("reason: ")


def test_rule_for_a_channel_that_does_not_exist_fails_in_both_ways(ways: Ways) -> None:
    asked = ("rules", "create", "--name", "a", "--kind", "down", "--channel", "nothing")

    for way in (ways.database, ways.http):
        assert (1, [], "There is no channel 'nothing'.") == way(*asked)


def test_database_is_labelled_in_both_ways(ways: Ways) -> None:
    events: list[Any] = []
    for way, by in ((ways.database, "the command line"), (ways.http, "admin")):
        labels = ("--add", "Gold", "--add", "eu,x")
        given = way("label", "acme_web-1", *labels, "--note", "call Ann\n2")
        status, (line,), _ = way("label", "acme_web-1", "--remove", "x", "--json")
        wrong = [way("label", "acme_web-1", "--add", each) for each in ('a"b', ",", "")]
        unknown = [way("label", "nobody"), way("label", "nobody", "--note", "x")]
        (event, *_) = ways.client.get("/events?kind=labelled").json()["events"]
        events.append(event["details"])

        assert ["acme_web-1", "eu, gold, x", "call Ann\\n2", "2026-01-31 12:05", by] == re.split(
            "  +", given.said[1]
        )
        assert (0, ["eu", "gold"], "call Ann\n2") == (
            status,
            *(json.loads(line)[name] for name in ("labels", "note")),
        )
        assert [2, 2, 2] == [said.status for said in wrong]
        assert "without commas and double quotes" in wrong[0].explained
        assert "expected at least one of" in wrong[1].explained
        assert "expected some text" in wrong[2].explained
        assert [(1, [], "There is no server 'nobody'.")] * 2 == unknown
        ways.agree("label", "acme_web-1")
        way("label", "acme_web-1", "--remove", "gold,eu", "--note", "")

    assert [
        {"labels": {"gained": [], "lost": ["x"]}, "by": by} for by in ("the command line", "admin")
    ] == events


def test_silence_command_requires_a_server_or_a_query_and_one_end(
    three_servers: Watched, database_url: str
) -> None:
    command = Command({"FLEET_DATABASE_URL": database_url}, three_servers.clock)
    until = ("--until", "2026-02-01T12:00:00Z")
    wrong = {
        ("--for", "2h"): "one of SERVER_ID and --query is required",
        ("a", "--query", "", "--for", "2h"): "one of SERVER_ID and --query is required",
        ("a",): "one of --for and --until is required",
        ("a", "--for", "2h", *until): "one of --for and --until is required",
    }

    for arguments, says in wrong.items():
        status, _, explained = command("silence", *arguments)
        assert 2 == status
        assert says in explained


def test_unknown_channels_rules_and_alarms_are_reported_over_http(ways: Ways) -> None:
    command = ways.http
    command.secret = "http://127.0.0.1:9/hush"
    without_key = command("channels", "create", "--name", "a", "--kind", "webhook")

    assert (1, True) == (without_key.status, "secret-key" in without_key.explained)
    assert [] == ways.agree("channels", "list")
    assert [] == ways.agree("rules", "list")
    assert [] == ways.agree("alarms", "list")
    assert [] == ways.agree("alarms", "list", "--all")
    for arguments in (
        ("channels", "change", "nothing", "--name", "b"),
        ("channels", "test", "nothing"),
        ("channels", "remove", "nothing"),
        ("rules", "remove", "nothing"),
        ("silences", "end", "nothing"),
        ("alarms", "acknowledge", "1"),
    ):
        said = command(*arguments)
        assert (1, []) == said[:2], arguments
        assert said.explained


def test_channels_and_rules_are_created_over_http(
    database_url: str, three_servers: Watched, store: SqlStore
) -> None:
    environ = {"FLEET_SECRET_KEY": SECRET_KEY, "FLEET_ALERT_ADDRESSES": "127.0.0.0/8"}
    with serving(database_url, three_servers, **environ) as ways:
        command = ways.http
        command.secret = "http://127.0.0.1:9/hush"
        made = command("channels", "create", "--name", "a", "--kind", "webhook")
        (channel_id,) = made.said
        changed = command("channels", "change", channel_id, "--name", "b", "--no-report")
        channel = store.alerts.channel(channel_id)
        both = command("channels", "change", channel_id, "--no-report", "--report-at", "0 8 * * 1")
        tested = command("channels", "test", channel_id)
        rule = ("--name", "Down", "--kind", "down", "--channel", channel_id)
        (rule_id,) = command("rules", "create", *rule).said
        renamed = command("rules", "change", rule_id, *rule, "--after", "5m")
        listed = ways.agree("rules", "list")
        removed = [
            command("rules", "remove", rule_id).status,
            command("channels", "remove", channel_id).status,
        ]

    assert "whsec_" in made.explained
    assert 0 == changed.status
    assert channel is not None
    assert ("b", None) == (channel.name, channel.report_at)
    assert 2 == both.status
    assert (1, True) == (tested.status, "was not delivered" in tested.explained)
    assert (0, f"The rule {rule_id} is changed.") == (renamed.status, renamed.explained)
    assert 3 == len(listed)
    assert [0, 0] == removed
    assert [] == store.alerts.channels()

"""`python -m receiver channels | rules | silences | alarms | secret-key`."""

import os
import subprocess
import sys
from datetime import timedelta
from io import StringIO

import pytest
from attrs import asdict
from sqlalchemy import Engine, insert

from alert_values import alarm as an_alarm
from alert_values import channel as a_channel
from alert_values import rule as a_rule
from alerting import alerting_settings, fill
from commanding import Command, Said
from receiver.commands import context
from receiver.domain.alerts.requests import NewRule
from receiver.service.alerts.secret_box import SecretBox
from receiver.store import SqlStore
from receiver.store.alerts.tables import alarms
from servers import Clock
from sinks import HttpSink, closed_port
from watched import Watched


@pytest.fixture
def command(database_url: str, clock: Clock) -> Command:
    command = Command(alerting_settings(database_url), clock, is_older=True)
    command.secret = "http://127.0.0.1:9/hush"
    return command


def columns(line: str) -> list[str]:
    """The cells of a line of a table that are not empty."""
    return [each.strip() for each in line.split("  ") if each.strip()]


# Keys for secrets


def test_secret_key_command_needs_no_database_and_no_settings(command: Command) -> None:
    command.environ = {"FLEET_DATABASE_URL": "nonsense"}
    status, (key,), explained = command("secret-key")

    assert 0 == status
    assert "hush" == SecretBox([key]).open(SecretBox([key]).seal("hush"))
    assert "FLEET_SECRET_KEY_FILE" in explained


# Channels


def test_channel_is_made_with_an_address_that_is_typed(command: Command, store: SqlStore) -> None:
    status, said, explained = command(
        *("channels", "create", "--name", "operators", "--kind", "webhook", "--per-hour", "5"),
        *("--report-at", "0 8 * * 1", "--time-zone", "Europe/Berlin"),
    )

    (channel,) = store.alerts.channels()
    (rule,) = store.alerts.rules()
    assert (0, [channel.id]) == (status, said)
    assert ("operators", "127.0.0.1", 5, "0 8 * * 1", "Europe/Berlin") == (
        channel.name,
        channel.service,
        channel.per_hour,
        channel.report_at,
        channel.time_zone,
    )
    assert channel.id == rule.channel_id
    assert ["The address of the channel, a URL for webhook"] == command.asked
    assert "with this secret, which is not shown again: whsec_" in explained
    assert f"python -m receiver channels test {channel.id}" in explained
    assert "hush" not in explained


def test_invalid_channel_is_refused(command: Command, store: SqlStore) -> None:
    command.secret = "hush"
    create = ("channels", "create", "--name", "operators", "--kind")
    refused = [command(*create, "webhook"), command(*create, "apprise")]
    command.secret = "http://169.254.169.254/hush"
    refused.append(command(*create, "webhook"))
    del command.environ["FLEET_SECRET_KEY"]
    refused.append(command(*create, "webhook"))

    reasons = (
        "address: expected the address of a webhook",
        "address: expected a URL as Apprise reads it",
        "are not allowed: see FLEET_ALERT_ADDRESSES",
        "odoo-mcp-fleet secret-key",
    )
    assert [2, 2, 2, 1] == [said.status for said in refused]
    for said, reason in zip(refused, reasons, strict=True):
        assert [] == said.said
        assert reason in said.explained
        assert "hush" not in said.explained
    assert [] == store.alerts.channels()


def test_channels_are_listed_without_their_addresses(command: Command) -> None:
    nothing = command("channels", "list")
    command("channels", "create", "--name", "operators", "--kind", "webhook")
    _, (titles, row), _ = command("channels", "list")

    assert (0, []) == (nothing.status, nothing.said)
    assert "There are no channels" in nothing.explained
    assert titles.startswith("ID ")
    assert ["operators", "webhook", "127.0.0.1", "20", "never", "UTC", "2026-01-31"] == columns(
        row
    )[1:]


def test_channel_is_changed(command: Command, store: SqlStore) -> None:
    create = ("channels", "create", "--name", "a", "--kind", "webhook", "--report-at", "0 8 * * 1")
    _, (channel_id,), _ = command(*create)
    named = command("channels", "change", channel_id, "--name", "b", "--per-hour", "7")
    quiet = command("channels", "change", channel_id, "--no-report", "--time-zone", "Asia/Tokyo")
    command.secret = "http://127.0.0.2:9/hush"
    moved = command("channels", "change", channel_id, "--address")

    channel = store.alerts.channel(channel_id)
    assert channel is not None
    assert ("b", 7, None, "Asia/Tokyo", "127.0.0.2") == (
        channel.name,
        channel.per_hour,
        channel.report_at,
        channel.time_zone,
        channel.service,
    )
    assert [0, 0, 0] == [named.status, quiet.status, moved.status]
    assert "whsec_" in moved.explained
    assert f"The channel {channel_id} is changed." == named.explained


def test_channel_test_command_prints_its_outcome(command: Command, sink: HttpSink) -> None:
    create = ("channels", "create", "--name", "a", "--kind", "webhook")
    command.secret = f"{sink.url}/hook"
    _, (works,), _ = command(*create)
    command.secret = f"http://127.0.0.1:{closed_port()}/hook"
    _, (fails,), _ = command(*create)

    assert Said(0, [], "The message was delivered.") == command("channels", "test", works)
    failed = command("channels", "test", fails)
    assert (1, []) == (failed.status, failed.said)
    assert failed.explained.startswith("The message was not delivered: ")
    assert 1 == len(sink.received)


def test_removed_channel_takes_its_rules_along(command: Command, store: SqlStore) -> None:
    _, (channel_id,), _ = command("channels", "create", "--name", "a", "--kind", "webhook")
    removed = command("channels", "remove", channel_id)

    assert Said(0, [], f"The channel {channel_id} and its rules are removed.") == removed
    assert ([], []) == (store.alerts.channels(), store.alerts.rules())


def test_address_that_no_key_decrypts_stays_when_the_others_are_reencrypted(
    command: Command, store: SqlStore
) -> None:
    old, new = SecretBox.new_key(), SecretBox.new_key()
    lost = SecretBox.of(SecretBox.new_key()).seal("lost")
    store.alerts.add_channel(a_channel("lost", name="lost", address=lost), None)
    store.alerts.add_channel(a_channel("old", address=SecretBox.of(old).seal("kept")), None)
    command.environ["FLEET_SECRET_KEY"] = f"{new},{old}"

    status, said, explained = command("channels", "reencrypt")

    found = {each.id: each.address for each in store.alerts.channels()}
    assert (5, ["1"]) == (status, said)
    assert "decrypts the addresses of 'lost'" in explained
    assert lost == found["lost"]
    assert "kept" == SecretBox.of(new).open(found["old"])


def test_nothing_is_reencrypted_without_a_secret_key(command: Command) -> None:
    del command.environ["FLEET_SECRET_KEY"]

    status, said, explained = command("channels", "reencrypt")

    assert (1, []) == (status, said)
    assert "odoo-mcp-fleet secret-key" in explained


# Rules


LATER = ("--after", "5m", "--remind", "1d")
RULE = ("--name", "Down", "--kind", "down", "--kind", "late", "--channel", "mail")


def test_rule_is_the_same_as_one_of_the_api(
    command: Command, store: SqlStore, clock: Clock
) -> None:
    store.alerts.add_channel(a_channel(), None)
    status, (rule_id,), _ = command(
        *("rules", "create", *RULE, "--query", 'database:"acme"', "--after", "5m"),
        *("--remind", "4h"),
    )

    asked = {
        "name": "Down",
        "query": "database:acme",
        "kinds": ["down", "late"],
        "after_seconds": 300,
        "channel_id": "mail",
        "remind_seconds": 14_400,
    }
    assert 0 == status
    assert [NewRule.of(asked).issue(now=clock.now, rule_id=rule_id)] == store.alerts.rules()


def test_rules_are_listed_changed_and_removed(command: Command, store: SqlStore) -> None:
    nothing = command("rules", "list")
    store.alerts.add_channel(a_channel(), None)
    store.alerts.add_rule(a_rule())
    _, (_, before), _ = command("rules", "list")
    changed = command("rules", "change", "down", *RULE, "--query", "stage:none", *LATER)
    _, (_, after), _ = command("rules", "list")
    removed = command("rules", "remove", "down")

    assert "There are no rules" in nothing.explained
    assert ["down", "down", "all", "down", "at once", "mail", "never"] == columns(before)
    assert Said(0, [], "The rule down is changed.") == changed
    assert [
        *("down", "Down", "stage:none", "down,late", "5m", "mail", "every 1d"),
    ] == columns(after)
    assert Said(0, [], "The rule down is removed.") == removed
    assert [] == store.alerts.rules()


def test_invalid_rule_is_refused(command: Command, store: SqlStore) -> None:
    wrong = command("rules", "create", *RULE, "--query", "colour:red")
    no_channel = command("rules", "create", *RULE)
    store.alerts.add_channel(a_channel(), None)
    store.alerts.add_rule(a_rule())
    moved = command("rules", "change", "down", *RULE[:-1], "nothing")

    assert "query: 'colour' is no name that a filter knows" in wrong.explained
    assert Said(1, [], "There is no channel 'mail'.") == no_channel
    assert Said(1, [], "There is no channel 'nothing'.") == moved


# Silences


def test_silence_is_made_listed_and_ended(command: Command, store: SqlStore, clock: Clock) -> None:
    nothing = command("silences", "list")
    create = ("silences", "create", "--reason", "upgrade")
    _, (first,), _ = command(*create, "--query", "stage:staging", "--for", "2h")
    clock.advance(1)
    _, (again,), _ = command(
        *create, "--query", "", "--cron", "0 22 * * 6", "--for", "1h", "--time-zone", "Asia/Tokyo"
    )
    _, (_, one, two), _ = command("silences", "list")
    clock.advance(60)
    ended = command("silences", "end", first)
    twice = command("silences", "end", first)
    _, (_, left), _ = command("silences", "list")
    _, every, _ = command("silences", "list", "--all")

    assert "There are no silences." == nothing.explained
    assert [
        *(first, "stage:staging", "silent", "2026-01-31 12:00", "2026-01-31 14:00", "once"),
        *("upgrade", "the command line"),
    ] == columns(one)
    assert [again, "all"] == columns(two)[:2]
    assert "never" in two
    assert "0 22 * * 6 (Asia/Tokyo) for 1h" in two
    assert Said(0, [], f"The silence {first} has ended.") == ended
    assert Said(1, [], f"There is no silence {first!r} that has not ended.") == twice
    assert left.startswith(again)
    assert 3 == len(every)
    assert store.alerts.silence(first) is not None


def test_silence_of_a_server_has_times(command: Command, store: SqlStore, fleet: Watched) -> None:
    fleet.beat("acme_web-1")
    create = ("silences", "create", "--reason", "upgrade", "--server")
    times = ("--from", "2026-02-01T12:00:00Z", "--until", "2026-02-01T13:00:00Z")
    _, (silence_id,), _ = command(*create, "acme_web-1", *times)
    unknown = command(*create, "acme_wbe-1", *times)

    silence = store.alerts.silence(silence_id)
    assert silence is not None
    assert ("acme_web-1", timedelta(hours=1)) == (
        silence.server_id,
        (silence.ends_at or silence.begins_at) - silence.begins_at,
    )
    assert Said(1, [], "There is no server 'acme_wbe-1'.") == unknown


def test_invalid_silence_is_refused(command: Command) -> None:
    refused = command("silences", "create", "--query", "", "--reason", "upgrade")

    assert (2, []) == (refused.status, refused.said)
    assert "ends_at: say until when" in refused.explained


# Alarms


def test_alarms_are_listed_with_what_became_of_them(command: Command, engine: Engine) -> None:
    nothing = command("alarms", "list")
    put_alarms(engine)
    _, (_, *lasting), _ = command("alarms", "list")
    _, every, _ = command("alarms", "list", "--all", "--limit", "2")

    assert "There are no alarms." == nothing.explained
    assert [
        ["key_expires", "abcdefghij", "part of 1"],
        ["down", "b", "silenced by upgrade"],
        ["fleet_silent", "the fleet"],
    ] == [[row[1], row[2], *row[5:]] for row in map(columns, lasting)]
    assert [("4", "recovered"), ("3", "part of 1")] == [
        (columns(row)[0], columns(row)[-1]) for row in every[1:]
    ]


def put_alarms(engine: Engine) -> None:
    """Four alarms, of which the last one is over; their ids are 1 to 4."""
    known = [
        an_alarm(kind="fleet_silent", server_id=None),
        an_alarm(server_id="b", silenced_by="upgrade"),
        an_alarm(kind="key_expires", server_id=None, subject="abcdefghij", part_of=1),
        an_alarm(server_id="c", ended_at=Clock().now, ending="recovered"),
    ]
    with engine.begin() as connection:
        for each in known:
            row = {name: value for name, value in asdict(each).items() if name != "id"}
            connection.execute(insert(alarms), row)


def test_alarm_is_acknowledged_once(command: Command, engine: Engine) -> None:
    put_alarms(engine)
    acknowledged = command("alarms", "acknowledge", "1")
    again = command("alarms", "acknowledge", "1")
    _, rows, _ = command("alarms", "list")

    assert (0, "The alarm 1 is acknowledged: no reminder of it is sent.") == (
        acknowledged.status,
        acknowledged.explained,
    )
    assert 1 == again.status
    assert "There is no alarm 1 that lasts and is not acknowledged" in again.explained
    assert rows[-1].endswith("acknowledged by the command line")


# All


@pytest.mark.parametrize(
    "arguments",
    [
        ("channels", "change", "nothing", "--name", "a"),
        ("channels", "test", "nothing"),
        ("channels", "remove", "nothing"),
        ("rules", "change", "nothing", *RULE),
        ("rules", "remove", "nothing"),
        ("silences", "end", "nothing"),
    ],
)
def test_unknown_id_of_an_alert_command_is_named(
    command: Command, arguments: tuple[str, ...]
) -> None:
    said = command(*arguments)

    assert (1, []) == (said.status, said.said)
    assert "'nothing'" in said.explained


@pytest.mark.parametrize(
    ("what", "most", "create"),
    [
        ("channels", 100, ("--name", "a", "--kind", "webhook")),
        ("rules", 1000, RULE),
        ("silences", 1000, ("--query", "", "--for", "1h", "--reason", "a")),
    ],
)
def test_channel_or_rule_or_silence_above_the_limit_is_refused(
    command: Command, engine: Engine, what: str, most: int, create: tuple[str, ...]
) -> None:
    fill(engine, what, most)

    said = command(what, "create", *create)
    assert (1, []) == (said.status, said.said)
    assert said.explained.startswith(f"There are too many {what}.")
    assert said.explained.endswith(f"see: {what} list")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("channels",), "Usage: python -m receiver channels"),
        (("channels", "create", "--name", "a", "--kind", "email"), "'email' is not one of"),
        (("rules", "create", *RULE, "--after", "soon"), "a length of time such as 2d"),
        (("rules", "create", *RULE, "--kind", "dwn"), "'dwn' is not one of"),
        (
            ("silences", "create", "--reason", "a", "--for", "1h"),
            "one of --query and --server is required",
        ),
        (
            ("silences", "create", "--reason", "a", "--server", "a", "--until", "noon"),
            "a time such as 2027",
        ),
        (("silences", "create", "--reason", "a", "--server", ""), "expected some text"),
        (("alarms", "list", "--limit", "0"), "a whole number from 1 to 1000"),
        (("alarms", "acknowledge", "1.5"), "the number of an alarm"),
        (("alarms", "acknowledge", "9" * 19), "the number of an alarm"),
        (("rules", "remove", "\udce9"), "expected text in UTF-8"),
    ],
)
def test_invalid_argument_of_an_alert_command_is_reported(
    command: Command, arguments: tuple[str, ...], why: str
) -> None:
    status, _, explained = command(*arguments)

    assert 2 == status
    assert why in explained


def test_channel_secret_is_read_from_the_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", StringIO(" http://127.0.0.1:9/hush \nmore\n"))

    assert "http://127.0.0.1:9/hush" == context.read_secret("The address")


def test_secret_is_typed_at_a_terminal_without_being_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Terminal(StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr(context, "getpass", lambda question: f"typed after {question!r}")

    assert "typed after 'The address: '" == context.read_secret("The address")


def test_alert_command_runs_in_a_process(command: Command) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "receiver", "channels", "create", "--name=a", "--kind=webhook"],
        input="http://127.0.0.1:9/hush\n",
        env={**os.environ, **command.environ},
        capture_output=True,
        text=True,
        check=False,
    )

    assert 0 == run.returncode, run.stderr
    assert 10 == len(run.stdout.strip())
    assert "hush" not in run.stderr

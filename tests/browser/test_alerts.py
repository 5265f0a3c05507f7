"""The pages of alerts in a browser, beside curl and the command line."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

import messages
from alerting import alerting_app, alerting_settings
from browsing import TOLD_MS, Reader
from looking import fits, serious
from servers import Clock, serve, wait_until
from sinks import HttpSink, http_sink

SERVER = "/server/acme_web-1"
HOSTILE = [
    "<script>document.title='owned'</script>",
    '"><img src=x onerror="document.title=\'owned\'">',
    "{{ 7 * 7 }} ${7*7} %s \\u0041",
    "w" * 100,
]


@pytest.fixture
def receiver(database_url: str, clock: Clock) -> Iterator[httpx.Client]:
    """A receiver without keys that may send messages to this machine."""
    with serve(alerting_app(database_url, clock, alert_seconds=0.2)) as client:
        client.timeout = 30
        yield client


@pytest.fixture
def sink() -> Iterator[HttpSink]:
    with http_sink() as sink:
        yield sink


def new_channel(client: httpx.Client, url: str, **changed: Any) -> str:
    """Make a channel by the API; its id."""
    asked = {"name": "Operators", "kind": "webhook", "address": {"url": url}, **changed}
    answer = client.post("/channels", json=asked).raise_for_status()
    return str(answer.json()["channel"]["id"])


def go_down(client: httpx.Client, clock: Clock, count: int = 1) -> None:
    """Let the servers go silent, until all are down."""
    for state in ("late", "down"):
        clock.advance(200)
        wait_until(
            lambda: client.get(f"/events?kind={state}").json()["count"] == count  # noqa: B023 - called at once
        )
    wait_until(lambda: client.get("/alarms?open=true").json()["count"] >= count)
    clock.advance(40)  # what is due within half a minute is one message


def common(found: dict[str, Any]) -> dict[str, Any]:
    """What a channel, rule or silence has, but for what no two have in common."""
    own = {"id", "created_at", "channel_id", "author"}
    return {name: value for name, value in found.items() if name not in own}


def test_open_pages_tell_of_an_alarm_until_it_is_over(
    receiver: httpx.Client, reader: Reader, clock: Clock, sink: HttpSink
) -> None:
    channel_id = new_channel(receiver, sink.url)
    rule = {"name": "Down at once", "kinds": ["down"], "channel_id": channel_id}
    receiver.post("/rules", json=rule).raise_for_status()
    for each in receiver.get("/rules").json()["rules"]:
        if each["name"] != rule["name"]:
            receiver.delete(f"/rules/{each['id']}").raise_for_status()
    receiver.post("/heartbeat", json=messages.heartbeat()).raise_for_status()
    page, fleet = reader.open("/alerts"), reader.open("/")
    expect(page.locator("#alarms-title")).to_have_text("Nothing is alarming")

    go_down(receiver, clock)

    expect(page.locator("#alarms-title")).to_have_text("1 alarming now", timeout=TOLD_MS)
    expect(page).to_have_title("(1) Alerts · Odoo MCP Fleet")
    expect(page.get_by_role("row", name="acme went down").first).to_be_visible()
    expect(page.locator("#told")).to_contain_text("Down: acme", timeout=TOLD_MS)
    expect(fleet.get_by_role("link", name="Alerts 1 alarming")).to_be_visible(timeout=TOLD_MS)
    page.get_by_role("button", name="Acknowledge acme_web-1").click()
    expect(page.locator("#notice")).to_contain_text("The alarm of acme was acknowledged")
    expect(page.get_by_role("button", name="Acknowledge")).to_have_count(0)
    expect(page.locator("#alarms")).to_contain_text("by somebody without a key")

    receiver.post("/heartbeat", json=messages.heartbeat()).raise_for_status()
    wait_until(lambda: receiver.get("/alarms?open=true").json()["count"] == 0)
    clock.advance(40)

    expect(page.locator("#alarms-title")).to_have_text("Nothing is alarming", timeout=TOLD_MS)
    expect(page.locator("#ended")).to_contain_text("recovered")
    expect(fleet.get_by_role("link", name="Alerts", exact=True)).to_be_visible(timeout=TOLD_MS)
    wait_until(lambda: len(sink.received) == 2)
    assert ["fleet.alarm", "fleet.end"] == [each.json["type"] for each in sink.received]


def test_same_things_are_made_on_pages_by_curl_and_on_the_command_line(
    receiver: httpx.Client, reader: Reader, database_url: str, sink: HttpSink
) -> None:
    pages = [reader.open("/alerts", java_script_enabled=each) for each in (True, False)]
    curl, command = Curl(str(receiver.base_url)), Command(database_url)

    for page in pages:
        add_channel(page, sink.url)
        expect(page.locator("#notice")).to_contain_text("whsec_")
    made_by_curl = curl.post(
        "channels",
        {
            "name": "Operators",
            "kind": "webhook",
            "address": {"url": sink.url},
            "per_hour": 30,
            "report_at": "0 8 * * 1",
            "time_zone": "Europe/Vienna",
        },
    )
    command.run(
        *("channels", "create", "--name", "Operators", "--kind", "webhook", "--per-hour", "30"),
        *("--report-at", "0 8 * * 1", "--time-zone", "Europe/Vienna"),
        said=sink.url,
    )
    channels = receiver.get("/channels").json()["channels"]
    assert 4 == len(channels)
    assert [common(channels[0])] * 4 == [common(each) for each in channels]

    channel_id = made_by_curl["channel"]["id"]
    for page in pages:
        add_rule(page, channel_id)
        expect(page.locator("#notice")).to_have_text("The rule Production was made.")
    curl.post(
        "rules",
        {
            "name": "Production",
            "query": "stage:production,none",
            "kinds": ["down", "flapping"],
            "after_seconds": 600,
            "remind_seconds": 7200,
            "channel_id": channel_id,
        },
    )
    command.run(
        *("rules", "create", "--name", "Production", "--query", "stage:production,none"),
        *("--kind", "down", "--kind", "flapping", "--after", "10m", "--remind", "2h"),
        *("--channel", channel_id),
    )
    every = receiver.get("/rules").json()["rules"]
    rules = [each for each in every if each["name"] == "Production"]
    assert 4 == len(rules)
    assert [common(rules[0])] * 4 == [common(each) for each in rules]

    for page in pages:
        add_silence(page)
        expect(page.locator("#notice")).to_contain_text("silenced")
    curl.post(
        "silences",
        {
            "query": "stage:staging",
            "reason": "Backup",
            "cron": "0 22 * * 6",
            "duration_seconds": 5400,
            "begins_at": "2026-02-01T11:00:00Z",
            "time_zone": "Europe/Vienna",
        },
    )
    command.run(
        *("silences", "create", "--query", "stage:staging", "--reason", "Backup"),
        *("--cron", "0 22 * * 6", "--for", "90m", "--time-zone", "Europe/Vienna"),
        *("--from", "2026-02-01T11:00:00Z"),
    )
    silences = receiver.get("/silences").json()["silences"]
    assert 4 == len(silences)
    assert [common(silences[0])] * 4 == [common(each) for each in silences]


def add_channel(page: Page, url: str) -> None:
    page.get_by_role("link", name="Add a channel").first.click()
    page.get_by_label("Name").fill("Operators")
    page.get_by_label("Kind").select_option("webhook")
    page.get_by_label("Address").fill(url)
    page.get_by_label("Messages an hour").fill("30")
    page.get_by_label("Time zone").fill("Europe/Vienna")
    page.get_by_label("Weekly report").fill("0 8 * * 1")
    page.get_by_role("button", name="Add it").click()


def add_rule(page: Page, channel_id: str) -> None:
    page.get_by_role("link", name="Add a rule").click()
    page.get_by_label("Name").fill("Production")
    page.get_by_label("Servers").fill("stage:production,none")
    expect(page.get_by_role("checkbox", name="Rebuilt")).to_be_hidden()
    page.get_by_text("What happens once:").click()
    expect(page.get_by_role("checkbox", name="Rebuilt")).to_be_visible()
    page.get_by_role(
        "checkbox", name="Flapping falls silent and comes back, again and again"
    ).check()
    page.get_by_label("Through the channel").select_option(channel_id)
    page.get_by_label("After, in minutes").fill("10")
    page.get_by_label("Again every").fill("120")
    page.get_by_role("button", name="Add it").click()


def add_silence(page: Page) -> None:
    page.get_by_role("link", name="Add a silence").click()
    page.get_by_role("textbox", name="Servers").fill("stage:staging")
    page.get_by_label("Reason").fill("Backup")
    page.get_by_label("Begins").fill("2026-02-01T12:00")
    page.get_by_label("Lasts, in minutes").fill("90")
    page.get_by_label("Time zone").fill("Europe/Vienna")
    page.get_by_label("Again and again").fill("0 22 * * 6")
    page.get_by_role("button", name="Add it").click()


class Curl:
    """Sends JSON by curl."""

    def __init__(self, url: str) -> None:
        self._url = url

    def post(self, call: str, content: Any) -> Any:
        program = shutil.which("curl")
        assert program is not None, "there is no curl on this machine"
        said = subprocess.run(
            [
                *(program, "--silent", "--show-error", "--fail-with-body", "--noproxy", "*"),
                *("--header", "Content-Type: application/json"),
                *("--data", json.dumps(content), f"{self._url.rstrip('/')}/{call}"),
            ],
            capture_output=True,
            check=False,
            text=True,
        )
        assert 0 == said.returncode, said.stdout + said.stderr
        return json.loads(said.stdout)


class Command:
    """Runs `python -m receiver` on a database."""

    def __init__(self, database_url: str) -> None:
        self._environ = {**os.environ, **alerting_settings(database_url)}

    def run(self, *arguments: str, said: str = "") -> None:
        done = subprocess.run(
            [sys.executable, "-m", "receiver", *arguments],
            input=f"{said}\n",
            env=self._environ,
            capture_output=True,
            check=False,
            text=True,
        )
        assert 0 == done.returncode, done.stdout + done.stderr


def test_page_that_is_loaded_again_makes_nothing_twice(
    receiver: httpx.Client, reader: Reader, sink: HttpSink
) -> None:
    page = reader.open("/alerts")
    add_channel(page, sink.url)
    expect(page.locator("#notice")).to_contain_text("whsec_")

    page.reload()
    expect(page.locator("#channels")).to_contain_text("Operators")
    expect(page.locator("#notice")).to_have_count(0)
    page.get_by_role("button", name="Send a test through Operators").click()
    expect(page.locator("#notice")).to_have_text("A test was sent through the channel Operators.")
    page.reload()
    page.go_back()
    page.go_forward()

    assert 1 == receiver.get("/channels").json()["count"]
    assert 1 == len(sink.received)
    assert "whsec_" not in page.content()


@pytest.mark.parametrize("java_script_enabled", [True, False])
def test_form_that_was_refused_is_corrected_and_sent_again(
    receiver: httpx.Client, reader: Reader, sink: HttpSink, java_script_enabled: Any
) -> None:
    new_channel(receiver, sink.url)
    page = reader.open("/alerts/rules/new", java_script_enabled=java_script_enabled)

    page.get_by_label("Name").fill("Mine")
    page.get_by_label("Servers").fill("colour:blue")
    page.get_by_role("button", name="Add it").click()
    expect(page.get_by_role("alert")).to_contain_text("Servers")
    expect(page.get_by_label("Name")).to_have_value("Mine")
    expect(page.get_by_label("Down", exact=False).first).to_be_checked()
    page.get_by_label("Servers").fill("stage:dev")
    page.get_by_role("button", name="Add it").click()

    expect(page.locator("#notice")).to_have_text("The rule Mine was made.")
    page.get_by_role("link", name="Change Mine").click()
    expect(page.get_by_label("Servers")).to_have_value("stage:dev")
    page.get_by_role("link", name="Go back").click()
    page.get_by_role("link", name="Remove Mine").click()
    page.get_by_role("button", name="Remove this rule").click()
    expect(page.locator("#notice")).to_have_text("The rule Mine was removed.")
    reader.expect_complaint("422")


@pytest.mark.parametrize("java_script_enabled", [True, False])
def test_server_is_silenced_on_its_page_until_somebody_ends_it(
    receiver: httpx.Client, reader: Reader, java_script_enabled: Any
) -> None:
    receiver.post("/heartbeat", json=messages.heartbeat()).raise_for_status()
    page = reader.open(SERVER, java_script_enabled=java_script_enabled)

    page.get_by_label("Reason").fill("Upgrade to 19.0")
    page.get_by_role("button", name="Silence for 4 hours").click()

    expect(page).to_have_url(f"{reader.url}{SERVER}")
    expect(page.locator("#notice")).to_have_text(
        "The server is silenced until 2026-01-31 16:00:00 UTC. Show the silence"
    )
    expect(page.locator("#silenced")).to_contain_text("Upgrade to 19.0")
    page.get_by_role("link", name="All servers").click()
    expect(page.get_by_role("row", name="acme")).to_contain_text("silenced")
    page.get_by_role("link", name="Alerts").click()
    page.get_by_role("button", name="End the silence of acme_web-1").click()
    expect(page.locator("#silences")).to_contain_text("Nothing is silenced.")
    page.get_by_role("link", name="Servers").click()
    expect(page.get_by_role("row", name="acme")).not_to_contain_text("silenced")


def test_hostile_names_are_shown_as_they_are_and_fit(
    receiver: httpx.Client, reader: Reader, clock: Clock, sink: HttpSink
) -> None:
    for n, name in enumerate(HOSTILE):
        channel_id = new_channel(receiver, sink.url, name=name)
        rule = {"name": name, "kinds": ["down"], "channel_id": channel_id, "query": ""}
        receiver.post("/rules", json=rule).raise_for_status()
        beat = messages.heartbeat(server_id=f"s{n}", database=name, hostname=name)
        receiver.post("/heartbeat", json=beat).raise_for_status()
    go_down(receiver, clock, len(HOSTILE))
    for n, name in enumerate(HOSTILE):
        silence = {"minutes": 60, "reason": name}
        receiver.post(f"/servers/s{n}/silence", json=silence).raise_for_status()

    of_all = dict.fromkeys(["/alerts", "/report", "/alerts/rules/new"], HOSTILE)
    of_one = {f"/server/s{n}": [name] for n, name in enumerate(HOSTILE)}
    page = reader.open(width=390)
    for path, names in {**of_all, **of_one}.items():
        page.goto(f"{reader.url}{path}")
        assert fits(page), path
        shown = page.text_content("body") or ""
        assert [] == [name for name in names if name not in shown], path
        assert "owned" != page.title()


@pytest.mark.parametrize("width", [1440, 1024])
def test_long_names_leave_the_other_columns_room_for_whole_words(
    receiver: httpx.Client, reader: Reader, sink: HttpSink, width: int
) -> None:
    channel_id = new_channel(receiver, sink.url, name="w" * 100)
    query = "stage:none,production"
    rule = {"name": "w" * 100, "kinds": ["down"], "channel_id": channel_id, "query": query}
    receiver.post("/rules", json=rule).raise_for_status()
    page = reader.open("/alerts", width=width)

    for text in ("127.0.0.1", query):
        lines = (
            page.locator("td")
            .get_by_text(text, exact=True)
            .first.evaluate(
                "each => each.offsetHeight / parseFloat(getComputedStyle(each).fontSize)"
            )
        )
        assert lines < 2.2, text
    assert fits(page)
    page.goto(f"{reader.url}/report")
    title, actions = (page.locator(each).bounding_box() for each in ("#title h1", "#title .apart"))
    assert title is not None
    assert actions is not None
    assert actions["y"] < title["y"] + title["height"]


def test_pages_of_alerts_have_no_serious_accessibility_violation(
    receiver: httpx.Client, reader: Reader, clock: Clock, sink: HttpSink
) -> None:
    page = reader.open("/alerts")

    def assert_accessible() -> None:
        for width in (1440, 390):
            page.set_viewport_size({"width": width, "height": 844})
            assert [] == serious(page), page.url
            assert fits(page), page.url

    assert_accessible()
    channel_id = new_channel(receiver, sink.url, report_at="0 8 * * 1")
    rule_id = receiver.get("/rules").json()["rules"][0]["id"]
    for n, kinds in enumerate((["down"], ["late", "rebuilt", "tools_changed"])):
        rule = {"name": f"Rule {n}", "kinds": kinds, "channel_id": channel_id}
        receiver.post("/rules", json=rule).raise_for_status()
    receiver.post("/heartbeat", json=messages.heartbeat()).raise_for_status()
    go_down(receiver, clock)
    silence = {"query": "", "reason": "Upgrade", "duration_seconds": 3600}
    receiver.post("/silences", json=silence).raise_for_status()
    receiver.post(
        "/silences", json={**silence, "cron": "0 22 * * 6", "query": "stage:dev"}
    ).raise_for_status()
    for path in (
        "/alerts",
        "/",
        SERVER,
        "/report",
        "/alerts/channels/new",
        f"/alerts/channels/{channel_id}",
        f"/alerts/channels/{channel_id}/remove",
        "/alerts/rules/new",
        f"/alerts/rules/{rule_id}",
        "/alerts/silences/new",
    ):
        page.goto(f"{reader.url}{path}")
        assert_accessible()
    page.get_by_label("Reason").fill("a")
    page.get_by_label("Lasts, in minutes").fill("")
    page.get_by_role("button", name="Add it").click()
    expect(page.get_by_role("alert")).to_be_visible()
    assert_accessible()
    reader.expect_complaint("422")

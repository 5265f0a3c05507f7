"""The forms of channels."""

import html
import re

import httpx
import pytest

from alert_calls import NOWHERE, new_channel
from alert_forms import CHANNEL, fields_of, notice, only, post
from form_filling import fault, title
from receiver.app import create_app
from servers import Clock, serve
from sinks import HttpSink, closed_port


@pytest.mark.both_databases
def test_channel_made_in_the_form_is_the_one_that_the_api_makes(receiver: httpx.Client) -> None:
    answer = post(receiver, "/alerts/channels/new", **CHANNEL)
    said = notice(receiver, answer)

    in_form = only(receiver, "channels")
    (channel,) = receiver.get("/channels").json()["channels"]
    receiver.delete(f"/channels/{channel['id']}").raise_for_status()
    new_channel(receiver, per_hour=20, report_at="0 8 * * 1", time_zone="Europe/Vienna")
    assert only(receiver, "channels") == in_form
    assert re.fullmatch(
        r"The channel Operators was made\. This is the only time that the secret which signs its "
        r"messages is shown: whsec_[A-Za-z0-9+/=]{44}",
        said,
    )


def test_secret_of_a_channel_is_shown_once_and_reloading_makes_nothing(
    receiver: httpx.Client,
) -> None:
    notice(receiver, post(receiver, "/alerts/channels/new", **CHANNEL))

    again = receiver.get("/alerts").text

    assert "whsec_" not in again
    assert NOWHERE not in again
    assert 1 == receiver.get("/channels").json()["count"]


def test_channel_form_has_examples_of_addresses_which_a_receiver_takes(
    receiver: httpx.Client,
) -> None:
    page = receiver.get("/alerts/channels/new").text

    shown = re.findall(r"<dt>([^<]*)</dt> <dd><code>([^<]*)</code>", page)
    examples = {service: html.unescape(address) for service, address in shown}
    assert ["Mail", "Slack", "Teams", "Telegram", "A webhook"] == [*examples]
    assert "https://example.com/hook" == examples.pop("A webhook")
    for service, address in examples.items():
        asked = {**CHANNEL, "name": service, "kind": "apprise", "address": address}
        assert f"The channel {service} was made." in notice(
            receiver, post(receiver, "/alerts/channels/new", **asked)
        )
    assert 'by its button "Send a test"' in page


def test_first_channel_gets_the_default_rule(receiver: httpx.Client) -> None:
    post(receiver, "/alerts/channels/new", **CHANNEL)

    page = receiver.get("/alerts").text

    assert "Down for five minutes" in page
    assert "<code><bdi>stage:none,production</bdi></code>" in page
    assert "after 5 min" in page


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"time_zone": "Europe/Nowhere"}, "Time zone expected an IANA time zone"),
        ({"per_hour": "many"}, "Messages an hour expected a whole number"),
        ({"address": "file:///etc/passwd"}, "Address "),
        ({"report_at": "at eight"}, "Weekly report "),
        ({"name": ""}, "Name expected 1 to 100 printable characters"),
    ],
)
def test_refused_channel_is_shown_again_without_its_address(
    receiver: httpx.Client, changed: dict[str, str], said: str
) -> None:
    answer = post(receiver, "/alerts/channels/new", **{**CHANNEL, **changed})

    assert 422 == answer.status_code
    assert fault(answer).startswith(said)
    assert {**CHANNEL, **changed, "address": ""}.items() >= (
        fields_of(answer).items() - {("form", fields_of(answer)["form"])}
    )
    assert 0 == receiver.get("/channels").json()["count"]


def test_refused_webhook_is_shown_again_with_the_example_of_a_webhook(
    receiver: httpx.Client,
) -> None:
    answer = post(receiver, "/alerts/channels/new", **{**CHANNEL, "name": ""})

    assert 'placeholder="https://example.com/hook"' in answer.text
    assert 'placeholder="mailtos://' in receiver.get("/alerts/channels/new").text


def test_channel_without_a_secret_key_of_the_receiver_says_how_to_make_one(
    database_url: str, clock: Clock
) -> None:
    with serve(create_app(environ={"FLEET_DATABASE_URL": database_url}, clock=clock)) as client:
        answer = post(client, "/alerts/channels/new", **CHANNEL)

    assert 409 == answer.status_code
    assert "secret-key" in fault(answer)


def test_change_of_a_channel_leaves_the_address_unless_there_is_another(
    receiver: httpx.Client,
) -> None:
    path = f"/alerts/channels/{new_channel(receiver, report_at='0 8 * * 1')}"
    shown = fields_of(receiver.get(path))
    same = post(receiver, path, **{**shown, "name": "Others", "report_at": ""})

    assert {
        "name": "Operators",
        "per_hour": "20",
        "report_at": "0 8 * * 1",
    }.items() <= shown.items()
    assert "" == shown["address"]
    assert "The channel Others was changed." == notice(receiver, same)
    assert ("127.0.0.1", None) == tuple(
        only(receiver, "channels")[name] for name in ("service", "report_at")
    )
    other = post(receiver, path, **{**shown, "address": "http://127.0.0.2:9/"})
    assert "whsec_" in notice(receiver, other)
    assert "127.0.0.2" == only(receiver, "channels")["service"]


def test_channel_is_removed_after_a_question(receiver: httpx.Client) -> None:
    path = f"/alerts/channels/{new_channel(receiver)}/remove"
    asked = receiver.get(path)

    assert "Remove this channel?" == title(asked)
    assert 1 == receiver.get("/channels").json()["count"]
    assert "The channel Operators was removed." == notice(receiver, post(receiver, path))
    assert 0 == receiver.get("/channels").json()["count"]


def test_channel_test_button_shows_its_outcome(receiver: httpx.Client, sink: HttpSink) -> None:
    works = new_channel(receiver, address={"url": sink.url})
    fails = new_channel(receiver, address={"url": f"http://127.0.0.1:{closed_port()}/"})

    sent = post(receiver, f"/alerts/channels/{works}/test", page="/alerts")
    assert "A test was sent through the channel Operators." == notice(receiver, sent)
    failed = post(receiver, f"/alerts/channels/{fails}/test", page="/alerts")
    assert "The test through the channel Operators failed: there was no answer" in notice(
        receiver, failed
    )
    (request,) = sink.received
    assert "fleet.test" == request.json["type"]

"""Who may see alerts and change them, and what else the forms have."""

import html
import re

import httpx
import pytest

import messages
from alert_calls import new_channel
from alert_forms import CHANNEL, goes_down, post
from form_filling import fault, title
from keyring import bearer, keep, made
from servers import Clock, wait_until


@pytest.mark.parametrize(
    ("path", "what"),
    [
        ("/alerts/channels/none", "channel"),
        ("/alerts/channels/none/remove", "channel"),
        ("/alerts/rules/none", "rule"),
        ("/alerts/rules/none/remove", "rule"),
    ],
)
def test_alerts_page_of_an_unknown_id_is_404(receiver: httpx.Client, path: str, what: str) -> None:
    answer = receiver.get(path)

    assert (404, f"There is no such {what}") == (answer.status_code, title(answer))
    assert "All alerts" in answer.text


@pytest.mark.parametrize(
    ("path", "what"),
    [
        ("/alerts/silences/none/end", "silence"),
        ("/alerts/alarms/none/acknowledge", "alarm"),
        ("/alerts/alarms/7/acknowledge", "alarm"),
        ("/alerts/channels/none/test", "channel"),
        ("/alerts/rules/none", "rule"),
    ],
)
def test_alerts_form_for_an_unknown_id_is_404(receiver: httpx.Client, path: str, what: str) -> None:
    answer = post(receiver, path, page="/alerts/channels/new")

    assert (404, f"There is no such {what}") == (answer.status_code, title(answer))


def test_alerts_form_without_a_csrf_token_changes_nothing(receiver: httpx.Client) -> None:
    answer = receiver.post("/alerts/channels/new", data=CHANNEL)

    assert 403 == answer.status_code
    assert "Nothing was changed. Send it again" in fault(answer)
    assert 0 == receiver.get("/channels").json()["count"]


@pytest.mark.parametrize(
    "path", ["/alerts", "/alerts/channels/new", "/report", "/alerts/rules/new?query=stage:dev"]
)
def test_sign_in_leads_back_to_the_alerts_page(
    receiver: httpx.Client, database_url: str, path: str
) -> None:
    key, secret = made("admin")
    keep(database_url, key)
    wait_until(lambda: receiver.get(path).status_code == 401)
    asked = receiver.get(path)
    form = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', asked.text))

    answer = receiver.post("/sign-in", data={**form, "key": secret})

    assert html.unescape(form["to"]) == path
    assert receiver.base_url.join(path) == answer.url.join(answer.headers["location"])


def test_session_that_ended_leads_from_a_button_back_to_the_page(
    receiver: httpx.Client, database_url: str
) -> None:
    channel_id = new_channel(receiver)
    receiver.post("/heartbeat", json=messages.heartbeat()).raise_for_status()
    keep(database_url, made("admin")[0])
    wait_until(lambda: receiver.get("/alerts").status_code == 401)

    for path, to in (
        (f"/alerts/channels/{channel_id}/test", "/alerts"),
        ("/alerts/silences/a/end", "/alerts"),
        ("/alerts/alarms/1/acknowledge", "/alerts"),
        (f"/alerts/channels/{channel_id}/remove", f"/alerts/channels/{channel_id}/remove"),
        ("/server/acme_web-1/silence", "/server/acme_web-1"),
        ("/server/silence/owner", "/server/silence"),
    ):
        asked = receiver.post(path)
        assert 401 == asked.status_code
        assert f'name="to" value="{to}"' in asked.text


def test_viewer_sees_alerts_and_changes_nothing(
    receiver: httpx.Client, clock: Clock, database_url: str
) -> None:
    goes_down(receiver, clock, new_channel(receiver))
    receiver.post("/silences", json={"query": "", "reason": "a", "duration_seconds": 60})
    key, secret = made("viewer")
    keep(database_url, key)
    wait_until(lambda: receiver.get("/alerts").status_code == 401)
    as_viewer = bearer(secret)

    page = receiver.get("/alerts", headers=as_viewer).text
    server = receiver.get("/server/acme_web-1", headers=as_viewer).text
    form = receiver.get("/alerts/channels/new", headers=as_viewer)

    assert "went down" in page
    assert "Operators" in page
    for change in ("/acknowledge", "/test", "/end", "/remove", '/new"'):
        assert change not in page
    assert 'id="silence"' not in server
    assert 403 == form.status_code


def test_number_of_alarms_is_shown_only_to_keys_that_may_read(
    receiver: httpx.Client, clock: Clock, database_url: str
) -> None:
    goes_down(receiver, clock, new_channel(receiver))
    wait_until(lambda: 'class="count"' in receiver.get("/timeline").text)
    agent, agents = made("agent")
    viewer, viewers = made("viewer")
    keep(database_url, agent, viewer)
    wait_until(lambda: receiver.get("/alerts").status_code == 401)

    assert 'class="count"' in receiver.get("/timeline", headers=bearer(viewers)).text
    for path, headers in (
        ("/", {}),
        ("/sign-in", {}),
        ("/sign-in", bearer(agents)),
        ("/", bearer(agents)),
    ):
        assert 'class="count"' not in receiver.get(path, headers=headers).text


def test_hostile_names_on_the_alerts_pages_are_escaped(receiver: httpx.Client) -> None:
    name = "<script>alert('x')</script>\"&"
    channel_id = new_channel(receiver, name=name)
    rule = {"name": name, "query": f"'{name.replace(chr(34), '')}", "kinds": ["down"]}
    receiver.post("/rules", json={**rule, "channel_id": channel_id}).raise_for_status()

    for path in ("/alerts", "/alerts/rules/new", f"/alerts/channels/{channel_id}"):
        page = receiver.get(path).text
        assert "<script>alert" not in page
        assert name in html.unescape(page)

"""Test helper: the forms of channels, rules and silences."""

import html
import re
from typing import Any

import httpx

import messages
from alert_calls import NOWHERE
from servers import Clock, wait_until

__all__ = ["CHANNEL", "HOSTILE", "fields_of", "goes_down", "notice", "only", "post"]

HOSTILE = "<script>alert('x')</script>\"&\u202e"


def token(client: httpx.Client, path: str) -> str:
    """The CSRF token in the forms of a page; sets its cookie."""
    (found, *_) = re.findall(r'name="form" value="([^"]+)"', client.get(path).text)
    return str(found)


def post(client: httpx.Client, path: str, *, page: str | None = None, **fields: str) -> Any:
    """Send the form that is posted to `path` and is on `page`, by default that path."""
    form = {"form": token(client, page or path), **fields}
    return client.post(path, data=form)


def notice(client: httpx.Client, answer: httpx.Response, *, page: str = "/alerts") -> str:
    """Follow the redirect of a form to `page`; the text that this page shows once."""
    assert 303 == answer.status_code, answer.text
    there = client.get(str(answer.url.join(answer.headers["location"])))
    assert page == there.url.path
    (found,) = re.findall(r'id="notice" role="status">(.*?)</p>', there.text)
    return html.unescape(re.sub("<[^>]+>", "", found))


def fields_of(page: httpx.Response) -> dict[str, str]:
    """The texts in the input fields of a page, and `1` for each checkbox that is ticked."""
    found = {}
    for field in re.findall(r"<input ([^>]*)>", page.text):
        attributes = dict(re.findall(r'([\w-]+)="([^"]*)"', field))
        if attributes["type"] != "checkbox" or field.endswith(" checked"):
            found[attributes["name"]] = html.unescape(attributes.get("value", ""))
    return found


CHANNEL = {
    "name": "Operators",
    "kind": "webhook",
    "address": NOWHERE,
    "per_hour": "20",
    "report_at": "0 8 * * 1",
    "time_zone": "Europe/Vienna",
}


def only(client: httpx.Client, what: str) -> dict[str, Any]:
    """The only channel, rule or silence that the API lists, without what no two have in common."""
    (found,) = client.get(f"/{what}").json()[what]
    return {name: value for name, value in found.items() if name not in {"id", "created_at"}}


def goes_down(client: httpx.Client, clock: Clock, channel_id: str, **rule: Any) -> int:
    """Let a server go down, of which a rule tells at once; the id of the alarm."""
    asked = {"name": "At once", "kinds": ["down"], "channel_id": channel_id, **rule}
    client.post("/rules", json=asked).raise_for_status()
    for each in client.get("/rules").json()["rules"]:
        if each["name"] != asked["name"]:
            client.delete(f"/rules/{each['id']}").raise_for_status()
    client.post("/heartbeat", json=messages.heartbeat()).raise_for_status()
    for state in ("late", "down"):
        clock.advance(200)
        wait_until(lambda: client.get("/servers/acme_web-1").json()["state"] == state)  # noqa: B023 - called at once
        wait_until(
            lambda: client.get(f"/events?kind={state}").json()["count"] == 1  # noqa: B023 - called at once
        )
    wait_until(lambda: client.get("/alarms?open=true").json()["count"] == 1)
    clock.advance(40)  # what is due within half a minute is one message
    (alarm,) = client.get("/alarms?open=true").json()["alarms"]
    return int(alarm["id"])

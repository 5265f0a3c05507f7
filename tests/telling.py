"""Test helper: receivers that tell of alarms through channels to servers of the test itself."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import httpx

import keyring
import messages
from contract.fields import format_moment
from messages import Json
from receiver.app import Tuning, create_app
from receiver.domain.alerts.values import Channel, ChannelKind, Delivery, DeliveryKind
from receiver.domain.endpoints import DEFAULT_ENDPOINTS
from receiver.service.alerts.delivery.message import Message
from receiver.service.alerts.secret_box import SecretBox
from receiver.store import SqlStore
from servers import ANY_PAUSE_SECONDS, Clock, Process, serve
from sinks import HttpSink, SmtpSink

__all__ = [
    "HERE",
    "MESSAGE",
    "NOON",
    "SECRET",
    "SIGNED",
    "QuickProcess",
    "add_channel",
    "add_webhook",
    "beat",
    "channel",
    "delivery",
    "event_kinds",
    "keep_channel",
    "made",
    "mail_url",
    "quick_process",
    "settings",
    "settle",
    "signed_request",
    "telling_receiver",
]

HERE = f"{DEFAULT_ENDPOINTS},localhost,127.0.0.0/8"
"""An allow list of hosts with this machine, where the servers of a test are."""

SECRET = "whsec_c2VjcmV0IG9mIGEgd2ViaG9vayBpbiBhIHRlc3Q="
"""What the webhooks of a test are signed with."""

NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)

MESSAGE = Message(
    id="msg_2Hn5vXb8Qm4Kc7Rt1Wz9Yp3Df6G",
    kind="alarm",
    thread="al_1",
    title="Down: <b>acme</b> & Söhne",
    text="acme & Söhne <production>\n\nSince 12:00.",
    body={"type": "fleet.alarm", "data": {"name": "acme & Söhne"}},
)

SIGNED = ("POST", "/hook?a=b", MESSAGE.id, "application/json", MESSAGE.body)
"""What `signed_request` returns of the message, sent to `/hook?a=b`."""


def signed_request(sink: HttpSink) -> tuple[str, str, str, str, Any]:
    """The one request that a webhook got: method, path, id, type and body, whose signature fits."""
    (request,) = sink.received
    headers = request.headers
    signed = request.verified(SECRET)
    return request.method, request.path, headers["webhook-id"], headers["content-type"], signed


def mail_url(mailbox: SmtpSink, more: str = "") -> str:
    return (
        f"mailto://127.0.0.1:{mailbox.port}?mode=insecure"
        f"&from=fleet@example.com&to=ops@example.com{more}"
    )


def settings(url: str, **more: str) -> dict[str, str]:
    """The environment of a receiver that may tell servers of this machine."""
    return {
        "FLEET_DATABASE_URL": url,
        "FLEET_SECRET_KEY": SecretBox.new_key(),
        "FLEET_ALERT_ADDRESSES": HERE,
        "FLEET_PUBLIC_URL": "https://fleet.example.com/",
        **more,
    }


@contextmanager
def telling_receiver(url: str, clock: Clock, **more: str) -> Iterator[httpx.Client]:
    """Run a receiver that looks for alarms ten times a second; its client is an administrator."""
    key, token = keyring.made("admin", name="root")
    keyring.keep(url, key)
    tuning = Tuning(absence_seconds=ANY_PAUSE_SECONDS, look_seconds=0.05, alert_seconds=0.1)
    app = create_app(environ=settings(url, **more), clock=clock, tuning=tuning)
    with serve(app) as client:
        client.headers.update(keyring.bearer(token))
        client.timeout = httpx.Timeout(60)
        yield client


def made(receiver: httpx.Client, path: str, **asked: Any) -> Json:
    """Ask for a new channel, rule or silence; returns the answer."""
    answer = receiver.post(path, json=asked)
    assert 201 == answer.status_code, answer.text
    found: Json = answer.json()
    return found


def add_webhook(receiver: httpx.Client, sink: HttpSink, **more: Any) -> str:
    """Make a channel for a webhook; returns its id."""
    address = {"url": f"{sink.url}/hook", "secret": SECRET}
    return add_channel(receiver, kind="webhook", address=address, **more)


def add_channel(receiver: httpx.Client, **asked: Any) -> str:
    """Make a channel; returns its id."""
    channel_id: str = made(receiver, "/channels", **{"name": "ops", **asked})["channel"]["id"]
    return channel_id


def beat(receiver: httpx.Client, clock: Clock, server_id: str = "a", **more: Any) -> None:
    """Send a heartbeat of a server."""
    message = messages.heartbeat(server_id=server_id, timestamp=format_moment(clock.now), **more)
    assert 200 == receiver.post("/heartbeat", json=message).status_code


def event_kinds(receiver: httpx.Client) -> list[str]:
    """The kinds of the latest events, newest first."""
    return [each["kind"] for each in receiver.get("/events?limit=1000").json()["events"]]


def settle(store: SqlStore, clock: Callable[[], datetime]) -> None:
    """Do what a receiver does, until there is no alarm to begin, end or tell at this time."""
    for _ in range(3):  # an alarm that begins has no number before it is stored, and is told later
        while store.alerts.advance(clock(), None):
            pass


def channel(number: int = 1, **changed: Any) -> Channel:
    """A channel that is not stored."""
    known: dict[str, Any] = {
        "id": f"channel-{number}",
        "name": f"Channel {number}",
        "kind": ChannelKind.WEBHOOK,
        "address": b"sealed",
        "service": "example.com",
        "per_hour": 1000,
        "report_at": None,
        "time_zone": "UTC",
        "created_at": NOON,
    }
    return Channel(**{**known, **changed})


def keep_channel(store: SqlStore, number: int = 1, **changed: Any) -> Channel:
    """Store a channel without a rule."""
    found = channel(number, **changed)
    store.alerts.add_channel(found, None)
    return found


def delivery(number: int, to: Channel, **changed: Any) -> Delivery:
    """A message that is due at noon."""
    known: dict[str, Any] = {
        "id": f"msg_{number:027}",
        "channel_id": to.id,
        "kind": DeliveryKind.ALARM,
        "thread": f"alarm-{number}",
        "title": f"Down: server {number}",
        "text": f"Server {number} is down.",
        "body": {"type": "fleet.alarm", "data": {"number": number}},
        "created_at": NOON,
        "next_at": NOON,
    }
    return Delivery(**{**known, **changed})


class QuickProcess(Process):
    """A receiver in a process of its own, whose messages others may send after eight seconds."""

    app = "quick_alerts:app"

    def __init__(self, folder: Path, **environ: str) -> None:
        super().__init__(folder, f"--app-dir={Path(__file__).parent}", **environ)


@contextmanager
def quick_process(folder: Path, **environ: str) -> Iterator[QuickProcess]:
    """Run such a process; yields it when it is healthy, and kills it at the end."""
    process = QuickProcess(folder, **environ)
    try:
        process.wait_until_healthy()
        yield process
    finally:
        process.kill()

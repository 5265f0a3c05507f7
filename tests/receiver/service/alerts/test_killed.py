"""A receiver that is killed while it sends loses no message; one comes twice, and is the same."""

from collections.abc import Mapping
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

import httpx
import pytest
from sqlalchemy import make_url

from receiver.store import SqlStore
from servers import DIRECT, Process, wait_until
from sinks import HttpSink, Request
from telling import SECRET, add_webhook, delivery, quick_process, settings

pytestmark = pytest.mark.one_database


def kill(receiver: Process, status: int, _: Request) -> tuple[int, Mapping[str, str]]:
    """Kill the receiver whose request is being answered."""
    receiver.kill()
    return status, {}


def test_message_under_way_when_its_receiver_is_killed_is_sent_again(
    sqlite_url: str, tmp_path: Path, sink: HttpSink
) -> None:
    """
    It is killed after the webhook has the message, and before that is noted.

    Two receivers are killed one after the other, and the webhook answers them differently.
    """
    environ = settings(sqlite_url)
    store = SqlStore(make_url(sqlite_url))
    now = datetime.now(timezone.utc)
    with quick_process(tmp_path, **environ) as receiver:
        sink.answer = partial(kill, receiver, 200)
        with httpx.Client(base_url=receiver.url, **DIRECT) as client:
            channel_id = add_webhook(client, sink)
        (channel,) = store.alerts.channels()
        for number in range(3):
            store.alerts.enqueue(delivery(number, channel, created_at=now, next_at=now))
        wait_until(lambda: bool(sink.received))
    with quick_process(tmp_path, **environ) as receiver:
        sink.answer = partial(kill, receiver, 500)
        wait_until(lambda: len(sink.received) == 2)
    sink.answer = lambda _: (200, {})
    with quick_process(tmp_path, **environ):
        wait_until(lambda: store.alerts.counts(now).waiting == 0)

    found = store.alerts.deliveries(channel_id=channel_id, limit=9)
    store.close()
    bodies = [(each.headers["webhook-id"], each.verified(SECRET)) for each in sink.received]
    ids = [message_id for message_id, _ in bodies]
    assert {each.id for each in found} == {*ids}
    assert None not in [each.sent_at for each in found]
    assert 5 == len(bodies)
    assert 1 == len({*ids[:3]})
    assert bodies[0] == bodies[1] == bodies[2]

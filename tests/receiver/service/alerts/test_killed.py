"""A receiver that is killed while it sends loses no message; one comes twice, and is the same."""

from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path

import httpx
import pytest
from sqlalchemy import make_url

from receiver.store import SqlStore
from servers import NO_AUTHORITIES, wait_until
from sinks import HttpSink, Request
from telling import SECRET, add_webhook, delivery, quick_process, settings

pytestmark = pytest.mark.one_database


@pytest.mark.parametrize("status", [200, 500])
def test_message_under_way_when_its_receiver_is_killed_is_sent_again(
    sqlite_url: str, tmp_path: Path, sink: HttpSink, status: int
) -> None:
    """It is killed after the webhook has the message, and before that is noted."""
    environ = settings(sqlite_url)
    store = SqlStore(make_url(sqlite_url))
    now = datetime.now(timezone.utc)
    with quick_process(tmp_path, **environ) as receiver:

        def kill(_: Request) -> tuple[int, Mapping[str, str]]:
            receiver.kill()
            return status, {}

        sink.answer = kill
        with httpx.Client(base_url=receiver.url, verify=NO_AUTHORITIES, trust_env=False) as client:
            channel_id = add_webhook(client, sink)
        (channel,) = store.alerts.channels()
        for number in range(3):
            store.alerts.enqueue(delivery(number, channel, created_at=now, next_at=now))
        wait_until(lambda: bool(sink.received))
    sink.answer = lambda _: (200, {})
    with quick_process(tmp_path, **environ):
        wait_until(lambda: store.alerts.counts(now).waiting == 0)

    found = store.alerts.deliveries(channel_id=channel_id, limit=9)
    store.close()
    bodies = [(each.headers["webhook-id"], each.verified(SECRET)) for each in sink.received]
    ids = [message_id for message_id, _ in bodies]
    assert {each.id for each in found} == {*ids}
    assert None not in [each.sent_at for each in found]
    assert 4 == len(bodies)
    assert ids[0] == ids[1]
    assert bodies[0] == bodies[1]

"""Two receivers share an outbox, and one after the other is killed while it sends."""

import logging
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import datetime, timezone
from itertools import count
from pathlib import Path
from random import uniform
from threading import Event
from time import sleep

import httpx
from sqlalchemy import make_url

from postgres import Postgres
from receiver.store import SqlStore
from servers import NO_AUTHORITIES, wait_until
from sinks import HttpSink, Request, http_sink
from telling import SECRET, QuickProcess, add_webhook, delivery, settings

CHANNELS = 4
KILLS = 10
MESSAGES = 4
"""How many messages of each channel are made before each kill."""


class Hooks:
    """
    Answers requests to webhooks, after a moment.

    Attributes:
        came: Is set whenever a request comes.
        taken: How often each message was taken, by its id.
    """

    def __init__(self) -> None:
        self.came = Event()
        self.taken: Counter[str] = Counter()

    def __call__(self, request: Request) -> tuple[int, Mapping[str, str]]:
        self.came.set()
        sleep(uniform(0, 0.3))  # a receiver is killed before, during or after this
        self.taken[request.headers["webhook-id"]] += 1
        return 200, {}


def make_channels(url: str, sink: HttpSink) -> None:
    with httpx.Client(base_url=url, verify=NO_AUTHORITIES, trust_env=False) as client:
        for number in range(CHANNELS):
            add_webhook(client, sink, name=f"hook {number}", per_hour=1000)


def test_no_message_is_lost_and_none_comes_with_two_contents_when_receivers_are_killed(
    postgres: Postgres, tmp_path: Path
) -> None:
    hooks = Hooks()
    numbers = count()
    made: set[str] = set()

    def make_messages() -> None:
        now = datetime.now(timezone.utc)
        for channel in store.alerts.channels():
            for _ in range(MESSAGES):
                new = delivery(next(numbers), channel, created_at=now, next_at=now)
                store.alerts.enqueue(new)
                made.add(new.id)

    def start(number: int) -> QuickProcess:
        folder = tmp_path / f"receiver-{number}"
        folder.mkdir(exist_ok=True)
        return QuickProcess(folder, **environ)

    with ExitStack() as running:
        environ = settings(postgres.url(running.enter_context(postgres.new_database())))
        sink = running.enter_context(http_sink())
        sink.answer = hooks
        receivers = [start(0), start(1)]
        running.callback(lambda: [*map(QuickProcess.kill, receivers)])
        for each in receivers:
            each.wait_until_healthy()
        store = SqlStore(make_url(environ["FLEET_DATABASE_URL"]))
        running.callback(store.close)
        make_channels(receivers[0].url, sink)
        for number in range(KILLS):
            hooks.came.clear()
            make_messages()
            assert hooks.came.wait(60), "nothing is sent any more"
            sleep(uniform(0, 0.5))
            receivers[number % 2].kill()
            receivers[number % 2] = start(number % 2)
            receivers[number % 2].wait_until_healthy()
        wait_until(lambda: store.alerts.counts(datetime.now(timezone.utc)).waiting == 0)
        kept = store.alerts.deliveries(limit=1000)

    contents: dict[str, set[bytes]] = {}
    for request in sink.received:
        request.verified(SECRET)
        contents.setdefault(request.headers["webhook-id"], set()).add(request.body)
    again = sum(hooks.taken.values()) - len(hooks.taken)
    assert KILLS * CHANNELS * MESSAGES == len(made)
    assert made == {*hooks.taken} == {each.id for each in kept if each.sent_at is not None}
    assert {1} == {len(bodies) for bodies in contents.values()}
    # Of each channel one message is under way, which comes twice if it was taken before the kill.
    assert 0 < again <= KILLS * CHANNELS
    logging.getLogger(__name__).info("%d messages, %d of them taken twice", len(made), again)

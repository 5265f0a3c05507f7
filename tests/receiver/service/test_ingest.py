"""Ingest: from posted bodies to their outcomes."""

from collections.abc import Sequence
from datetime import datetime, timezone

import httpx
import pytest

import messages
from contract import Heartbeat, InvalidMessage, MalformedJSON
from keyring import made
from receiver.app import create_app
from receiver.domain.errors import Refusal
from receiver.domain.outcomes import BodyKind, Incoming
from receiver.domain.rate_limits import RateLimits
from receiver.service.decoding import Reader
from receiver.service.ingest import Submission, ingest
from servers import Clock, serve
from watched import endless

NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)


def test_error_of_a_refused_body_holds_no_traceback() -> None:
    submission = Submission(b"[1,]", BodyKind.HEARTBEAT, NOON)

    (outcome,) = ingest(lambda _: [], endless(), [submission])

    assert isinstance(outcome, MalformedJSON)
    assert (None, None, None) == (outcome.__traceback__, outcome.__cause__, outcome.__context__)


@pytest.mark.parametrize("item", [b"0", b'{"x": 1e999}', b'{"server_id": "\\u0000"}'])
def test_error_of_a_refused_item_holds_no_traceback(item: bytes) -> None:
    (error,) = Reader(Heartbeat).read_list(b"[%b]" % item, at_most=1, longest=65536)

    assert isinstance(error, InvalidMessage)
    assert (None, None, None) == (error.__traceback__, error.__cause__, error.__context__)


def test_unreadable_item_of_a_batch_is_refused_alone(receiver: httpx.Client) -> None:
    beat = b'{"server_id": "a"}, {"server_id": "b", "port": 0, "of_another_version": 1e999}'

    answer = receiver.post(
        "/heartbeats", content=b"[%b]" % beat, headers={"Content-Type": "application/json"}
    ).json()

    assert (1, 1) == (answer["accepted"], answer["rejected"])
    assert "not valid JSON" in answer["results"][1]["errors"][0]["message"]


def test_app_can_be_served_again(sqlite_url: str, clock: Clock) -> None:
    app = create_app(environ={"FLEET_DATABASE_URL": sqlite_url}, clock=clock)
    counts = []
    for _ in range(3):
        with serve(app) as receiver:
            answer = receiver.post("/heartbeat", json=messages.slim())
            counts.append(answer.json()["heartbeat_count"])

    assert [1, 2, 3] == counts


def test_batch_of_submissions_is_rate_limited_by_its_key() -> None:
    """The first two of three submissions pass, and the third is refused."""
    key, _ = made("agent")
    limits = RateLimits(messages_per_window=2, changes_per_hour=100, failures_per_window=100)
    written: list[Incoming] = []

    def apply(incoming: Sequence[Incoming]) -> list[Refusal]:
        written.extend(incoming)
        return [Refusal(403, "any", "any reason") for _ in incoming]

    bodies = [b'{"server_id": "a"}', b'{"server_id": "b"}', b'{"server_id": "c"}']
    submissions = [Submission(body, BodyKind.HEARTBEAT, NOON, key) for body in bodies]
    *_, last = ingest(apply, limits, submissions)

    assert ["a", "b"] == [each.message.server_id for each in written]
    assert isinstance(last, Refusal)
    assert "too_many_messages" == last.code

"""Ingest: from posted bodies to their outcomes."""

import json
from collections.abc import Sequence
from datetime import datetime, timezone

import httpx
import pytest

import messages
from contract import InvalidMessage, MalformedJSON
from keyring import made
from receiver.app import create_app
from receiver.domain.errors import Refusal
from receiver.domain.keys import Key
from receiver.domain.outcomes import BodyKind, Incoming
from receiver.domain.rate_limits import RateLimits
from receiver.service.ingest import Body, Submission, ingest
from servers import Clock, serve
from watched import endless

NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)


def test_error_of_a_refused_body_holds_no_traceback() -> None:
    body = Body(Submission(b"[1,]", BodyKind.HEARTBEAT, NOON))

    ingest(lambda _: [], endless(), [body], reading_seconds=60)

    outcome = body.error
    assert isinstance(outcome, MalformedJSON)
    assert (None, None, None) == (outcome.__traceback__, outcome.__cause__, outcome.__context__)


@pytest.mark.parametrize("item", [b"0", b'{"x": 1e999}', b'{"server_id": "\\u0000"}'])
def test_error_of_a_refused_item_holds_no_traceback(item: bytes) -> None:
    body = Body(Submission(b'[%b, {"server_id": "a"}]' % item, BodyKind.HEARTBEATS, NOON))

    ingest(lambda _: [Refusal(403, "any", "any reason")], endless(), [body], reading_seconds=60)

    error = body.outcomes[0]
    assert isinstance(error, InvalidMessage)
    assert (None, None, None) == (error.__traceback__, error.__cause__, error.__context__)


@pytest.mark.parametrize("end", [b'"a"]', b"NaN]"])
def test_list_that_is_no_json_is_read_in_steps(end: bytes) -> None:
    """Meanwhile messages of others are written."""
    long = b"[NaN, %b" % (b'"",' * 20_000) + end
    slow = Body(Submission(long, BodyKind.HEARTBEATS, NOON, made("agent")[0]))
    steps = 0
    while not slow.is_done:
        quick = Body(Submission(b'{"server_id": "a"}', BodyKind.HEARTBEAT, NOON))
        ingest(
            lambda _: [Refusal(403, "any", "any reason")],
            endless(),
            [quick, slow],
            reading_seconds=0.001,
        )
        steps += quick.is_done

    assert isinstance(slow.error, InvalidMessage | MalformedJSON)
    assert steps > 1


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
    submitted = [Body(Submission(body, BodyKind.HEARTBEAT, NOON, key)) for body in bodies]
    ingest(apply, limits, submitted, reading_seconds=60)

    assert [("a", key), ("b", key)] == [(each.message.server_id, each.key) for each in written]
    last = submitted[-1].error
    assert isinstance(last, Refusal)
    assert "too_many_messages" == last.code


def test_items_that_take_too_long_to_decode_are_left_for_the_next_transaction() -> None:
    written: list[str] = []
    given: list[int] = []

    def apply(incoming: Sequence[Incoming]) -> list[Refusal]:
        given.append(len(incoming))
        written.append(incoming[0].message.server_id)
        return [Refusal(403, "any", "any reason")]

    body = Body(
        Submission(
            b'[{"server_id": "a"}, {"server_id": "b"}, {"server_id": "c"}]',
            BodyKind.HEARTBEATS,
            NOON,
        )
    )
    ingest(apply, endless(), [body], reading_seconds=-1)
    ingest(apply, endless(), [body], reading_seconds=60)
    assert not body.is_done
    ingest(apply, endless(), [body], reading_seconds=60)

    assert body.is_done
    assert (["a", "b", "c"], [1, 2, 1]) == (written, given)


def test_later_body_of_a_key_waits_for_the_rest_of_an_earlier_one() -> None:
    """A transaction is given 1,000 messages, half of each key, and leaves most of them."""
    written: list[str] = []

    def apply(incoming: Sequence[Incoming]) -> list[Refusal]:
        taken = incoming if written else incoming[:10]
        written.extend(each.message.server_id for each in taken)
        return [Refusal(403, "any", "any reason") for _ in taken]

    def body(key: Key, *ids: str) -> Body:
        text = json.dumps([{"server_id": each} for each in ids]).encode()
        return Body(Submission(text, BodyKind.HEARTBEATS, NOON, key))

    one, other = made("agent")[0], made("agent")[0]
    names = [f"one-{n}" for n in range(1000)]
    bodies = [
        body(one, *names),
        body(one, "one-last"),
        body(other, *(f"other-{n}" for n in range(1000))),
    ]
    while not all(each.is_done for each in bodies):
        ingest(apply, endless(), [each for each in bodies if not each.is_done], reading_seconds=60)

    assert [*names, "one-last"] == [each for each in written if each.startswith("one")]

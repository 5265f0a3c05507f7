"""Group commit."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timezone
from threading import Event
from typing import Any

import httpx
import pytest

import messages
from contract import Heartbeat, InvalidMessage, MalformedJSON, merge
from receiver.app import Tuning, create_app
from receiver.domain.errors import Overloaded, StoreUnavailable
from receiver.domain.outcomes import Applied, BodyKind, Incoming, Outcome
from receiver.service.group_commit import GroupCommit
from receiver.service.ingest import Submission
from servers import Clock, serve
from watched import endless

NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)


def beats(names: str) -> Submission:
    """A body with a heartbeat of each of these servers; one that is called "wrong" is wrong."""
    if names == "no JSON":
        return Submission(b"no JSON", BodyKind.HEARTBEATS, NOON)
    items = [
        {"server_id": name} if name != "wrong" else {"server_id": name, "port": 0}
        for name in names.split(",")
    ]
    return Submission(json.dumps(items).encode(), BodyKind.HEARTBEATS, NOON)


def size(*bodies: str) -> int:
    """How many bytes bodies have together."""
    return sum(len(beats(names).body) for names in bodies)


class Transactions:
    """Notes who is written together; may be held up, and fails as it is told to."""

    def __init__(self) -> None:
        self.of: list[list[str]] = []
        self.begun = Event()
        self.open = Event()
        self.open.set()
        self.away = False

    def apply(self, incoming: Sequence[Incoming]) -> list[Applied]:
        ids = [each.message.server_id for each in incoming]
        self.of.append(ids)
        self.begun.set()
        assert self.open.wait(10)
        if self.away:
            raise StoreUnavailable("gone for lunch")
        if "bad" in ids:
            raise LookupError("bad")
        return [
            Applied(record=merge(None, Heartbeat(server_id=s), received_at=NOON), created=True)
            for s in ids
        ]


def drive(
    scene: Callable[[GroupCommit, Transactions], Awaitable[Any]], **limits: Any
) -> list[list[str]]:
    """Play a scene with a writer that runs, and tell who was written together."""
    transactions = Transactions()

    async def play() -> None:
        writer = GroupCommit(transactions.apply, endless(), **limits)
        running = asyncio.create_task(writer.run())
        await scene(writer, transactions)
        running.cancel()

    asyncio.run(play())
    return transactions.of


async def crowd(
    writer: GroupCommit, transactions: Transactions, *bodies: str
) -> list["asyncio.Future[Outcome]"]:
    """Let jobs gather behind a transaction that takes its time."""
    transactions.open.clear()
    answers = [writer.submit(beats("first"))]
    await asyncio.to_thread(transactions.begun.wait, 10)
    return answers + [writer.submit(beats(body)) for body in bodies]


def ids(outcome: Outcome) -> list[str]:
    return [each.record.server_id if isinstance(each, Applied) else "wrong" for each in outcome]


def test_those_who_wait_are_written_together_and_answered_one_by_one() -> None:
    async def scene(writer: GroupCommit, transactions: Transactions) -> None:
        answers = await crowd(writer, transactions, "a", "b,c", "d")
        transactions.open.set()

        assert [["first"], ["a"], ["b", "c"], ["d"]] == [ids(await answer) for answer in answers]

    assert [["first"], ["a", "b", "c", "d"]] == drive(scene)


def test_a_transaction_is_closed_when_it_is_full() -> None:
    async def scene(writer: GroupCommit, transactions: Transactions) -> None:
        answers = await crowd(writer, transactions, "aa", "bb,cc", "dd")
        transactions.open.set()
        await asyncio.gather(*answers)

    assert [["first"], ["aa", "bb", "cc"], ["dd"]] == drive(
        scene, max_batch_bytes=size("aa", "bb,cc")
    )


def test_a_body_that_cannot_be_used_is_refused_alone() -> None:
    async def scene(writer: GroupCommit, transactions: Transactions) -> None:
        answers = await crowd(writer, transactions, "a", "no JSON", "wrong,b", "wrong")
        transactions.open.set()
        _, a, refused, partly, wrong = await asyncio.gather(*answers, return_exceptions=True)

        assert isinstance(refused, MalformedJSON)
        assert not isinstance(a, BaseException)
        assert not isinstance(partly, BaseException)
        assert not isinstance(wrong, BaseException)
        assert [["a"], ["wrong", "b"], ["wrong"]] == [ids(a), ids(partly), ids(wrong)]

    assert [["first"], ["a", "b"]] == drive(scene)


def test_nothing_is_written_when_no_body_can_be_used() -> None:
    async def scene(writer: GroupCommit, _: Transactions) -> None:
        with pytest.raises(MalformedJSON):
            await writer.submit(beats("no JSON"))
        (wrong,) = await writer.submit(beats("wrong"))
        assert isinstance(wrong, InvalidMessage)

    assert [] == drive(scene)


def test_whoever_finds_the_queue_full_is_refused_at_once() -> None:
    async def scene(writer: GroupCommit, transactions: Transactions) -> None:
        answers = await crowd(writer, transactions, "aa", "bbb")
        with pytest.raises(Overloaded, match=f"^{size('aa', 'bbb')} bytes wait"):
            writer.submit(beats("c"))
        transactions.open.set()
        await asyncio.gather(*answers)

        assert ["d"] == ids(await writer.submit(beats("d")))

    assert [["first"], ["aa", "bbb"], ["d"]] == drive(scene, max_waiting_bytes=size("aa", "bbb"))


def test_one_that_fails_its_transaction_fails_alone() -> None:
    async def scene(writer: GroupCommit, transactions: Transactions) -> None:
        answers = await crowd(writer, transactions, "a", "bad", "b")
        transactions.open.set()
        _, a, bad, b = await asyncio.gather(*answers, return_exceptions=True)

        assert isinstance(bad, LookupError)
        assert not isinstance(a, BaseException)
        assert not isinstance(b, BaseException)
        assert [["a"], ["b"]] == [ids(a), ids(b)]

    assert [["first"], ["a", "bad", "b"], ["a"], ["bad"], ["b"]] == drive(scene)


def test_when_the_store_is_away_all_are_told_and_the_next_ones_are_served() -> None:
    async def scene(writer: GroupCommit, transactions: Transactions) -> None:
        answers = await crowd(writer, transactions, "a", "b")
        transactions.away = True
        transactions.open.set()
        told = await asyncio.gather(*answers, return_exceptions=True)
        transactions.away = False

        assert [StoreUnavailable] * 3 == [type(each) for each in told]
        assert ["c"] == ids(await writer.submit(beats("c")))

    assert [["first"], ["a", "b"], ["c"]] == drive(scene)


def test_senders_that_are_gone_do_not_stop_the_others() -> None:
    async def scene(writer: GroupCommit, transactions: Transactions) -> None:
        for answer in await crowd(writer, transactions, "a"):
            answer.cancel()
        transactions.open.set()

        assert ["b"] == ids(await writer.submit(beats("b")))

    assert [["first"], ["a", "b"]] == drive(scene)


def test_senders_that_are_gone_when_it_fails_do_not_stop_the_others() -> None:
    async def scene(writer: GroupCommit, transactions: Transactions) -> None:
        for answer in await crowd(writer, transactions, "a"):
            answer.cancel()
        transactions.away = True
        transactions.open.set()
        with pytest.raises(StoreUnavailable):
            await writer.submit(beats("b"))
        transactions.away = False

        assert ["c"] == ids(await writer.submit(beats("c")))

    assert [["first"], ["a", "b"], ["c"]] == drive(scene)


def test_full_queue_is_answered_with_503(database_url: str, clock: Clock) -> None:
    environ = {"FLEET_DATABASE_URL": database_url}
    app = create_app(environ=environ, clock=clock, tuning=Tuning(max_waiting_bytes=0))
    with serve(app) as receiver:
        answer: httpx.Response = receiver.post("/heartbeat", json=messages.slim())

    assert (503, "overloaded") == (answer.status_code, answer.json()["code"])
    assert "5" == answer.headers["retry-after"]


def test_only_those_under_way_wait_for_a_transaction_that_does_not_end() -> None:
    async def scene(writer: GroupCommit, transactions: Transactions) -> None:
        under_way, waiting = await crowd(writer, transactions, "waiting")
        with pytest.raises(StoreUnavailable, match="has not answered for some time"):
            await waiting
        with pytest.raises(StoreUnavailable, match="has not answered for some time"):
            await writer.submit(beats("too late"))
        transactions.open.set()
        assert ["first"] == ids(await under_way)
        await writer.submit(beats("after"))

    assert [["first"], ["after"]] == drive(scene, patience=0.05)

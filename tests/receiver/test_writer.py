"""Group commit."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timezone
from threading import Event
from typing import Any

import httpx
import pytest
from sqlalchemy import make_url

import messages
from contract import Heartbeat, merge
from receiver.app import create_app
from receiver.batch import Applied, Incoming
from receiver.errors import Overloaded, StoreUnavailable
from receiver.fleet import Fleet
from receiver.store import SqlStore
from receiver.writer import Writer
from servers import Clock, serve

NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)


def beats(*ids: str) -> list[Incoming]:
    return [Incoming(Heartbeat(server_id=each), NOON) for each in ids]


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
    scene: Callable[[Writer, Transactions], Awaitable[Any]], **limits: Any
) -> list[list[str]]:
    """Play a scene with a writer that runs, and tell who was written together."""
    transactions = Transactions()

    async def play() -> None:
        writer = Writer(transactions.apply, **limits)
        running = asyncio.create_task(writer.run())
        await scene(writer, transactions)
        running.cancel()

    asyncio.run(play())
    return transactions.of


async def crowd(
    writer: Writer, transactions: Transactions, *jobs: list[Incoming]
) -> list[asyncio.Task[list[Applied]]]:
    """Let jobs gather behind a transaction that takes its time."""
    transactions.open.clear()
    tasks = [asyncio.create_task(writer.submit(beats("first")))]
    await asyncio.to_thread(transactions.begun.wait, 10)
    tasks += [asyncio.create_task(writer.submit(job)) for job in jobs]
    await asyncio.sleep(0)
    return tasks


def ids(applied: list[Applied]) -> list[str]:
    return [each.record.server_id for each in applied]


def test_those_who_wait_are_written_together_and_answered_one_by_one() -> None:
    async def scene(writer: Writer, transactions: Transactions) -> None:
        tasks = await crowd(writer, transactions, beats("a"), beats("b", "c"), beats("d"))
        transactions.open.set()

        assert [["first"], ["a"], ["b", "c"], ["d"]] == [ids(await task) for task in tasks]

    assert [["first"], ["a", "b", "c", "d"]] == drive(scene)


def test_a_transaction_is_closed_when_it_is_full() -> None:
    async def scene(writer: Writer, transactions: Transactions) -> None:
        tasks = await crowd(writer, transactions, beats("a"), beats("b", "c"), beats("d"))
        transactions.open.set()
        await asyncio.gather(*tasks)

    assert [["first"], ["a", "b", "c"], ["d"]] == drive(scene, max_batch=3)


def test_whoever_finds_the_queue_full_is_refused_at_once() -> None:
    async def scene(writer: Writer, transactions: Transactions) -> None:
        tasks = await crowd(writer, transactions, beats("a"), beats("b"))
        with pytest.raises(Overloaded):
            await writer.submit(beats("c"))
        transactions.open.set()
        await asyncio.gather(*tasks)

        assert ["d"] == ids(await writer.submit(beats("d")))

    assert [["first"], ["a", "b"], ["d"]] == drive(scene, max_waiting=2)


def test_one_that_fails_its_transaction_fails_alone() -> None:
    async def scene(writer: Writer, transactions: Transactions) -> None:
        tasks = await crowd(writer, transactions, beats("a"), beats("bad"), beats("b"))
        transactions.open.set()
        _, a, bad, b = await asyncio.gather(*tasks, return_exceptions=True)

        assert isinstance(bad, LookupError)
        assert not isinstance(a, BaseException)
        assert not isinstance(b, BaseException)
        assert [["a"], ["b"]] == [ids(a), ids(b)]

    assert [["first"], ["a", "bad", "b"], ["a"], ["bad"], ["b"]] == drive(scene)


def test_when_the_store_is_away_all_are_told_and_the_next_ones_are_served() -> None:
    async def scene(writer: Writer, transactions: Transactions) -> None:
        tasks = await crowd(writer, transactions, beats("a"), beats("b"))
        transactions.away = True
        transactions.open.set()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        transactions.away = False

        assert [StoreUnavailable] * 3 == [type(answer) for answer in answers]
        assert ["c"] == ids(await writer.submit(beats("c")))

    assert [["first"], ["a", "b"], ["c"]] == drive(scene)


def test_senders_that_are_gone_do_not_stop_the_others() -> None:
    async def scene(writer: Writer, transactions: Transactions) -> None:
        for task in await crowd(writer, transactions, beats("a")):
            task.cancel()
        transactions.open.set()

        assert ["b"] == ids(await writer.submit(beats("b")))

    assert [["first"], ["a", "b"]] == drive(scene)


def test_senders_that_are_gone_when_it_fails_do_not_stop_the_others() -> None:
    async def scene(writer: Writer, transactions: Transactions) -> None:
        for task in await crowd(writer, transactions, beats("a")):
            task.cancel()
        transactions.away = True
        transactions.open.set()
        with pytest.raises(StoreUnavailable):
            await writer.submit(beats("b"))
        transactions.away = False

        assert ["c"] == ids(await writer.submit(beats("c")))

    assert [["first"], ["a", "b"], ["c"]] == drive(scene)


def test_full_queue_is_answered_with_503(database_url: str, clock: Clock) -> None:
    store = SqlStore(make_url(database_url))
    app = create_app(environ={"FLEET_DATABASE_URL": database_url}, clock=clock)
    with serve(app) as receiver:
        app.state.fleet = Fleet(store, Writer(store.apply, max_waiting=0), clock=clock)
        answer: httpx.Response = receiver.post("/heartbeat", json=messages.slim())
    store.close()

    assert (503, "overloaded") == (answer.status_code, answer.json()["code"])
    assert "5" == answer.headers["retry-after"]


def test_only_those_under_way_wait_for_a_transaction_that_does_not_end() -> None:
    async def scene(writer: Writer, transactions: Transactions) -> None:
        under_way, waiting = await crowd(writer, transactions, beats("waiting"))
        with pytest.raises(StoreUnavailable, match="has not answered for some time"):
            await waiting
        with pytest.raises(StoreUnavailable, match="has not answered for some time"):
            await writer.submit(beats("too late"))
        transactions.open.set()
        (applied,) = await under_way
        assert "first" == applied.record.server_id
        await writer.submit(beats("after"))

    assert [["first"], ["after"]] == drive(scene, patience=0.05)


def test_messages_that_name_many_capabilities_do_not_share_a_transaction() -> None:
    async def scene(writer: Writer, transactions: Transactions) -> None:
        many = tuple(map(str, range(100)))
        heavy = [[Incoming(Heartbeat(server_id=s, capabilities=many), NOON)] for s in "abc"]
        tasks = await crowd(writer, transactions, *heavy)
        transactions.open.set()
        await asyncio.gather(*tasks)

    assert [["first"], ["a", "b"], ["c"]] == drive(scene, max_capabilities=150)

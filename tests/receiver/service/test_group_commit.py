"""Group commit: concurrent messages share one transaction."""

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
    """A body with a heartbeat of each server, separated by commas; `wrong` is an invalid one."""
    if names == "no JSON":
        return Submission(b"no JSON", BodyKind.HEARTBEATS, NOON)
    items = [
        {"server_id": name} if name != "wrong" else {"server_id": name, "port": 0}
        for name in names.split(",")
    ]
    return Submission(json.dumps(items).encode(), BodyKind.HEARTBEATS, NOON)


def size(*bodies: str) -> int:
    """The total size of bodies in bytes."""
    return sum(len(beats(names).body) for names in bodies)


class Transactions:
    """A fake store that notes the servers of each transaction; a test can block or fail it."""

    def __init__(self) -> None:
        self.of: list[list[str]] = []
        self.begun = Event()
        self.open = Event()
        self.open.set()
        self.fails = False

    def apply(self, incoming: Sequence[Incoming]) -> list[Applied]:
        ids = [each.message.server_id for each in incoming]
        self.of.append(ids)
        self.begun.set()
        assert self.open.wait(10)
        if self.fails:
            raise StoreUnavailable("gone for lunch")
        if "bad" in ids:
            raise LookupError("bad")
        return [
            Applied(record=merge(None, Heartbeat(server_id=s), received_at=NOON), created=True)
            for s in ids
        ]


def drive(
    scenario: Callable[[GroupCommit, Transactions], Awaitable[Any]], **limits: Any
) -> list[list[str]]:
    """Run a scenario with a running group commit; the servers of each transaction."""
    transactions = Transactions()

    async def run() -> None:
        group_commit = GroupCommit(transactions.apply, endless(), **limits)
        running = asyncio.create_task(group_commit.run())
        await scenario(group_commit, transactions)
        running.cancel()

    asyncio.run(run())
    return transactions.of


async def batch(
    group_commit: GroupCommit, transactions: Transactions, *bodies: str
) -> list["asyncio.Future[Outcome]"]:
    """Submit bodies while an earlier transaction is blocked, so that they form a batch."""
    transactions.open.clear()
    answers = [group_commit.submit(beats("first"))]
    await asyncio.to_thread(transactions.begun.wait, 10)
    return answers + [group_commit.submit(beats(body)) for body in bodies]


def ids(outcome: Outcome) -> list[str]:
    return [each.record.server_id if isinstance(each, Applied) else "wrong" for each in outcome]


def test_waiting_bodies_share_a_transaction_and_get_their_own_outcomes() -> None:
    async def scenario(group_commit: GroupCommit, transactions: Transactions) -> None:
        answers = await batch(group_commit, transactions, "a", "b,c", "d")
        transactions.open.set()

        assert [["first"], ["a"], ["b", "c"], ["d"]] == [ids(await answer) for answer in answers]

    assert [["first"], ["a", "b", "c", "d"]] == drive(scenario)


def test_full_batch_leaves_the_rest_to_the_next() -> None:
    async def scenario(group_commit: GroupCommit, transactions: Transactions) -> None:
        answers = await batch(group_commit, transactions, "aa", "bb,cc", "dd")
        transactions.open.set()
        await asyncio.gather(*answers)

    assert [["first"], ["aa", "bb", "cc"], ["dd"]] == drive(
        scenario, max_batch_bytes=size("aa", "bb,cc")
    )


def test_invalid_body_is_refused_without_affecting_others() -> None:
    async def scenario(group_commit: GroupCommit, transactions: Transactions) -> None:
        answers = await batch(group_commit, transactions, "a", "no JSON", "wrong,b", "wrong")
        transactions.open.set()
        _, a, refused, partly, wrong = await asyncio.gather(*answers, return_exceptions=True)

        assert isinstance(refused, MalformedJSON)
        assert not isinstance(a, BaseException)
        assert not isinstance(partly, BaseException)
        assert not isinstance(wrong, BaseException)
        assert [["a"], ["wrong", "b"], ["wrong"]] == [ids(a), ids(partly), ids(wrong)]

    assert [["first"], ["a", "b"]] == drive(scenario)


def test_batch_of_invalid_bodies_opens_no_transaction() -> None:
    async def scenario(group_commit: GroupCommit, _: Transactions) -> None:
        with pytest.raises(MalformedJSON):
            await group_commit.submit(beats("no JSON"))
        (wrong,) = await group_commit.submit(beats("wrong"))
        assert isinstance(wrong, InvalidMessage)

    assert [] == drive(scenario)


def test_full_queue_raises_overloaded() -> None:
    async def scenario(group_commit: GroupCommit, transactions: Transactions) -> None:
        answers = await batch(group_commit, transactions, "aa", "bbb")
        with pytest.raises(Overloaded, match=f"^{size('aa', 'bbb')} bytes wait"):
            group_commit.submit(beats("c"))
        transactions.open.set()
        await asyncio.gather(*answers)

        assert ["d"] == ids(await group_commit.submit(beats("d")))

    assert [["first"], ["aa", "bbb"], ["d"]] == drive(scenario, max_waiting_bytes=size("aa", "bbb"))


def test_body_that_breaks_a_batch_fails_alone() -> None:
    async def scenario(group_commit: GroupCommit, transactions: Transactions) -> None:
        answers = await batch(group_commit, transactions, "a", "bad", "b")
        transactions.open.set()
        _, a, bad, b = await asyncio.gather(*answers, return_exceptions=True)

        assert isinstance(bad, LookupError)
        assert not isinstance(a, BaseException)
        assert not isinstance(b, BaseException)
        assert [["a"], ["b"]] == [ids(a), ids(b)]

    assert [["first"], ["a", "bad", "b"], ["a"], ["bad"], ["b"]] == drive(scenario)


def test_unavailable_store_fails_the_batch_but_not_the_next() -> None:
    async def scenario(group_commit: GroupCommit, transactions: Transactions) -> None:
        answers = await batch(group_commit, transactions, "a", "b")
        transactions.fails = True
        transactions.open.set()
        outcomes = await asyncio.gather(*answers, return_exceptions=True)
        transactions.fails = False

        assert [StoreUnavailable] * 3 == [type(each) for each in outcomes]
        assert ["c"] == ids(await group_commit.submit(beats("c")))

    assert [["first"], ["a", "b"], ["c"]] == drive(scenario)


def test_cancelled_submission_does_not_stop_later_ones() -> None:
    async def scenario(group_commit: GroupCommit, transactions: Transactions) -> None:
        for answer in await batch(group_commit, transactions, "a"):
            answer.cancel()
        transactions.open.set()

        assert ["b"] == ids(await group_commit.submit(beats("b")))

    assert [["first"], ["a", "b"]] == drive(scenario)


def test_cancelled_submission_in_a_failed_batch_does_not_stop_later_ones() -> None:
    async def scenario(group_commit: GroupCommit, transactions: Transactions) -> None:
        for answer in await batch(group_commit, transactions, "a"):
            answer.cancel()
        transactions.fails = True
        transactions.open.set()
        with pytest.raises(StoreUnavailable):
            await group_commit.submit(beats("b"))
        transactions.fails = False
        assert "gone for lunch" == group_commit.trouble()

        assert ["c"] == ids(await group_commit.submit(beats("c")))

    assert [["first"], ["a", "b"], ["c"]] == drive(scenario)


def test_full_queue_is_answered_with_503(database_url: str, clock: Clock) -> None:
    environ = {"FLEET_DATABASE_URL": database_url}
    app = create_app(environ=environ, clock=clock, tuning=Tuning(max_waiting_bytes=0))
    with serve(app) as receiver:
        answer: httpx.Response = receiver.post("/heartbeat", json=messages.slim())

    assert (503, "overloaded") == (answer.status_code, answer.json()["code"])
    assert "5" == answer.headers["retry-after"]


def test_hanging_transaction_times_out_queued_submissions_only() -> None:
    async def scenario(group_commit: GroupCommit, transactions: Transactions) -> None:
        under_way, waiting = await batch(group_commit, transactions, "waiting")
        with pytest.raises(StoreUnavailable, match="has not answered for some time"):
            await waiting
        with pytest.raises(StoreUnavailable, match="has not answered for some time"):
            await group_commit.submit(beats("too late"))
        assert "the database has not answered for some time" == group_commit.trouble()
        transactions.open.set()
        assert ["first"] == ids(await under_way)
        await group_commit.submit(beats("after"))

    assert [["first"], ["after"]] == drive(scenario, patience=0.05)

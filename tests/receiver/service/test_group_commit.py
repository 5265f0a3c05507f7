"""Group commit: concurrent messages share one transaction."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timezone
from functools import partial
from threading import Event
from typing import Any

import httpx
import pytest

import messages
from contract import Heartbeat, InvalidMessage, MalformedJSON, merge
from keyring import made
from receiver.app import Tuning, create_app
from receiver.domain.errors import OutcomeUnknown, Overloaded, Refusal, StoreUnavailable
from receiver.domain.keys import Key
from receiver.domain.outcomes import Applied, BodyKind, Incoming, Outcome
from receiver.service.group_commit import Allowance, GroupCommit
from receiver.service.ingest import Body, Submission
from receiver.service.store_calls import StoreCalls
from receiver.web.messages.answers import heartbeats
from servers import PATIENCE_SECONDS, Clock, serve
from watched import endless

NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)


GREEDY, QUIET, OTHER = (made("agent")[0] for _ in range(3))


def beats(names: str, key: Key | None = None) -> Submission:
    """A body with a heartbeat of each server, separated by commas; `wrong` is an invalid one."""
    if names == "no JSON":
        return Submission(b"no JSON", BodyKind.HEARTBEATS, NOON, key)
    items = [
        {"server_id": name} if name != "wrong" else {"server_id": name, "port": 0}
        for name in names.split(",")
    ]
    return Submission(json.dumps(items).encode(), BodyKind.HEARTBEATS, NOON, key)


def size(*bodies: str) -> int:
    """The total size of bodies in bytes."""
    return sum(len(beats(names).body) for names in bodies)


class Transactions:
    """
    A fake store that notes the servers of each transaction; a test can block or fail it.

    Attributes:
        of: The servers of each transaction.
        most: How many messages a transaction takes.
        given: How many messages each transaction was given.
    """

    def __init__(self) -> None:
        self.given: list[int] = []
        self.most: int | None = None
        self.of: list[list[str]] = []
        self.begun = Event()
        self.open = Event()
        self.open.set()
        self.fails = False
        self.failure_of: dict[str, Exception] = {}

    def apply(self, incoming: Sequence[Incoming]) -> list[Applied]:
        self.given.append(len(incoming))
        ids = [each.message.server_id for each in incoming][: self.most]
        self.of.append(ids)
        self.begun.set()
        assert self.open.wait(PATIENCE_SECONDS)
        if self.fails:
            raise StoreUnavailable("gone for lunch")
        for each in ids:
            if each in self.failure_of:
                raise self.failure_of[each]
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
        # A slow machine shall not need more transactions than another one.
        limits.setdefault("reading_seconds", 60)
        limits.setdefault("patience", PATIENCE_SECONDS)
        group_commit = GroupCommit(transactions.apply, endless(), **limits)
        running = asyncio.create_task(group_commit.run())
        await scenario(group_commit, transactions)
        running.cancel()

    asyncio.run(run())
    return transactions.of


async def batch(
    group_commit: GroupCommit, transactions: Transactions, *bodies: str | Submission
) -> list["asyncio.Future[Outcome]"]:
    """Submit bodies while an earlier transaction is blocked, so that they form a batch."""
    transactions.open.clear()
    answers = [group_commit.submit(beats("first"))]
    await asyncio.to_thread(transactions.begun.wait, PATIENCE_SECONDS)
    return answers + [
        group_commit.submit(beats(body) if isinstance(body, str) else body) for body in bodies
    ]


def ids(outcome: Outcome) -> list[str]:
    """The server of each message that was applied, and the kind of error of each other one."""
    names = (
        each.record.server_id if isinstance(each, Applied) else type(each).__name__
        for each in outcome
    )
    return ["wrong" if name == "InvalidMessage" else name for name in names]


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


def test_failure_to_answer_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    seen = []

    def fail(body: Body) -> None:
        seen.append(ids(body.outcomes))
        raise ConnectionError("no such client")

    async def scenario(group_commit: GroupCommit, transactions: Transactions) -> None:
        answers = await batch(group_commit, transactions)
        group_commit.submit_to(fail, beats("a"))
        answers.append(group_commit.submit(beats("b")))
        transactions.open.set()

        assert [["first"], ["b"]] == [ids(await answer) for answer in answers]
        assert ["c"] == ids(await group_commit.submit(beats("c")))

    assert [["first"], ["a", "b"], ["c"]] == drive(scenario)
    assert [["a"]] == seen
    (record,) = caplog.records
    assert "A request was not answered" == record.getMessage()


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


def test_message_of_a_quiet_key_is_in_the_next_transaction() -> None:
    async def scenario(group_commit: GroupCommit, transactions: Transactions) -> None:
        transactions.most = 2
        greedy = [beats("a,b,c", GREEDY), beats("d", GREEDY)]
        answers = await batch(group_commit, transactions, *greedy, beats("quiet", QUIET))
        transactions.open.set()

        assert [["first"], ["a", "b", "c"], ["d"], ["quiet"]] == [ids(await a) for a in answers]

    assert [["first"], ["a", "quiet"], ["b", "c"], ["d"]] == drive(scenario)


def test_transaction_is_short_while_another_queue_waits_or_shares_it() -> None:
    allowance = Allowance(5.0, 2.0)
    allowed: list[float] = [allowance()]

    async def scenario(group_commit: GroupCommit, transactions: Transactions) -> None:
        answers = await batch(group_commit, transactions)
        answers.append(group_commit.submit(beats("more")))
        allowed.append(allowance())  # nobody else waits
        answers.append(group_commit.submit(beats("quiet", QUIET)))
        allowed.append(allowance())
        transactions.begun.clear()
        transactions.open.set()
        await answers[0]
        transactions.open.clear()
        await asyncio.to_thread(transactions.begun.wait, PATIENCE_SECONDS)
        allowed.append(allowance())  # two queues share the next one
        transactions.open.set()
        await asyncio.gather(*answers)
        transactions.begun.clear()
        last = await batch(group_commit, transactions)
        allowed.append(allowance())
        transactions.open.set()
        await asyncio.gather(*last)

    assert [["first"], ["quiet", "more"], ["first"]] == drive(scenario, allowance=allowance)
    assert [5.0, 5.0, 2.0, 2.0, 5.0] == allowed


def test_message_that_comes_alone_does_not_wait_for_batches_of_its_key() -> None:
    async def scenario(group_commit: GroupCommit, transactions: Transactions) -> None:
        transactions.most = 2
        alone = Submission(b'{"server_id": "alone"}', BodyKind.HEARTBEAT, NOON, GREEDY)
        batches = [beats("a,b,c", GREEDY), beats("d", GREEDY)]
        answers = await batch(group_commit, transactions, *batches, alone)
        transactions.open.set()

        assert [["first"], ["a", "b", "c"], ["d"], ["alone"]] == [ids(await a) for a in answers]

    assert [["first"], ["a", "alone"], ["b", "c"], ["d"]] == drive(scenario)


def test_transaction_is_given_little_more_than_the_last_one_took() -> None:
    given: list[int] = []

    async def scenario(group_commit: GroupCommit, transactions: Transactions) -> None:
        transactions.most = 100
        transactions.given = given
        await group_commit.submit(beats(",".join(f"s{n}" for n in range(1000))))
        transactions.most = None
        for _ in range(4):
            await group_commit.submit(beats(",".join(f"s{n}" for n in range(1000))))

    drive(scenario)

    assert [1000, 125, 125, 125, 125, 125, 125, 125, 125, 100] == given[:10]
    assert [250, 500, 250, 1000, 1000, 1000] == given[10:]


def test_key_that_had_its_turn_waits_for_those_that_came_meanwhile() -> None:
    async def scenario(group_commit: GroupCommit, transactions: Transactions) -> None:
        transactions.most = 1
        transactions.open.clear()
        answers = [group_commit.submit(beats(body, GREEDY)) for body in ("a,b", "c")]
        await asyncio.to_thread(transactions.begun.wait, PATIENCE_SECONDS)
        answers.append(group_commit.submit(beats("quiet", QUIET)))
        transactions.open.set()
        await asyncio.gather(*answers)

    assert [["a"], ["quiet"], ["b"], ["c"]] == drive(scenario)


def test_key_that_a_transaction_left_out_has_the_first_turn_of_the_next() -> None:
    async def scenario(group_commit: GroupCommit, transactions: Transactions) -> None:
        transactions.most = 1
        bodies = [beats("a,b", GREEDY), beats("c,d", OTHER)]
        answers = await batch(group_commit, transactions, *bodies)
        transactions.open.set()
        await asyncio.gather(*answers)

    assert [["first"], ["a"], ["c"], ["b"], ["d"]] == drive(scenario)


def test_outcomes_of_a_body_in_several_transactions_are_in_its_order() -> None:
    async def scenario(group_commit: GroupCommit, transactions: Transactions) -> None:
        transactions.most = 1

        assert ["a", "wrong", "a", "b"] == ids(await group_commit.submit(beats("a,wrong,a,b")))
        assert [] == await group_commit.submit(Submission(b"[]", BodyKind.HEARTBEATS, NOON))
        assert (0, 0) == group_commit.waiting()

    assert [["a"], ["a"], ["b"]] == drive(scenario)


@pytest.mark.parametrize("failure", [StoreUnavailable("gone"), OutcomeUnknown("gone"), KeyError()])
def test_part_that_is_not_written_leaves_the_outcomes_of_the_committed_part(
    failure: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """An error for the whole body would make its sender send the committed part again."""

    async def scenario(group_commit: GroupCommit, transactions: Transactions) -> None:
        transactions.most = 1
        transactions.failure_of["b"] = failure

        name = type(failure).__name__
        assert ["a", name, name] == ids(await group_commit.submit(beats("a,b,c")))
        assert ["d"] == ids(await group_commit.submit(beats("d")))

    assert [["a"], ["b"], ["d"]] == drive(scenario)
    assert f"A part of a batch was not written: {failure}" in caplog.messages


def test_body_of_which_only_refusals_are_known_fails_as_a_whole() -> None:
    async def scenario(group_commit: GroupCommit, transactions: Transactions) -> None:
        transactions.failure_of["b"] = StoreUnavailable("gone")
        with pytest.raises(StoreUnavailable):
            await group_commit.submit(beats("wrong,b"))

    assert [["b"]] == drive(scenario)


def test_body_that_a_failed_transaction_has_not_reached_is_tried_again() -> None:
    async def scenario(group_commit: GroupCommit, transactions: Transactions) -> None:
        transactions.failure_of["s0"] = StoreUnavailable("gone")
        many = ",".join(f"s{n}" for n in range(1000))
        _, failed, later = await batch(group_commit, transactions, many, "later")
        transactions.open.set()
        with pytest.raises(StoreUnavailable):
            await failed

        assert ["later"] == ids(await later)

    assert ["first", "s0", "later"] == [ids[0] for ids in drive(scenario)]


def test_full_queue_refuses_the_newest_bodies_of_the_key_that_has_most_waiting() -> None:
    async def scenario(group_commit: GroupCommit, transactions: Transactions) -> None:
        greedy = [beats(name, GREEDY) for name in ("aaa", "bbb", "ccc")]
        answers = await batch(group_commit, transactions, *greedy)
        answers.append(group_commit.submit(beats("quiet", QUIET)))
        assert (3, size("aaa", "bbb", "quiet")) == group_commit.waiting()
        with pytest.raises(Overloaded):
            await answers.pop(3)
        with pytest.raises(Overloaded):
            group_commit.submit(beats("ddd", GREEDY))
        transactions.open.set()

        assert [["first"], ["aaa"], ["bbb"], ["quiet"]] == [ids(await a) for a in answers]

    waiting = size("aaa", "bbb", "ccc") + 2
    assert [["first"], ["aaa", "quiet", "bbb"]] == drive(scenario, max_waiting_bytes=waiting)


def test_full_queue_refuses_a_key_all_of_whose_bodies_must_go() -> None:
    async def scenario(group_commit: GroupCommit, transactions: Transactions) -> None:
        (_, long) = await batch(group_commit, transactions, beats("a,b,c,d,e,f", GREEDY))
        answer = group_commit.submit(beats("quiet", QUIET))
        with pytest.raises(Overloaded):
            await long
        transactions.open.set()

        assert ["quiet"] == ids(await answer)

    waiting = size("a,b,c,d,e,f")
    assert [["first"], ["quiet"]] == drive(scenario, max_waiting_bytes=waiting)


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
        assert group_commit.trouble() is None

    assert [["first"], ["a", "b"], ["c"]] == drive(scenario)


def test_batch_in_several_transactions_is_merged_in_its_order(
    database_url: str, clock: Clock
) -> None:
    """As many transactions as there are messages, none of which takes no time."""
    app = create_app(
        environ={"FLEET_DATABASE_URL": database_url},
        clock=clock,
        tuning=Tuning(transaction_seconds=0),
    )
    sent = [messages.slim(server_id=name) for name in ("a", "b", "a", "")]
    with serve(app) as receiver:
        answer = receiver.post("/heartbeats", json=sent).json()
        commits = receiver.get("/metrics").text

    assert (3, 1) == (answer["accepted"], answer["rejected"])
    counts = [(each.get("server_id"), each.get("heartbeat_count")) for each in answer["results"]]
    assert [("a", 1), ("b", 1), ("a", 2), (None, None)] == counts
    assert "\nfleet_commit_duration_seconds_count 3" in commits
    assert "\nfleet_commit_messages_sum 3" in commits


@pytest.mark.parametrize(
    ("error", "code", "path", "text"),
    [
        (StoreUnavailable("x"), "store_unavailable", "", "This was not written"),
        (Overloaded("x"), "overloaded", "", "This was not written"),
        (KeyError("x"), "internal_error", "", "This was not written"),
        (OutcomeUnknown("x"), "outcome_unknown", "", "It is not known whether this counts"),
        (Refusal(403, "server_not_covered", "Not a."), "server_not_covered", "server_id", "Not a."),
    ],
)
def test_message_that_was_not_written_is_rejected_alone(
    error: Exception, code: str, path: str, text: str
) -> None:
    record = merge(None, Heartbeat(server_id="a"), received_at=NOON)

    status, answer = heartbeats([Applied(record=record, created=True), error], 0.0)

    assert isinstance(answer, dict)
    assert (200, 1, 1) == (status, answer["accepted"], answer["rejected"])
    counted, rejected = answer["results"]
    assert ("ok", "rejected", code) == (counted["status"], rejected["status"], rejected["code"])
    assert [(path, text)] == [
        (each["path"], each["message"][: len(text)]) for each in rejected["errors"]
    ]


def test_full_queue_is_answered_with_503(database_url: str, clock: Clock) -> None:
    environ = {"FLEET_DATABASE_URL": database_url}
    app = create_app(environ=environ, clock=clock, tuning=Tuning(max_waiting_bytes=0))
    with serve(app) as receiver:
        answer: httpx.Response = receiver.post("/heartbeat", json=messages.slim())

    assert (503, "overloaded") == (answer.status_code, answer.json()["code"])
    assert "5" == answer.headers["retry-after"]


def test_read_begins_when_the_transaction_under_way_is_over() -> None:
    async def scenario(group_commit: GroupCommit, transactions: Transactions) -> None:
        calls = StoreCalls(lull=partial(group_commit.lull, at_most=PATIENCE_SECONDS))
        (under_way,) = await batch(group_commit, transactions)
        reading = asyncio.ensure_future(calls.read(transactions.open.is_set))
        _, early = await asyncio.wait([reading], timeout=0.1)
        transactions.open.set()
        assert {reading} == early
        assert await reading is True
        assert ["first"] == ids(await under_way)
        assert await calls.read(lambda: True), "no transaction is under way"

    assert [["first"]] == drive(scenario)


def test_read_does_not_wait_for_a_long_transaction() -> None:
    async def scenario(group_commit: GroupCommit, transactions: Transactions) -> None:
        (under_way,) = await batch(group_commit, transactions)
        assert await StoreCalls(lull=group_commit.lull).read(transactions.open.is_set) is False
        transactions.open.set()
        await under_way

    assert [["first"]] == drive(scenario)


def test_hanging_transaction_times_out_queued_submissions_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The time passes on the clock of the event loop alone, and only when both have come."""

    async def scenario(group_commit: GroupCommit, transactions: Transactions) -> None:
        under_way, waiting = await batch(group_commit, transactions, "waiting")
        loop = asyncio.get_running_loop()
        time = loop.time
        monkeypatch.setattr(loop, "time", lambda: time() + 601)
        with pytest.raises(StoreUnavailable, match="has not answered for some time"):
            await waiting
        with pytest.raises(StoreUnavailable, match="has not answered for some time"):
            await group_commit.submit(beats("too late"))
        assert "the database has not answered for some time" == group_commit.trouble()
        transactions.open.set()
        assert ["first"] == ids(await under_way)
        await group_commit.submit(beats("after"))

    assert [["first"], ["after"]] == drive(scenario, patience=600)

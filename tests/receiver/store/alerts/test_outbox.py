"""The outbox: each message is sent by one receiver at a time, until it is sent or given up."""

from collections import Counter
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import Engine, func, select

from alert_values import NOW, channel, delivery
from contract import Event
from receiver.domain.alerts.values import Channel, Delivery, DeliveryKind, OutboxCounts
from receiver.store import SqlStore
from receiver.store.alerts.tables import channels, deliveries
from watched import at_once

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
UNTIL = NOW + MINUTE


@pytest.fixture
def store(store: SqlStore) -> SqlStore:
    """A store with the channels `mail` and `chat`."""
    for each in ("mail", "chat"):
        store.alerts.add_channel(channel(each), None)
    return store


def lease(store: SqlStore, holder: str = "one", *, later: timedelta = timedelta(0)) -> list[str]:
    """The ids of the messages that a receiver takes for a minute."""
    now = NOW + later
    taken = store.alerts.lease(now, holder, now + MINUTE, 8)
    return [each.id for each, _ in taken]


def put(store: SqlStore, **values: object) -> str:
    """Store a message that is due; returns its id."""
    made = delivery(**values)
    assert store.alerts.enqueue(made)
    return made.id


def kept(store: SqlStore) -> dict[str, Delivery]:
    return {each.id: each for each in store.alerts.deliveries(limit=10_000)}


def test_message_is_stored_as_it_is(store: SqlStore) -> None:
    made = delivery(
        kind=DeliveryKind.TEST,
        next_at=None,
        attempts=1,
        given_up_at=NOW,
        error="refused",
        text="Grüße \U0001f600",
        body={"a": [1, 2.5, None, True], "é": {"\u0000": "\U0001f600"}},
    )

    assert store.alerts.enqueue(made)
    assert [made] == store.alerts.deliveries(limit=2)


def test_message_of_a_channel_that_is_gone_is_not_stored(store: SqlStore) -> None:
    assert not store.alerts.enqueue(delivery(channel_id="gone"))
    assert {} == kept(store)


def test_leased_message_comes_with_its_channel_and_counts_the_attempt(store: SqlStore) -> None:
    made = delivery()
    store.alerts.enqueue(made)

    ((taken, to),) = store.alerts.lease(NOW, "one", UNTIL, 8)

    assert (made.id, 1) == (taken.id, taken.attempts)
    assert {"number": made.body["data"]["number"]} == taken.body["data"]
    assert channel("mail") == to


def test_message_that_is_not_due_is_not_leased(store: SqlStore) -> None:
    put(store, next_at=NOW + SECOND)

    assert [] == lease(store)
    assert 1 == len(lease(store, later=SECOND))


def test_lease_of_no_due_message_is_one_small_read_and_no_write(
    store: SqlStore, statements: Callable[[], list[str]]
) -> None:
    put(store, next_at=NOW + SECOND)
    statements()

    assert [] == lease(store)
    assert 1 == len(statements())


def test_one_message_of_each_channel_is_leased_the_oldest_first(store: SqlStore) -> None:
    new = put(store, created_at=NOW)
    old = put(store, created_at=NOW - SECOND)
    other = put(store, channel_id="chat")

    assert {old, other} == {*lease(store)}
    assert [] == lease(store, "two")
    assert store.alerts.sent(old, "one", NOW)
    assert [new] == lease(store, "two")


def test_failed_message_lets_newer_ones_of_its_channel_pass(store: SqlStore) -> None:
    old = put(store, created_at=NOW - SECOND)
    new = put(store)
    assert [old] == lease(store)

    assert store.alerts.failed(old, "one", NOW, "refused", NOW + MINUTE)

    assert [new] == lease(store, "two")
    assert store.alerts.sent(new, "two", NOW)
    assert [] == lease(store)
    assert [old] == lease(store, later=MINUTE)


def test_lease_respects_busy_channels_and_a_limit(store: SqlStore) -> None:
    mail, chat = put(store), put(store, channel_id="chat", next_at=NOW - SECOND)

    def take(limit: int, *busy: str) -> list[str]:
        taken = store.alerts.lease(NOW, "one", UNTIL, limit, busy)
        return [each.id for each, _ in taken]

    assert [] == take(8, "mail", "chat")
    assert [] == take(0)
    assert [mail] == take(8, "chat")
    assert [chat] == take(1)


def test_channel_whose_message_waits_longest_is_served_first(store: SqlStore) -> None:
    put(store)
    chat = put(store, channel_id="chat", next_at=NOW - SECOND)

    ((first, _),) = store.alerts.lease(NOW, "one", UNTIL, 1)

    assert chat == first.id


def test_two_receivers_lease_different_messages(store: SqlStore, other: SqlStore) -> None:
    """Of twenty channels with two messages each, many times at once; none is sent twice."""
    names = [f"channel-{n}" for n in range(20)]
    for each in names:
        store.alerts.add_channel(channel(each), None)
        for _ in range(2):
            put(store, channel_id=each)
    taken: list[tuple[Delivery, Channel]] = []

    def send(by: SqlStore, holder: str) -> None:
        for _ in range(30):
            found = by.alerts.lease(NOW, holder, UNTIL, 3)
            taken.extend(found)
            for each, _ in found:
                assert by.alerts.sent(each.id, holder, NOW)

    at_once(lambda: send(store, "one"), lambda: send(other, "two"))

    counted = Counter(each.id for each, _ in taken)
    assert {1} == {*counted.values()}
    assert 40 == len(counted)
    assert {1} == {each.attempts for each in kept(store).values()}


def test_two_receivers_never_send_to_one_channel_at_once(store: SqlStore, other: SqlStore) -> None:
    for _ in range(10):
        put(store)
    taken: list[list[str]] = []

    at_once(
        *(lambda by=by: taken.append(lease(by)) for by in (store, other) for _ in range(4)),
    )

    assert [0] * 7 + [1] == sorted(map(len, taken))


def test_lease_that_has_ended_is_taken_over_with_the_same_message(
    store: SqlStore, other: SqlStore
) -> None:
    made = delivery()
    store.alerts.enqueue(made)
    assert [made.id] == lease(store, "killed")
    assert [] == lease(other, "two", later=MINUTE - SECOND)

    ((again, _),) = other.alerts.lease(NOW + MINUTE, "two", UNTIL + MINUTE, 8)

    assert (made.id, made.body, 2) == (again.id, again.body, again.attempts)
    assert not store.alerts.sent(made.id, "killed", NOW + MINUTE)
    assert not store.alerts.failed(made.id, "killed", NOW + MINUTE, "late", None)
    assert other.alerts.sent(made.id, "two", NOW + MINUTE)
    assert NOW + MINUTE == kept(store)[made.id].sent_at


def test_sent_message_is_never_leased_again(store: SqlStore) -> None:
    made = put(store)
    lease(store)

    assert store.alerts.sent(made, "one", NOW + SECOND)

    assert not store.alerts.sent(made, "one", NOW + SECOND)
    assert [] == lease(store, later=timedelta(days=9))
    found = kept(store)[made]
    assert (NOW + SECOND, None, None) == (found.sent_at, found.next_at, found.error)


def test_error_of_an_attempt_is_kept_as_far_as_it_can_be_stored(store: SqlStore) -> None:
    made = put(store)
    lease(store)

    assert store.alerts.failed(made, "one", NOW, "a\x00b\ud800" + "x" * 999, NOW + MINUTE)

    assert "ab?" + "x" * 497 == kept(store)[made].error


def test_given_up_message_is_an_event(store: SqlStore) -> None:
    told: list[Event] = []
    store.alerts._on_events = told.extend  # noqa: SLF001 - the store is older than the test
    made = put(store, title="acme is down")
    lease(store)

    assert store.alerts.failed(made, "one", NOW + SECOND, "timed out", None)

    (recorded,) = store.events.after(0, limit=9)
    assert [recorded.event] == told
    assert ("undelivered", None) == (recorded.event.kind.value, recorded.event.server_id)
    details = {"channel": "mail", "title": "acme is down", "error": "timed out"}
    assert details == recorded.event.details
    found = kept(store)[made]
    assert (NOW + SECOND, None, "timed out") == (found.given_up_at, found.next_at, found.error)
    assert [] == lease(store, later=timedelta(days=9))


def test_messages_are_listed_newest_first_page_by_page(store: SqlStore) -> None:
    ids = [put(store, created_at=NOW + timedelta(seconds=n // 2)) for n in range(7)]
    put(store, channel_id="chat", created_at=NOW + MINUTE)
    pages: list[list[str]] = []
    before = None
    while True:
        page = store.alerts.deliveries(channel_id="mail", before=before, limit=3)
        if not page:
            break
        pages.append([each.id for each in page])
        before = page[-1].id

    assert ids[::-1] == [each for page in pages for each in page]
    assert [3, 3, 1] == [len(page) for page in pages]
    assert 8 == len(store.alerts.deliveries(limit=9))
    assert [] == store.alerts.deliveries(before="msg_unknown", limit=9)
    assert [] == store.alerts.deliveries(before="a\x00b", channel_id="a\x00b", limit=9)


def test_messages_that_wait_or_were_given_up_are_counted(store: SqlStore) -> None:
    assert OutboxCounts(0, 0, None) == store.alerts.counts(NOW)
    put(store, created_at=NOW)
    put(store, created_at=NOW - SECOND, next_at=NOW + MINUTE)
    put(store, created_at=NOW - MINUTE, next_at=None, sent_at=NOW)
    put(store, next_at=None, given_up_at=NOW - timedelta(days=1))
    put(store, next_at=None, given_up_at=NOW - timedelta(hours=23))
    put(store, next_at=None, given_up_at=NOW, kind=DeliveryKind.TEST)

    assert OutboxCounts(2, 1, NOW - SECOND) == store.alerts.counts(NOW)


def test_report_is_made_once(store: SqlStore, other: SqlStore) -> None:
    """Two receivers find that a report is due; later another one is."""
    made: list[bool] = []

    def report(by: SqlStore) -> Callable[[], None]:
        return lambda: made.append(by.alerts.add_report(delivery(), NOW, None))

    at_once(report(store), report(other))

    assert [False, True] == sorted(made)
    assert 1 == len(kept(store))
    assert NOW == reported_at(store)
    assert not store.alerts.add_report(delivery(), NOW + MINUTE, NOW - SECOND)
    assert store.alerts.add_report(delivery(), NOW + MINUTE, NOW)
    assert NOW + MINUTE == reported_at(store)
    assert not store.alerts.add_report(delivery(channel_id="gone"), NOW, None)
    assert 2 == len(kept(store))


def reported_at(store: SqlStore) -> object:
    found = store.alerts.channel("mail")
    assert found is not None
    return found.reported_at


def test_removed_channel_takes_its_waiting_messages_along(store: SqlStore, engine: Engine) -> None:
    sent = put(store, next_at=None, sent_at=NOW)
    other = put(store, channel_id="chat")
    put(store)

    assert store.alerts.remove_channel("mail", NOW)

    assert {sent, other} == {*kept(store)}
    with engine.connect() as connection:
        assert 1 == connection.execute(select(func.count()).select_from(channels)).scalar_one()
        left = connection.execute(select(deliveries.c.next_at).where(deliveries.c.id == sent))
        assert [None] == left.scalars().all()


def test_old_messages_are_deleted_unless_they_wait(store: SqlStore) -> None:
    until = NOW + timedelta(days=1)
    for n in range(5):
        put(store, created_at=NOW + n * SECOND, next_at=None, sent_at=NOW)
    new = put(store, created_at=until, next_at=None, sent_at=until)
    waits = put(store)

    assert store.alerts.trim(until, limit=3)
    assert not store.alerts.trim(until, limit=3)
    assert not store.alerts.trim(until, limit=3)
    assert {new, waits} == {*kept(store)}

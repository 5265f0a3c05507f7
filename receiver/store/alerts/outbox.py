"""The outbox: messages that wait in the database until a receiver has sent them."""

from collections.abc import Collection
from datetime import datetime, timedelta

from attrs import asdict, fields, frozen
from sqlalchemy import (
    Connection,
    Select,
    Text,
    and_,
    bindparam,
    exists,
    func,
    insert,
    or_,
    select,
    tuple_,
    update,
)

from contract import Event, EventKind
from receiver.domain.alerts.values import Channel, Delivery, DeliveryKind, OutboxCounts
from receiver.store.alerts.tables import channels, deliveries
from receiver.store.dialects import Dialect
from receiver.store.events import write_events
from receiver.store.tables import Moment

__all__ = [
    "Claim",
    "Failure",
    "add_report",
    "count",
    "enqueue",
    "is_any_due",
    "lease",
    "note_failure",
    "note_success",
    "read_deliveries",
    "write_deliveries",
]


@frozen(kw_only=True)
class Claim:
    """
    A receiver's request for messages to send.

    Attributes:
        now: The time.
        holder: A text that stands for this receiver, and for no other one.
        until: When another receiver may take over the messages that were not sent by then.
        limit: How many messages are taken at most.
        busy: The ids of channels of which no message is taken.
    """

    now: datetime
    holder: str
    until: datetime
    limit: int
    busy: Collection[str]


@frozen(kw_only=True)
class Failure:
    """
    An attempt to send a message that has failed.

    Attributes:
        delivery_id: The id of the message.
        holder: The text with which the message was leased.
        at: When the attempt failed.
        error: Why it failed, for people; the first 500 characters are kept.
        next_at: When to try again; None to give the message up, and tell so by an event.
    """

    delivery_id: str
    holder: str
    at: datetime
    error: str
    next_at: datetime | None


def write_deliveries(connection: Connection, made: Collection[Delivery]) -> None:
    """Store new messages."""
    if made:
        connection.execute(insert(deliveries), [_columns(each) for each in made])


def enqueue(connection: Connection, delivery: Delivery) -> bool:
    """Store a new message, to be sent when it is due; return False when its channel is gone."""
    # As long as this transaction locks the row of the channel, no other one can delete it. One
    # that waits to do so finds the message afterwards, and deletes it with the channel.
    locked = select(channels.c.id).where(channels.c.id == delivery.channel_id)
    if connection.execute(locked.with_for_update(read=True)).first() is None:
        return False
    write_deliveries(connection, [delivery])
    return True


def add_report(
    connection: Connection, delivery: Delivery, at: datetime, last: datetime | None
) -> bool:
    """
    Store a weekly report as a message, and set `reported_at` of its channel to `at`.

    `last` is the `reported_at` of the channel as the caller has read it. If it is another time now,
    because another receiver has made the report, this returns False and stores nothing.
    """
    is_same = channels.c.reported_at.is_(None) if last is None else channels.c.reported_at == last
    query = update(channels).where(channels.c.id == delivery.channel_id, is_same)
    if connection.execute(query.values(reported_at=at)).rowcount == 0:
        return False
    write_deliveries(connection, [delivery])
    return True


def is_any_due(connection: Connection, now: datetime, busy: Collection[str]) -> bool:
    """Whether any message is due that nobody is sending, of a channel that is not among `busy`."""
    query = select(deliveries.c.id).where(_is_free, deliveries.c.channel_id.not_in(busy)).limit(1)
    return connection.execute(query, {"now": now}).first() is not None


def lease(connection: Connection, claim: Claim) -> list[tuple[Delivery, Channel]]:
    """
    Take messages that are due, so that no other receiver sends them before `claim.until`.

    Takes of each channel the oldest message that is due, but none of a channel of which any
    receiver is sending a message. Each is returned with its channel. Its `Delivery.attempts` counts
    the attempt that now begins, too.
    """
    candidates = _CANDIDATES.where(channels.c.id.not_in(claim.busy)).limit(claim.limit)
    found = connection.execute(candidates, {"now": claim.now}).mappings().all()
    taken = []
    for channel in found:
        # Asked again, now that the channel is locked: another receiver may have taken one since.
        asked = {"now": claim.now, "channel": channel["id"]}
        for row in connection.execute(_NEXT, asked).mappings():
            attempts = row["attempts"] + 1
            connection.execute(
                update(deliveries)
                .where(deliveries.c.id == row["id"])
                .values(leased_by=claim.holder, leased_until=claim.until, attempts=attempts)
            )
            taken.append((Delivery(**{**row, "attempts": attempts}), Channel(**channel)))
    return taken


def note_success(connection: Connection, delivery_id: str, holder: str, at: datetime) -> bool:
    """Note that a message was sent; return False if it is not leased to `holder` any more."""
    return _finish(connection, delivery_id, holder, sent_at=at, next_at=None)


def note_failure(
    dialect: Dialect, connection: Connection, failure: Failure
) -> tuple[bool, list[Event]]:
    """
    Note that an attempt to send a message has failed.

    Returns whether that was noted: not if the message is not leased to `failure.holder` any more.
    Also returns a list with the event which tells that the message was given up, if it was.
    """
    at, shown = failure.at, _storable(failure.error)
    is_last = failure.next_at is None
    values = {"error": shown, "next_at": failure.next_at, "given_up_at": at if is_last else None}
    if not _finish(connection, failure.delivery_id, failure.holder, **values):
        return False, []
    if not is_last:
        return True, []
    title, channel = connection.execute(_TITLE, {"key": failure.delivery_id}).one()
    details = {"channel": channel, "title": title, "error": shown}
    told = Event(kind=EventKind.UNDELIVERED, at=at, server_id=None, details=details)
    write_events(dialect, connection, [told])
    return True, [told]


def read_deliveries(
    connection: Connection, channel_id: str | None, before: str | None, limit: int
) -> list[Delivery]:
    """
    Messages, whether they were sent or not, newest first.

    Args:
        connection: The transaction.
        channel_id: Only messages of this channel; None for all.
        before: Only messages that are older than the one with this id; if there is no such message,
            the result is empty. None for all.
        limit: How many messages are returned at most.
    """
    query = select(*_DELIVERY)
    if channel_id is not None:
        query = query.where(deliveries.c.channel_id == channel_id)
    if before is not None:
        last = connection.execute(_PLACE, {"key": before}).first()
        if last is None:
            return []
        query = query.where(_place < tuple_(*last, types=[Moment(), Text()]))
    newest = query.order_by(deliveries.c.created_at.desc(), deliveries.c.id.desc()).limit(limit)
    return [Delivery(**row) for row in connection.execute(newest).mappings()]


def count(connection: Connection, now: datetime) -> OutboxCounts:
    """How many messages wait, and how many were given up in the last day, without tests."""
    return OutboxCounts(*connection.execute(_COUNTS, {"since": now - _A_DAY}).one())


def _finish(connection: Connection, delivery_id: str, holder: str, **values: object) -> bool:
    query = update(deliveries).where(
        deliveries.c.id == delivery_id, deliveries.c.leased_by == holder
    )
    ended = query.values(leased_by=None, leased_until=None, **values)
    return connection.execute(ended).rowcount == 1


def _columns(delivery: Delivery) -> dict[str, object]:
    return {**asdict(delivery, recurse=False), "body": dict(delivery.body)}


def _storable(error: str) -> str:
    """The beginning of a text from elsewhere, without what PostgreSQL does not store."""
    return error.encode(errors="replace").decode().replace("\x00", "")[:_LONGEST_ERROR]


_A_DAY = timedelta(days=1)
_LONGEST_ERROR = 500
_place = tuple_(deliveries.c.created_at, deliveries.c.id)
_PLACE = select(deliveries.c.created_at, deliveries.c.id).where(deliveries.c.id == bindparam("key"))
_DELIVERY = [deliveries.c[each.name] for each in fields(Delivery)]
_now = bindparam("now", type_=Moment)
_is_leased = and_(deliveries.c.leased_until.is_not(None), deliveries.c.leased_until > _now)
_is_free = and_(
    deliveries.c.next_at <= _now,
    or_(deliveries.c.leased_until.is_(None), deliveries.c.leased_until <= _now),
)


def _candidates() -> Select[tuple[object, ...]]:
    """The query that locks the channels of which a message is due, and none is being sent."""
    of_channel = deliveries.c.channel_id == channels.c.id
    oldest = select(func.min(deliveries.c.next_at)).where(of_channel, _is_free)
    return (
        select(channels)
        .where(
            exists(select(deliveries.c.id).where(of_channel, _is_free).correlate(channels)),
            ~exists(select(deliveries.c.id).where(of_channel, _is_leased).correlate(channels)),
        )
        .order_by(oldest.correlate(channels).scalar_subquery())
        .with_for_update(skip_locked=True)
    )


_CANDIDATES = _candidates()
_other = deliveries.alias()
_NEXT = (
    select(*_DELIVERY)
    .where(
        deliveries.c.channel_id == bindparam("channel"),
        _is_free,
        ~exists().where(_other.c.channel_id == bindparam("channel"), _other.c.leased_until > _now),
    )
    .order_by(deliveries.c.created_at, deliveries.c.id)
    .limit(1)
)
_TITLE = (
    select(deliveries.c.title, func.coalesce(channels.c.name, ""))
    .outerjoin(channels, channels.c.id == deliveries.c.channel_id)
    .where(deliveries.c.id == bindparam("key"))
)
_waiting = deliveries.c.next_at.is_not(None)
_COUNTS = select(
    select(func.count()).select_from(deliveries).where(_waiting).scalar_subquery(),
    select(func.count())
    .where(
        deliveries.c.given_up_at > bindparam("since", type_=Moment),
        deliveries.c.kind != DeliveryKind.TEST,
    )
    .scalar_subquery(),
    select(func.min(deliveries.c.created_at)).where(_waiting).scalar_subquery(),
)

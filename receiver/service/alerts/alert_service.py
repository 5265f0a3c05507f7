"""Makes channels, tests them, and runs the tasks that tell people of alarms."""

import asyncio
import base64
import logging
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any

import orjson
from attrs import evolve

from contract import InvalidMessage, Problem
from receiver.domain.alerts.alarms import default_rule
from receiver.domain.alerts.messages.texts import delivery as delivery_of
from receiver.domain.alerts.messages.texts import test_message
from receiver.domain.alerts.requests import ChannelChange, NewChannel
from receiver.domain.alerts.values import Channel, ChannelKind, Delivery, DeliveryKind, OutboxCounts
from receiver.domain.endpoints import Endpoints
from receiver.domain.errors import Refusal, StoreUnavailable
from receiver.service.alerts.delivery.addresses import host_of_webhook, scheme_of
from receiver.service.alerts.delivery.message import Message
from receiver.service.alerts.delivery.sending import Sender
from receiver.service.alerts.outbox import Outbox, Pace
from receiver.service.alerts.ping import Ping
from receiver.service.alerts.secret_box import SecretBox, Undecryptable
from receiver.service.alerts.watch import AlertWatch, WatchTiming
from receiver.service.alerts.weekly import report_delivery
from receiver.service.store_calls import StoreCalls
from receiver.store import SqlStore

__all__ = ["AlertService"]

_log = logging.getLogger(__name__)


class AlertService:
    """
    Tells people what happens to the fleet, through channels.

    Every coroutine raises StoreUnavailable when the database does not answer.

    Args:
        store: Where channels, alarms and messages are.
        calls: Calls the store's blocking methods in threads.
        box: Encrypts the addresses of channels.
        allowed: The hosts to which messages may be sent.
        clock: Returns the current time.
        trouble: Returns why the receiver does not work; None if it works.
        public_url: The URL of the pages, for links in messages; None for messages without links.
        ping_url: A URL that gets a request every minute while the receiver works; None to send no
            such requests.
        pace: The intervals and limits with which messages are sent.
        timing: The intervals at which alarms and reports are looked for.
    """

    def __init__(  # noqa: PLR0913 - what it needs, and what the settings say
        self,
        store: SqlStore,
        calls: StoreCalls,
        *,
        box: SecretBox,
        allowed: Endpoints,
        clock: Callable[[], datetime],
        trouble: Callable[[], str | None],
        public_url: str | None = None,
        ping_url: str | None = None,
        pace: Pace = Pace(),  # noqa: B008 - it is frozen
        timing: WatchTiming = WatchTiming(),  # noqa: B008 - it is frozen
    ) -> None:
        self._alerts = store.alerts
        self._calls = calls
        self._box = box
        self._allowed = allowed
        self._clock = clock
        self._public_url = public_url
        self._sender = Sender(allowed, seconds=pace.seconds)
        self._few_at_once = asyncio.Semaphore(2)
        self._outbox = Outbox(store, calls, self._deliver, clock=clock, pace=pace)
        self._watch = AlertWatch(
            store,
            calls,
            clock=clock,
            public_url=public_url,
            make_report=partial(report_delivery, store, calls, public_url=public_url),
            timing=timing,
        )
        self._ping = None if ping_url is None else Ping(ping_url, self._sender, trouble=trouble)

    @property
    def open_alarms(self) -> int:
        """
        How many alarms have begun and not ended, as of the last look for them.

        Those that are silenced, or told as a part of another alarm, do not count.
        """
        return self._watch.seen.open_alarms

    @property
    def counts(self) -> OutboxCounts:
        """How many messages wait, or were given up within a day, as of the last look for alarms."""
        return self._watch.seen.counts

    def oldest_waiting_seconds(self) -> float | None:
        """How long ago the oldest message that waits was made; None if no message waits."""
        oldest_at = self.counts.oldest_at
        # The clock may have been set back.
        return None if oldest_at is None else max(0.0, (self._clock() - oldest_at).total_seconds())

    async def run_watch(self) -> None:
        """Look for alarms and reports, until cancelled."""
        with suppress(StoreUnavailable):
            self._say_which_keys_fit(await self._calls.read(self._alerts.channels))
        await self._watch.run()

    async def run_outbox(self) -> None:
        """Send the messages that are due, until cancelled."""
        await self._outbox.run()

    async def run_ping(self) -> None:
        """Send requests to `ping_url` while the receiver works; return at once if it is None."""
        if self._ping is not None:
            await self._ping.run()

    async def make_channel(self, new: NewChannel) -> tuple[Channel, str | None]:
        """
        Store a new channel and, if there are no channels and no rules yet, the default rule.

        Returns the channel, and the secret that the messages to a webhook are signed with, which
        nobody is told again; None in its place for a channel of another kind. Raises InvalidMessage
        for an address to which no message can be sent, and Refusal when the receiver has no key to
        encrypt it with.
        """
        now = self._clock()
        sealed, service, secret = await self._seal(new.kind, new.address)
        channel = new.issue(address=sealed, service=service, now=now)
        await self._calls.change(
            self._alerts.add_channel, channel, default_rule(channel.id, now=now)
        )
        return channel, secret

    async def change_channel(
        self, channel: Channel, change: ChannelChange
    ) -> tuple[Channel | None, str | None]:
        """
        Change a channel.

        Returns the changed channel, or None if it is gone; and the new secret of a webhook if the
        address was changed, or else None. Raises InvalidMessage for an address to which no message
        can be sent, and Refusal when the receiver has no key to encrypt it with.
        """
        values = dict(change.values)
        secret = None
        if "address" in values:
            sealed, service, secret = await self._seal(channel.kind, values["address"])
            values |= {"address": sealed, "service": service}
        is_there = await self._calls.change(
            partial(self._alerts.change_channel, channel.id, **values)
        )
        return (evolve(channel, **values), secret) if is_there else (None, None)

    async def test(self, channel_id: str) -> str | None:
        """
        Send a test message through a channel now, and store it among the messages that were sent.

        If it cannot be stored, that is logged and not raised, since it was sent all the same.
        Returns None if it was delivered, and otherwise the reason why not, for people. Raises
        Refusal when there is no such channel, or no key of the receiver decrypts its address.
        """
        channel = await self._calls.read(self._alerts.channel, channel_id)
        if channel is None:
            raise Refusal(404, "unknown_channel", f"there is no channel {channel_id}")
        try:
            self._box.open(channel.address)
        except Undecryptable as why:
            raise Refusal(409, "wrong_secret_key", _WRONG_KEY.format(channel.name, why)) from None
        made = test_message(channel, now=self._clock(), public_url=self._public_url)
        message = delivery_of(
            DeliveryKind.TEST, made, channel_id=channel.id, thread="", now=self._clock()
        )
        async with self._few_at_once:
            error = await self._deliver(channel, message)
        now = self._clock()
        # It is stored to be shown among the others, and not sent again.
        tried = evolve(message, attempts=1, next_at=None, error=error)
        tried = evolve(tried, sent_at=now) if error is None else evolve(tried, given_up_at=now)
        try:
            await self._calls.change(self._alerts.enqueue, tried)
        except StoreUnavailable as failure:
            _log.warning("A test of the channel %s is not in the list: %s", channel.id, failure)
        return error

    def _say_which_keys_fit(self, channels: Sequence[Channel]) -> None:
        """Log which channels have addresses that no key decrypts, or another one than the first."""
        lost, older = [], []
        for channel in channels:
            try:
                if not self._box.is_newest(channel.address):
                    older.append(channel.name)
            except Undecryptable:
                lost.append(channel.name)
        if lost:
            _log.error(
                "Nothing can be sent through these channels, because their addresses were "
                "encrypted with other keys than those in FLEET_SECRET_KEY: %s. Add the key that "
                "they were made with after a comma, or write their addresses anew.",
                ", ".join(map(repr, lost)),
            )
        if older:
            _log.warning(
                "The addresses of %d channels are encrypted with an older key than the first one "
                "in FLEET_SECRET_KEY. Before you take it away: odoo-mcp-fleet channels reencrypt",
                len(older),
            )

    async def _seal(self, kind: ChannelKind, address: Any) -> tuple[bytes, str, str | None]:
        """
        Check and encrypt the address of a channel.

        Returns also what may be shown of it, and the secret of a webhook.
        """
        if not self._box.has_key:
            self._box.seal("")  # raises the Refusal before the address is looked at
        if kind is ChannelKind.WEBHOOK:
            url = address["url"]
            try:
                service = host_of_webhook(url, self._allowed)
            except ValueError as error:
                raise InvalidMessage([Problem("address", str(error))]) from None
            secret = address.get("secret") or _new_secret()
            return self._sealed({"url": url, "secret": secret}), service, secret
        try:
            service = scheme_of(address, self._allowed)
        except ValueError as error:
            raise InvalidMessage([Problem("address", str(error))]) from None
        async with self._few_at_once:
            wrong = await self._sender.check(address)
        if wrong is not None:
            raise InvalidMessage([Problem("address", f"cannot be used: {wrong}")])
        return self._sealed({"url": address}), service, None

    def _sealed(self, address: Any) -> bytes:
        return self._box.seal(orjson.dumps(address).decode())

    async def _deliver(self, channel: Channel, delivery: Delivery) -> str | None:
        """Send a message through its channel; return None, or the reason why that failed."""
        try:
            address = orjson.loads(self._box.open(channel.address))
        except Undecryptable as error:
            return str(error)
        message = Message(
            id=delivery.id,
            kind=delivery.kind.value,
            # Threads are numbered, and two fleets may write to one mailbox.
            thread=f"{channel.id}-{delivery.thread}" if delivery.thread else "",
            title=delivery.title,
            text=delivery.text,
            body=dict(delivery.body),
        )
        if channel.kind is ChannelKind.WEBHOOK:
            return await self._sender.post(address["url"], address["secret"], message)
        return await self._sender.notify(address["url"], message)


_WRONG_KEY = (
    "Nothing can be sent through the channel {!r}: {}. Add the key that it was made with, after a "
    "comma, and start the receiver again; or write the address of the channel anew."
)


def _new_secret() -> str:
    """A random secret of a webhook, as https://www.standardwebhooks.com writes it."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()

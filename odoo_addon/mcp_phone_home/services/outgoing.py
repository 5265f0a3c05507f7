"""Messages that are ready to send, independent of Odoo's environment."""

import logging
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

from attrs import asdict, evolve, frozen

from client import HeartbeatReceipt, PhoneHomeClient, Refused, RegistrationReceipt
from contract import FleetError, Heartbeat, Registration, Want

from .advice import with_advice
from .clients import client_for
from .for_agents import reason_for_agents
from .pace import pace_after
from .settings import ReceiverSettings
from .state import next_sequence

_logger = logging.getLogger(__name__)


@frozen(kw_only=True)
class Outcome:
    """
    The outcome of sending a message.

    Attributes:
        reason: A sentence that says why the receiver has not accepted the message, and what to
            do about it; empty when it has. It may quote the receiver.
        for_agents: The reason for a language model, without any text of the receiver. May be
            empty; `reason` then has no such text either.
        sender: The hostname of the server that has sent the message; empty when none was sent.
        hostname: The hostname of a registration that the receiver has accepted; else empty.
        started_at: The start of the server in that registration; else None.
        described: The digest of the tools that it described; None if it described none.
        endpoint_url: The MCP endpoint that the message announced, if the receiver has accepted
            it; else None.
        wants_registration: Whether the receiver has asked for a registration, since it lacks the
            description of the tools.
        too_large: The digest of the tools without which the registration was sent once more,
            since the receiver had refused it for its size; else None.
        changes_pace: Whether `pace` is to be stored.
        pace: What the receiver asks for, as the members of `services.pace.Pace`; None for nothing.
    """

    reason: str = ""
    for_agents: str = ""
    sender: str = ""
    hostname: str = ""
    started_at: datetime | None = None
    described: str | None = None
    endpoint_url: str | None = None
    wants_registration: bool = False
    too_large: str | None = None
    changes_pace: bool = False
    pace: dict | None = None

    @property
    def taken_in(self) -> bool:
        """Whether the receiver has accepted the message."""
        return not self.reason


@frozen(kw_only=True)
class Outgoing:
    """
    A message with everything that is needed to send it.

    It holds no Odoo environment, so any thread may send it at any time.

    Attributes:
        settings: How to reach the receiver.
        message: The registration or heartbeat.
        send: Sends the message by a client, and returns the receipt. Raises
            `contract.FleetError`.
        has_pace: Whether it is stored that a receiver has asked for a longer interval.
        registration: Makes the registration that the answer to a heartbeat may ask for; None for
            a message that no registration may follow.
    """

    settings: ReceiverSettings
    message: Registration | Heartbeat
    send: Callable[[PhoneHomeClient, Any], HeartbeatReceipt | RegistrationReceipt]
    has_pace: bool = False
    registration: "Callable[[], Outgoing] | None" = None

    def numbered(self, registry) -> "Outgoing":
        """
        A copy whose message has the database's next number; all attempts send the same number.

        Call this just before the message is sent: the receiver tells by the numbers how many
        messages were sent.
        """
        message = evolve(self.message, sequence=next_sequence(registry))
        return evolve(self, message=message)

    def deliver(self) -> Outcome:
        """
        Send the message. Logs a warning when that fails; never raises a FleetError.

        A registration that the receiver refuses for its size is sent once more without the
        description of the tools, so that the receiver knows the server all the same. A receiver
        that knows nothing of tools accepts an eighth of the size.
        """
        sent_at = time.time()
        try:
            receipt = self.send(client_for(self.settings), self.message)
        except FleetError as error:
            if self._may_be_smaller and isinstance(error, Refused) and error.status == 413:
                return self._delivered_without_tools()
            reason = with_advice(error, self.settings)
            _logger.warning("Phoning home failed: %s", reason)
            for_agents = reason_for_agents(error, self.settings)
            return Outcome(reason=reason, for_agents=for_agents, sender=self.message.hostname)
        message = self.message
        outcome = Outcome(endpoint_url=message.endpoint_url, sender=message.hostname)
        if isinstance(message, Registration):
            return evolve(
                outcome,
                hostname=message.hostname,
                started_at=message.started_at,
                described=message.tools_digest,
            )
        pace = pace_after(self, receipt, sent_at=sent_at)
        return evolve(
            outcome,
            wants_registration=Want.REGISTRATION in receipt.wants,
            # No state is written for a wish that changes nothing.
            changes_pace=self.has_pace or (pace is not None and pace.is_longer),
            pace=pace and asdict(pace),
        )

    @property
    def _may_be_smaller(self) -> bool:
        return isinstance(self.message, Registration) and self.message.tools is not None

    def _delivered_without_tools(self) -> Outcome:
        _logger.info(
            "The registration is too large for the receiver at %s, so it is sent without the "
            "description of the tools",
            client_for(self.settings).base_url,
        )
        smaller = evolve(self.message, tools=None, tools_digest=None)
        outcome = evolve(self, message=smaller).deliver()
        return evolve(outcome, too_large=self.message.tools_digest)

"""A message on its way, cut off from Odoo."""

import logging
from collections.abc import Callable

from attrs import frozen

from client import PhoneHomeClient
from contract import FleetError, Heartbeat, Registration

from .advice import with_advice
from .clients import client_for
from .settings import ReceiverSettings

_logger = logging.getLogger(__name__)


@frozen(kw_only=True)
class Outcome:
    """
    What came of a message.

    Attributes:
        reason: Why it was not taken in, in a sentence, and what to do about it; else empty.
        hostname: That which the receiver knows now by a registration; else empty.
    """

    reason: str = ""
    hostname: str = ""

    @property
    def taken_in(self) -> bool:
        """Whether the receiver has taken the message in."""
        return not self.reason


@frozen(kw_only=True)
class Outgoing:
    """
    A message with all that its delivery needs.

    It knows no environment, so it may be delivered in another thread and at any time.
    """

    settings: ReceiverSettings
    message: Registration | Heartbeat
    send: Callable[[PhoneHomeClient, Registration | Heartbeat], None]

    def deliver(self) -> Outcome:
        """Send it; why the receiver has not taken it in is logged too."""
        try:
            self.send(client_for(self.settings), self.message)
        except FleetError as error:
            reason = with_advice(error)
            _logger.warning("Phoning home failed: %s", reason)
            return Outcome(reason=reason)
        is_registration = isinstance(self.message, Registration)
        return Outcome(hostname=self.message.hostname if is_registration else "")

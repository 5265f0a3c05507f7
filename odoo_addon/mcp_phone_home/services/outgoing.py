"""A message on its way, cut off from Odoo."""

import logging
from collections.abc import Callable

from attrs import frozen

from client import PhoneHomeClient, trust_only
from contract import FleetError, Heartbeat, Registration

from .advice import with_advice
from .settings import ReceiverSettings

_logger = logging.getLogger(__name__)


@frozen(kw_only=True)
class Outgoing:
    """
    A message with all that its delivery needs.

    It knows no environment, so it may be delivered in another thread and at any time.
    """

    settings: ReceiverSettings
    message: Registration | Heartbeat
    send: Callable[[PhoneHomeClient, Registration | Heartbeat], None]

    def deliver(self) -> bool:
        """Whether the receiver has taken the message in; the reason why not is logged."""
        try:
            with receiver_client(self.settings) as client:
                self.send(client, self.message)
        except FleetError as error:
            _logger.warning("Phoning home failed: %s", with_advice(error))
            return False
        return True


def receiver_client(settings):
    """A client for the receiver. Raises `client.ClientError` for settings that cannot work."""
    return PhoneHomeClient(
        settings.url,
        token=settings.token,
        timeout=settings.timeout_seconds,
        attempts=settings.attempts,
        verify=None if settings.ca is None else trust_only(settings.ca),
    )

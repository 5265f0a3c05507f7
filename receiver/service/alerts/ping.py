"""A dead man's switch: requests to a URL that cease when the receiver does not work."""

import asyncio
import logging
from collections.abc import Callable

from receiver.service.alerts.delivery.sending import Sender

__all__ = ["Ping"]

_log = logging.getLogger(__name__)


class Ping:
    """
    Sends a GET request to a URL every minute, as long as the receiver works.

    A service that expects these requests, such as Healthchecks, tells people when they cease.

    Args:
        url: The URL.
        sender: Sends the requests.
        trouble: Returns why the receiver does not work; None if it works.
        every_seconds: How many seconds pass between two requests.
    """

    def __init__(
        self,
        url: str,
        sender: Sender,
        *,
        trouble: Callable[[], str | None],
        every_seconds: float = 60.0,
    ) -> None:
        self._url = url
        self._sender = sender
        self._trouble = trouble
        self._every_seconds = every_seconds
        self._error: str | None = None

    async def run(self) -> None:
        """Send the requests until cancelled; log the first of several failures in a row."""
        while True:
            if self._trouble() is None:
                self._note(await self._sender.ping(self._url))
            await asyncio.sleep(self._every_seconds)

    def _note(self, error: str | None) -> None:
        if error is not None and self._error is None:
            _log.warning("The request to FLEET_PING_URL failed: %s", error)
        elif error is None and self._error is not None:
            _log.info("The requests to FLEET_PING_URL succeed again")
        self._error = error

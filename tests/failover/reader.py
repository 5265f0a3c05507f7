"""A reader of a stream of events that comes back, as a browser does."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress

import httpx

from servers import NO_AUTHORITIES


class Reader:
    """
    Reads the events of a fleet from any of its receivers, from the first one on.

    Args:
        urls: The receivers; each connection goes to the next.
        stay: How long a connection lasts at most, in seconds; None for as long as it may.

    Attributes:
        numbers: The number of each event, as it was read.
        connections: How many connections there were.
    """

    def __init__(self, urls: Sequence[str], *, stay: float | None = None) -> None:
        self._urls = urls
        self._stay = stay
        self.numbers: list[int] = []
        self.connections = 0

    async def read(self) -> None:
        """Read until cancelled."""
        async with httpx.AsyncClient(
            trust_env=False, verify=NO_AUTHORITIES, timeout=httpx.Timeout(5, read=20)
        ) as client:
            while True:
                url = self._urls[self.connections % len(self._urls)]
                self.connections += 1
                with suppress(httpx.TransportError, TimeoutError):
                    async with asyncio.timeout(self._stay):
                        await self._read(client, url)
                await asyncio.sleep(0.1)

    async def read_up_to(self, number: int) -> None:
        """Wait until another task has read the event with this number."""
        async with asyncio.timeout(30):
            while not self.numbers or self.numbers[-1] < number:  # noqa: ASYNC110 - a poll will do
                await asyncio.sleep(0.05)

    async def _read(self, client: httpx.AsyncClient, url: str) -> None:
        known = str(self.numbers[-1] if self.numbers else 0)
        headers = {"Last-Event-ID": known}
        async with client.stream("GET", f"{url}/events/stream", headers=headers) as answer:
            if answer.status_code == 200:
                async for number in _numbers(answer):
                    self.numbers.append(number)


async def _numbers(answer: httpx.Response) -> AsyncIterator[int]:
    """The number of each event that has come completely."""
    fields: dict[str, str] = {}
    async for line in answer.aiter_lines():
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
            continue
        if "data" in fields:
            yield int(fields["id"])
        fields = {}

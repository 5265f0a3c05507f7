"""Heartbeats by the thousand, and what became of each."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from time import monotonic

import httpx
from attrs import frozen

import messages
from messages import Json

SERVERS = [f"acme-{number:03}" for number in range(100)]


@frozen(kw_only=True)
class Exchange:
    """
    A request, and its answer.

    Attributes:
        server_id: Whose heartbeat it was; empty for another request.
        began: When it was sent, by the clock `monotonic`.
        ended: When the answer was there, or the connection broke.
        status: None when the connection broke before the answer.
        headers: Their names in lower case.
        body: The answer's JSON; empty when there was none.
    """

    server_id: str
    began: float
    ended: float
    status: int | None
    headers: Mapping[str, str]
    body: Json

    @property
    def seconds(self) -> float:
        return self.ended - self.began

    @property
    def code(self) -> str | None:
        """What went wrong, where it was said."""
        return self.body.get("code")


class Connection:
    """A connection that sends one request after the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def heartbeat(self, beat: Json) -> Exchange:
        content = json.dumps(beat).encode()
        return await self._exchange(head("/heartbeat", len(content)) + content, beat["server_id"])

    async def get(self, path: str) -> Exchange:
        return await self._exchange(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())

    def send(self, content: bytes) -> None:
        """Send a part of a request."""
        self._writer.write(content)

    async def answer(self, *, began: float, server_id: str = "") -> Exchange:
        """The answer to what was sent, or that the connection broke."""
        try:
            status, headers, body = await self._read()
        except (OSError, EOFError):
            status, headers, body = None, {}, {}
        return Exchange(
            server_id=server_id,
            began=began,
            ended=monotonic(),
            status=status,
            headers=headers,
            body=body,
        )

    async def _exchange(self, request: bytes, server_id: str = "") -> Exchange:
        began = monotonic()
        self.send(request)
        return await self.answer(began=began, server_id=server_id)

    async def _read(self) -> tuple[int, dict[str, str], Json]:
        lines = (await self._reader.readuntil(b"\r\n\r\n")).decode().splitlines()[:-1]
        pairs = (line.split(": ", 1) for line in lines[1:])
        headers = {name.lower(): value for name, value in pairs}
        body = await self._reader.readexactly(int(headers["content-length"]))
        return int(lines[0].split()[1]), headers, json.loads(body)


def head(path: str, length: int) -> bytes:
    """What comes before the body of a post."""
    return (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {length}\r\n\r\n"
    ).encode()


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Connection]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Connection(reader, writer)
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


def beats(count: int, servers: Sequence[str]) -> Iterator[Json]:
    """Heartbeats of servers in turn; each server sends a slim and a full one in turn."""
    for number in range(count):
        turn, server = divmod(number, len(servers))
        if (turn + server) % 2:
            yield messages.slim(server_id=servers[server])
        else:
            yield messages.heartbeat(server_id=servers[server], hostname=f"web-{turn}")


async def send_all(
    port: int, heartbeats: Iterable[Json], seen: list[Exchange], *, connections: int
) -> None:
    """
    Send heartbeats over several connections, each as soon as one of them is free.

    Notes in `seen` what becomes of each. A connection that breaks sends no more, and one that
    is answered with 503 rests for a moment.
    """
    remaining = iter(heartbeats)

    async def send(connection: Connection) -> None:
        for beat in remaining:
            exchange = await connection.heartbeat(beat)
            seen.append(exchange)
            if exchange.status is None:
                return
            if exchange.status == 503:
                await asyncio.sleep(0.05)

    async with AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(connected(port)) for _ in range(connections)]
        await asyncio.gather(*map(send, opened))


def telling(heartbeats: Iterable[Json], told: asyncio.Event, *, after: int) -> Iterator[Json]:
    """The same heartbeats; says when so many of them have been sent."""
    for number, beat in enumerate(heartbeats):
        if number == after:
            told.set()
        yield beat


def statuses(seen: Iterable[Exchange]) -> set[int | None]:
    return {exchange.status for exchange in seen}


def acknowledged(seen: Iterable[Exchange]) -> Counter[str]:
    """How many heartbeats of each server were answered with 200."""
    return Counter(each.server_id for each in seen if each.status == 200)


def unknown(seen: Iterable[Exchange]) -> Counter[str]:
    """How many heartbeats of each server may count or not: nobody said."""
    return Counter(
        each.server_id for each in seen if each.status is None or each.code == "outcome_unknown"
    )


def miscounted(seen: Sequence[Exchange], kept: Mapping[str, int]) -> dict[str, str]:
    """The servers of which more or less is kept than what they sent allows."""
    sure, perhaps = acknowledged(seen), unknown(seen)
    return {
        each: f"{sure[each]} acknowledged, {perhaps[each]} unknown, {kept.get(each, 0)} kept"
        for each in sorted(sure.keys() | perhaps.keys() | kept.keys())
        if not sure[each] <= kept.get(each, 0) <= sure[each] + perhaps[each]
    }


def counted_twice(seen: Iterable[Exchange]) -> list[tuple[str, int]]:
    """The counts that two heartbeats of one server got: the first of them was forgotten."""
    given = Counter(
        (each.server_id, each.body["heartbeat_count"]) for each in seen if each.status == 200
    )
    return [pair for pair, times in given.items() if times > 1]


def counts(url: str) -> dict[str, int]:
    """How many heartbeats of each server a receiver has counted."""
    answer = httpx.get(f"{url}/servers", params={"limit": 1000}, trust_env=False)
    return {each["server_id"]: each["heartbeat_count"] for each in answer.json()["servers"]}

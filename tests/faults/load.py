"""A load generator for heartbeats, which records the outcome of each request."""

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
    A request and its answer. Times are in seconds by `time.monotonic`.

    Attributes:
        server_id: `server_id` of the heartbeat; empty for another request.
        began: When the request was sent.
        ended: When the answer was complete, or the connection broke.
        status: Status of the answer; None when the connection broke before it.
        headers: Header values by lower-case name.
        body: JSON object of the answer; empty without one.
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
        """The `code` of the answer's problem document; None without one."""
        return self.body.get("code")


class Connection:
    """A keep-alive connection that sends requests in sequence."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def heartbeat(self, beat: Json) -> Exchange:
        content = json.dumps(beat).encode()
        return await self._exchange(head("/heartbeat", len(content)) + content, beat["server_id"])

    async def get(self, path: str) -> Exchange:
        return await self._exchange(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())

    def send(self, content: bytes) -> None:
        """Send bytes of a request."""
        self._writer.write(content)

    async def answer(self, *, began: float, server_id: str = "") -> Exchange:
        """Wait for the answer to the sent request; its status is None if the connection breaks."""
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
    """The head of a POST with a body of so many bytes."""
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
    """Heartbeats of the servers in rotation, alternately slim and full for each server."""
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
    Send heartbeats over several connections, each over the next free one.

    Appends each Exchange to `seen`. A broken connection sends no more, and one that gets a 503
    pauses briefly.
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
    """Pass the heartbeats on, and set the event `told` after the first `after` of them."""
    for number, beat in enumerate(heartbeats):
        if number == after:
            told.set()
        yield beat


def statuses(seen: Iterable[Exchange]) -> set[int | None]:
    return {exchange.status for exchange in seen}


def acknowledged(seen: Iterable[Exchange]) -> Counter[str]:
    """The number of heartbeats of each server that were answered with 200."""
    return Counter(each.server_id for each in seen if each.status == 200)


def unknown(seen: Iterable[Exchange]) -> Counter[str]:
    """The number of heartbeats of each server without an answer, which may count or not."""
    return Counter(
        each.server_id for each in seen if each.status is None or each.code == "outcome_unknown"
    )


def miscounted(seen: Sequence[Exchange], kept: Mapping[str, int]) -> dict[str, str]:
    """The servers whose stored count is below the acknowledged or above the sent heartbeats."""
    sure, perhaps = acknowledged(seen), unknown(seen)
    return {
        each: f"{sure[each]} acknowledged, {perhaps[each]} unknown, {kept.get(each, 0)} kept"
        for each in sorted(sure.keys() | perhaps.keys() | kept.keys())
        if not sure[each] <= kept.get(each, 0) <= sure[each] + perhaps[each]
    }


def counted_twice(seen: Iterable[Exchange]) -> list[tuple[str, int]]:
    """Each server and `heartbeat_count` that two answers hold, so that one was lost."""
    given = Counter(
        (each.server_id, each.body["heartbeat_count"]) for each in seen if each.status == 200
    )
    return [pair for pair, times in given.items() if times > 1]


def counts(url: str) -> dict[str, int]:
    """The `heartbeat_count` of each server of a receiver."""
    answer = httpx.get(f"{url}/servers", params={"limit": 1000}, trust_env=False)
    return {each["server_id"]: each["heartbeat_count"] for each in answer.json()["servers"]}

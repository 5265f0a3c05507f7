"""Servers that send a heartbeat in each interval, whatever became of the one before."""

import asyncio
from collections.abc import Sequence
from time import monotonic

import messages
from faults.load import Exchange, connected

GIVE_UP_SECONDS = 5.0
"""How long a sender waits for its answer, as the client does."""


async def keep_sending(
    ports: Sequence[int],
    servers: Sequence[str],
    seen: list[Exchange],
    over: asyncio.Event,
    *,
    interval: float,
) -> None:
    """
    Let each server send a heartbeat in each interval, until `over`; append each Exchange to `seen`.

    Each server sends to one of the ports, and moves to another host with every second heartbeat.
    """
    begun = monotonic()

    async def send(index: int, server_id: str) -> None:
        number = 0
        while await _is_time(begun + interval * (number + index / len(servers)), over):
            beat = messages.heartbeat(
                server_id=server_id,
                hostname=f"web-{number // 2}",
                heartbeat_interval_seconds=interval,
            )
            seen.append(await send_once(ports[index % len(ports)], beat))
            number = max(number + 1, int((monotonic() - begun) / interval - index / len(servers)))

    async with asyncio.TaskGroup() as group:
        for index, server_id in enumerate(servers):
            group.create_task(send(index, server_id))


async def send_once(port: int, beat: messages.Json) -> Exchange:
    """Send a heartbeat over a connection of its own; its status is None without an answer."""
    began = monotonic()
    try:
        async with asyncio.timeout(GIVE_UP_SECONDS), connected(port) as connection:
            return await connection.heartbeat(beat)
    except (OSError, TimeoutError):
        return Exchange(
            server_id=beat["server_id"],
            began=began,
            ended=monotonic(),
            status=None,
            headers={},
            body={},
        )


async def _is_time(moment: float, over: asyncio.Event) -> bool:
    """Wait until a moment of `time.monotonic`; returns False at once when `over` is set."""
    try:
        async with asyncio.timeout(max(0.0, moment - monotonic())):
            await over.wait()
    except TimeoutError:
        return True
    return False

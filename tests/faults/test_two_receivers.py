"""Two receivers on one PostgreSQL database count every heartbeat once."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from itertools import product
from pathlib import Path

from faults.load import SERVERS, Exchange, beats, counts, send_all, statuses
from postgres import Postgres
from servers import receiver_process

HEARTBEATS_PER_SERVER = 200
CONNECTIONS = 32


async def send_to_both(ports: Sequence[int]) -> list[Exchange]:
    """
    Send half of the heartbeats to each receiver.

    The servers come in groups that are smaller than the number of requests in flight, so both
    receivers get the first heartbeats of each new server at the same time.
    """
    seen: list[Exchange] = []
    groups = [SERVERS[first : first + 20] for first in range(0, len(SERVERS), 20)]
    async with asyncio.timeout(90):
        for servers in groups:
            half = len(servers) * HEARTBEATS_PER_SERVER // 2
            await asyncio.gather(
                *(
                    send_all(port, beats(half, servers), seen, connections=CONNECTIONS)
                    for port in ports
                )
            )
    return seen


def test_two_receivers_on_one_postgresql_count_every_heartbeat_once(
    postgres: Postgres, tmp_path: Path
) -> None:
    with postgres.new_database() as name:
        settings = {"FLEET_DATABASE_URL": postgres.url(name)}
        with (
            receiver_process(tmp_path, **settings) as one,
            receiver_process(tmp_path, **settings) as other,
        ):
            seen = asyncio.run(send_to_both([one.port, other.port]))
            kept = [counts(receiver.url) for receiver in (one, other)]

    assert {200} == statuses(seen)
    assert 20_000 == len(seen)
    assert [dict.fromkeys(SERVERS, HEARTBEATS_PER_SERVER)] * 2 == kept
    given = Counter((each.server_id, each.body["heartbeat_count"]) for each in seen)
    assert Counter(product(SERVERS, range(1, HEARTBEATS_PER_SERVER + 1))) == given

"""The requests of the benchmarks: heartbeats of a made-up fleet, and reads."""

import json
from base64 import b64encode
from collections.abc import Iterable, Iterator
from pathlib import Path
from uuid import UUID

from attrs import frozen

__all__ = ["BATCH", "RARE_TOOL", "Load", "Traffic", "stamped"]

BATCH = 1_000
"""Number of heartbeats in one `POST /heartbeats`."""

RARE_TOOL = "mrp_production_schedule"
"""An MCP tool that only 200 servers have, however many there are."""
_RARE_CARRIERS = 200
_TOOLS = (
    "crm_lead_create",
    "hr_employee_read",
    "res_partner_search",
    "sale_order_confirm",
    "stock_quant_read",
)
_STAMP = "@@@@@@"


@frozen(kw_only=True)
class Load:
    """
    Requests that wrk repeats in random order.

    Attributes:
        name: Name of the load.
        path: A file with one request a line: method, path and body, separated by tabs.
        connections: Number of concurrent requests.
        heartbeats: Number of heartbeats in one request.
    """

    name: str
    path: Path
    connections: int
    heartbeats: int = 1


@frozen
class Traffic:
    """
    The requests of a fleet of `size` servers, written to files in `folder`.

    All servers have the same tools; 200 of them, spread evenly, have `RARE_TOOL` as well. Each
    promises a heartbeat every `interval_seconds`: an hour, so that a server that sends nothing for
    some minutes stays up.
    """

    size: int
    folder: Path
    interval_seconds: float = 3600.0

    def heartbeats(self) -> Load:
        """Requests with one heartbeat each, over 64 connections."""
        lines = (f"POST\t/heartbeat\t{self._heartbeat(n)}" for n in range(self.size))
        return self._load("heartbeats", lines, connections=64)

    def newcomers(self, number: int) -> Load:
        """
        Requests with the first heartbeat of a server each, over 64 connections.

        The servers of another `number` are others.
        """
        name = f"new-{number}-{_STAMP}"
        line = f"POST\t/heartbeat\t{_heartbeat(0, tools=_TOOLS, name=name)}"
        return self._load(f"newcomers {number}", [line], connections=64)

    def puts(self) -> Load:
        """Requests that put a heartbeat into etcd, by the server_id, over 64 connections."""
        lines = (
            "POST\t/v3/kv/put\t"
            + json.dumps({"key": _base64(_server_id(n)), "value": _base64(self._heartbeat(n))})
            for n in range(self.size)
        )
        return self._load("puts", lines, connections=64)

    def pushes(self) -> Load:
        """Requests that push two gauges of a server to a Pushgateway, over 64 connections."""
        lines = (
            f"PUT\t/metrics/job/fleet/instance/{_server_id(n)}\t"
            f"uptime_seconds 86400.{_STAMP}\\nheartbeat_interval_seconds 3600\\n"
            for n in range(self.size)
        )
        return self._load("pushes", lines, connections=64)

    def batches(self) -> Load:
        """Requests with a thousand heartbeats each, over 4 connections."""
        lines = (f"POST\t/heartbeats\t{body}" for body in self.batch_bodies())
        return self._load("batches", lines, connections=4, heartbeats=BATCH)

    def records(self) -> Load:
        """Requests for the record of one server each, over 1 connection."""
        lines = (f"GET\t/servers/{_server_id(n)}\t" for n in range(self.size))
        return self._load("records", lines, connections=1)

    def page(self, name: str, path: str) -> Load:
        """Requests for one page of the server list, again and again, over 1 connection."""
        return self._load(name, [f"GET\t{path}\t"], connections=1)

    def batch_bodies(self) -> Iterator[str]:
        """The bodies of batches that together hold one heartbeat of every server."""
        for first in range(0, self.size, BATCH):
            beats = (self._heartbeat(n) for n in range(first, min(first + BATCH, self.size)))
            yield f"[{','.join(beats)}]"

    def _load(
        self, name: str, lines: Iterable[str], *, connections: int, heartbeats: int = 1
    ) -> Load:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{name.replace(' ', '-')}.tsv"
        with path.open("w") as file:
            file.writelines(f"{line}\n" for line in lines)
        return Load(name=name, path=path, connections=connections, heartbeats=heartbeats)

    def _heartbeat(self, number: int) -> str:
        rare = number % (self.size // _RARE_CARRIERS) == 0
        tools = (RARE_TOOL, *_TOOLS) if rare else _TOOLS
        return _heartbeat(number, tools=tools, interval_seconds=self.interval_seconds)


def stamped(body: str) -> str:
    """The body with zeros for the mark `@@@@@@`, which wrk.lua replaces by a running number."""
    return body.replace(_STAMP, "0" * len(_STAMP))


def _server_id(number: int) -> str:
    return f"acme-{number:06}_web-{number:06}"


def _base64(text: str) -> str:
    return b64encode(stamped(text).encode()).decode()


def _heartbeat(
    number: int,
    *,
    tools: Iterable[str],
    interval_seconds: float = 3600.0,
    name: str | None = None,
) -> str:
    """A heartbeat with all fields of a payload, about 560 bytes of JSON."""
    address = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
    content = {
        "server_id": name or _server_id(number),
        "hostname": f"web-{number:06}",
        "ip_addresses": {"primary": address, "all": [address, f"fd00::{number & 0xFFFF:x}"]},
        "port": 8768,
        "transport": "http/sse",
        "version": "1.0.0",
        "odoo_version": "19.0",
        "database": f"acme-{number:06}",
        "capabilities": sorted(tools),
        "odoo_stage": "production",
        "database_uuid": name or str(UUID(int=number)),
        "heartbeat_interval_seconds": interval_seconds,
        "status": "healthy",
        "timestamp": f"2026-01-31T12:00:00.{_STAMP}Z",
        "uptime_seconds": 86400.5,
    }
    return json.dumps(content, separators=(",", ":"))

"""Fixtures: the MCP clients of others, and a receiver with keys."""

import os
from collections.abc import Iterator

import httpx
import pytest
from attrs import frozen
from sqlalchemy import make_url

import messages
from agents.programs import Programs, provide
from keyring import bearer, keep, made
from odoo_fixtures import odoo
from receiver.store import SqlStore
from servers import Process, receiver_process

__all__ = ["CAREFUL", "Guarded", "guarded", "odoo", "programs"]

CAREFUL = "--http=receiver.connections:Careful"
HERE = "127.0.0.0/8"
"""A value of FLEET_ENDPOINTS: the servers of these tests are on this machine."""


@frozen(kw_only=True)
class Guarded:
    """
    A receiver with keys.

    Attributes:
        process: Its process.
        viewer: The token of a viewer, such as an agent's.
        agent: The token that servers send heartbeats with.
    """

    process: Process
    viewer: str
    agent: str

    @property
    def mcp(self) -> str:
        """The URL of its MCP endpoint."""
        return f"{self.process.url}/mcp"

    def hear(self, server_id: str, endpoint_url: str, database: str) -> None:
        """Send a heartbeat of a server."""
        told = {"server_id": server_id, "endpoint_url": endpoint_url, "database": database}
        beat = messages.slim(**told, capabilities=["sale_order_confirm"])
        httpx.post(
            f"{self.process.url}/heartbeat",
            json=beat,
            headers=bearer(self.agent),
            trust_env=False,
        ).raise_for_status()


@pytest.fixture(scope="session")
def programs() -> Programs:
    return provide(environ=os.environ)


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("receiver")
    url = f"sqlite:///{folder}/fleet.db"
    SqlStore(make_url(url)).close()
    viewer, agent = made(scope="viewer"), made(scope="agent")
    keep(url, viewer[0], agent[0])
    settings = {"FLEET_DATABASE_URL": url, "FLEET_ENDPOINTS": HERE}
    with receiver_process(folder, CAREFUL, **settings) as process:
        yield Guarded(process=process, viewer=viewer[1], agent=agent[1])

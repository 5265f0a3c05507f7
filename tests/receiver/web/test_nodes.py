"""Servers that are nodes of one database are one line of the list, with the nodes inside."""

import httpx
import pytest

from contract.fields import format_moment
from watched import Watched

DATABASE = {"database_uuid": "u-1", "database": "acme", "odoo_stage": "production"}


@pytest.mark.both_databases
def test_nodes_are_shown_inside_the_line_of_their_database(
    receiver: httpx.Client, fleet: Watched
) -> None:
    for number in range(20):
        each = "ab"[number % 2]
        fleet.beat(each, **DATABASE, hostname=f"web-{each}", sequence=number)
        fleet.sweep()
        fleet.clock.advance(60)
    heard = format_moment(fleet.record("b").last_seen)
    nodes = [{"server_id": "b", "hostname": "web-b", "last_seen": heard}]

    (listed,) = receiver.get("/servers").json()["servers"]
    one, node = (receiver.get(f"/servers/{each}").json() for each in "ab")

    assert ("a", 1, nodes) == (listed["server_id"], listed["node_count"], listed["nodes"])
    assert (nodes, []) == (one["nodes"], node["nodes"])
    assert ("a", "up") == (node["node_of"], node["state"])
    assert "and 1 more" in receiver.get("/").text
    assert "Nodes of this database" in receiver.get("/server/a").text
    assert "is a node of a database" in receiver.get("/server/b").text

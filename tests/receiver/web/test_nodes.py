"""Servers that are nodes of one database are one line of the list, with the nodes inside."""

import re

import httpx
import pytest

from contract.fields import format_moment
from odoos import DATABASE
from watched import Watched


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


def test_list_shows_five_nodes_and_leads_to_the_others(
    receiver: httpx.Client, fleet: Watched
) -> None:
    for number in range(64):
        host = f"web-{number % 8}"
        fleet.beat(host, **DATABASE, hostname=host, sequence=number)
        fleet.sweep()
        fleet.clock.advance(60)

    page = receiver.get("/").text

    assert "and 7 more" in page
    assert 5 == len(re.findall(r"<li><a [^>]+><bdi>web-", page))
    assert '<a href="server/web-0#nodes">all nodes</a>' in page
    assert 8 == len(re.findall(r"<li><a [^>]+><bdi>web-", receiver.get("/server/web-0").text))

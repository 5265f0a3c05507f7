"""`odoo-mcp-fleet events`, by the database and over HTTP."""

import json

import pytest

from commanding import Command
from receiver.commands import events
from receiver.domain.errors import StoreUnavailable
from receiver.store import SqlStore
from two_ways import Ways
from watched import Watched


def test_events_command_prints_the_newest_event_last(ways: Ways) -> None:
    table = ways.agree("events")
    objects = [json.loads(line) for line in ways.agree("events", "--json", "--kind", "down")]

    assert "2026-01-31 12:00:00  beta_web-1 joined the fleet" == table[0]
    assert table[-1].startswith("2026-01-31 12:05:00  evil\\u202e_web-1 ")
    assert ["down"] == [each["kind"] for each in objects]
    assert 1 == len(ways.agree("events", "--limit", "1"))
    assert ["late", "down"] == [
        json.loads(line)["kind"]
        for line in ways.agree("events", "--server", "beta_web-1", "--since", "5m", "--json")
        if json.loads(line)["kind"] != "registered"
    ]
    assert [] == ways.agree("events", "--since", "2027-01-31T12:00:00Z")
    assert "Nothing happened." == ways.http("events", "--kind", "twin").explained


def test_events_command_prints_the_events_of_several_pages(
    ways: Ways, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("receiver.commands.backends.over_http._PAGE", 2)

    assert 3 == len(ways.agree("events", "--limit", "3"))


def test_events_command_prints_all_events_since_a_time(
    three_servers: Watched, database_url: str
) -> None:
    three_servers.beat(*(f"many-{n:02}" for n in range(25)))
    command = Command({"FLEET_DATABASE_URL": database_url}, three_servers.clock)

    since, cut = command("events", "--since", "1m"), command("events", "--since=1m", "--limit=9")

    assert 20 == len(command("events").said)
    assert (28, "") == (len(since.said), since.explained)
    assert (9, "These are the newest 9; there may be more since then.") == (
        len(cut.said),
        cut.explained,
    )


def test_event_kind_of_a_newer_receiver_is_printed_by_its_name() -> None:
    event = {"id": 1, "kind": "sang", "at": "2026-01-31T12:00:00Z", "server_id": None}

    assert "2026-01-31 12:00:00  fleet: sang" == events._line({**event, "details": {}})  # noqa: SLF001


def test_events_of_a_database_are_followed(
    store: SqlStore, three_servers: Watched, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until Ctrl-C; a database that does not answer for a while is told of once."""
    steps = iter(["new", "away", "away", "new", "end"])
    after = type(store.events).after

    def go_on(_: float) -> None:
        step = next(steps)
        if step == "end":
            raise KeyboardInterrupt
        if step == "new":
            three_servers.beat(f"new-{three_servers.counts['registered']}")

        def answer(*arguments: object, **options: object) -> object:
            if step == "away":
                raise StoreUnavailable("the database is away")
            return after(*arguments, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(type(store.events), "after", answer)

    command = Command({"FLEET_DATABASE_URL": database_url}, three_servers.clock, sleep=go_on)
    status, said, explained = command("events", "--follow", "--limit", "1")
    steps = iter(["end"])
    quiet = command("events", "--follow", "--kind", "twin")

    assert 130 == status
    assert ["new-3", "new-4"] == [line.split()[2] for line in said[1:]]
    assert "the database is away; trying again" == explained
    assert (130, []) == quiet[:2]

"""`python -m receiver servers`, on a database that a receiver may be using."""

import json
from collections.abc import Callable

import pytest
from sqlalchemy import make_url

from commanding import Command, Said
from contract import Heartbeat
from keyring import keep, made
from outages import away
from receiver.commands.backends import database
from receiver.domain.outcomes import Incoming
from receiver.store import Servers, SqlStore
from servers import Clock
from watched import Watched

pytestmark = pytest.mark.both_databases

DATABASE = {"database_uuid": "u-1", "database": "acme"}


@pytest.fixture
def command(database_url: str, fleet: Watched) -> Callable[..., Said]:
    older = Command({"FLEET_DATABASE_URL": database_url}, fleet.clock, is_older=True)

    def run(*arguments: str, do: str = "forget") -> Said:
        return older("servers", do, *arguments)

    return run


def down(fleet: Watched, *ids: str) -> None:
    fleet.beat(*ids)
    fleet.go_on(300)


def test_servers_that_match_are_forgotten_and_printed(
    fleet: Watched, command: Callable[..., Said]
) -> None:
    down(fleet, "a", "b")
    fleet.beat("bye", status="uninstalled")
    fleet.beat("up")

    assert (0, ["a"], "1 server is forgotten.") == command(
        "--state", "down", "--state", "superseded", "--q", "A"
    )
    assert (0, ["bye"], "1 server is forgotten.") == command("--state", "left")
    assert (0, [], "0 servers are forgotten.") == command("--stage", "dev")
    assert ["b", "up"] == fleet.ids()


def test_servers_that_are_forgotten_when_the_database_goes_away_are_printed(
    fleet: Watched, command: Callable[..., Said]
) -> None:
    down(fleet, "a", "b")
    fleet.beat("bye", status="uninstalled")
    which = ("--state", "down", "--state", "left")

    with away(Servers, "forget", after=1):
        broken_off = command(*which)
    with away(Servers, "forget"):
        nothing = command(*which)
    rest = command(*which)

    assert (3, ["bye"]) == (broken_off.status, broken_off.said)
    assert "1 server is forgotten.\nIt ended there, and others may be left:\n" in (
        broken_off.explained
    )
    assert broken_off.explained.endswith("the database is away")
    assert (3, []) == (nothing.status, nothing.said)
    assert (0, ["a", "b"]) == (rest.status, rest.said)


def test_filter_may_name_thousands_of_values(fleet: Watched, command: Callable[..., Said]) -> None:
    fleet.beat("a", capabilities=("x",))
    down(fleet, "b")
    many = [word for n in range(2000) for word in ("--capability", f"tool_{n}")]
    words = [word for n in range(101) for word in ("--q", f"word_{n}")]

    assert (0, ["a"], "1 server would be forgotten.") == command(
        *many, "--capability", "x", "--dry-run"
    )
    assert (2, [], "--q may be given 100 times at most") == command(*words, "--dry-run")


def test_dry_run_prints_each_server_once_and_forgets_none(
    fleet: Watched, command: Callable[..., Said]
) -> None:
    for each in ("first", "second"):
        fleet.beat(each, **DATABASE)
        fleet.go_on(300)
    down(fleet, "a")

    found = command("--database", "acme", "--dry-run")

    assert (0, ["first", "second"], "2 servers would be forgotten.") == found
    assert ["a", "second"] == fleet.ids()


def test_more_servers_than_a_step_has_are_forgotten(
    fleet: Watched, command: Callable[..., Said]
) -> None:
    ids = [f"s{n:03}" for n in range(450)]
    down(fleet, *ids)

    assert (0, ids, "450 servers are forgotten.") == command("--state", "down")


def test_silence_is_measured_by_the_clock_of_the_database(
    sqlite_url: str, postgresql_url: str, clock: Clock
) -> None:
    """A machine whose clock is wrong forgets nobody who was heard lately."""
    found = []
    for url in (sqlite_url, postgresql_url):
        store = SqlStore(make_url(url))
        fleet = Watched(store)
        fleet.clock.now = store.watch.database_time() or clock.now
        fleet.heard_since = fleet.now
        down(fleet, "a")
        fleet.clock.advance(31 * 86_400)
        older = Command({"FLEET_DATABASE_URL": url}, fleet.clock, is_older=True)
        found.append(older("servers", "forget", "--silent-for-days", "30"))
        store.close()

    assert [
        (0, ["a"], "1 server is forgotten."),
        (0, [], "0 servers are forgotten."),
    ] == found


def test_command_that_does_not_say_which_servers_forgets_none(
    fleet: Watched, command: Callable[..., Said]
) -> None:
    down(fleet, "a")

    for options in ((), ("--dry-run",)):
        status, said, explained = command(*options)
        assert (2, []) == (status, said)
        assert "Say which servers to forget, such as: --state down" in explained
    assert ["a"] == fleet.ids()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--state", "up"), "'up' is not one of 'superseded', 'left', 'down'"),
        (("--state", "down", "--q", ""), "'--q': expected some text"),
        (("--silent-for-days", "0"), "expected a whole number of days from 1 to 36500"),
        (("--silent-for-days", "36501"), "expected a whole number of days from 1 to 36500"),
        (("--silent-for-days", "a week"), "expected a whole number of days from 1 to 36500"),
        (("--database", "\udcff"), "expected text in UTF-8"),
        (("a",), "Got unexpected extra argument (a)"),
    ],
)
def test_invalid_arguments_of_the_servers_command_are_explained(
    options: tuple[str, ...], said: str, command: Callable[..., Said]
) -> None:
    status, _, explained = command(*options)

    assert 2 == status
    assert said in explained


def test_connection_prints_the_file_of_a_client_and_says_where_it_belongs(
    fleet: Watched, command: Callable[..., Said]
) -> None:
    fleet.beat("a", database="acme", endpoint_url="http://127.0.0.1:8069/mcp/v1")
    fleet.beat("b", database="beta", endpoint_url="https://b.example/mcp/v1")
    fleet.beat("c", database="gamma")

    status, (text,), explained = command("--client", "claude-code", "--q", "ACME", do="connection")

    (server,) = json.loads(text)["mcpServers"].items()
    assert 0 == status
    assert ("acme", "http://127.0.0.1:8069/mcp/v1") == (server[0], server[1]["url"])
    assert "belongs in .mcp.json" in explained
    assert "1. Sign in" in explained
    assert "ODOO_KEY_ACME" in text


def test_connection_to_no_server_fails(fleet: Watched, command: Callable[..., Said]) -> None:
    fleet.beat("c", database="gamma")

    status, said, explained = command("--client", "codex", do="connection")

    assert (1, []) == (status, said)
    assert explained.startswith("No server that matches reports an endpoint_url")


def test_connection_says_when_not_all_servers_are_in_the_file(
    fleet: Watched, command: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_MOST_IN_A_FILE", 1)
    fleet.beat("a", database="acme", endpoint_url="https://a.example/mcp/v1")
    fleet.beat("b", database="beta", endpoint_url="https://b.example/mcp/v1")

    status, (text,), explained = command("--client", "cursor", do="connection")

    assert (0, ["acme"]) == (status, [*json.loads(text)["mcpServers"]])
    assert "More servers match; this has the first of them." in explained


def test_connection_leaves_out_what_the_receiver_would_not_hand_on(
    fleet: Watched, command: Callable[..., Said], database_url: str
) -> None:
    """From the first key on loopback addresses, and always the servers of lapsed keys."""
    revoked, agent = made("agent")[0], made("agent")[0]
    keep(database_url, revoked, agent)
    beat = Heartbeat(server_id="gone", endpoint_url="https://gone.example/mcp")
    fleet.store.servers.apply([Incoming(beat, fleet.now, revoked)])
    beat = Heartbeat(server_id="near", endpoint_url="http://127.0.0.1:8069/mcp")
    fleet.store.servers.apply([Incoming(beat, fleet.now, agent)])
    beat = Heartbeat(server_id="good", database="acme", endpoint_url="https://a.example/mcp")
    fleet.store.servers.apply([Incoming(beat, fleet.now, agent)])
    fleet.store.keys.revoke(revoked.id, fleet.now)

    _, (text,), _ = command("--client", "cursor", do="connection")

    (name,) = json.loads(text)["mcpServers"]
    assert f"acme-{agent.id[:5].lower()}" == name.replace("--", "-")

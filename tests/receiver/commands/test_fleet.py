"""`odoo-mcp-fleet status | list | connect | forget`, by the database and over HTTP."""

import json
from datetime import timedelta

import pytest
from sqlalchemy import make_url
from starlette.responses import JSONResponse, PlainTextResponse

from commanding import Command
from receiver.store import SqlStore
from servers import Clock
from two_ways import Ways, answering
from watched import Watched


def test_list_command_prints_the_same_from_the_database_and_over_http(ways: Ways) -> None:
    table = ways.agree("list")
    objects = [json.loads(line) for line in ways.agree("list", "--json", "--sort", "first_seen")]

    assert [
        "STATE  SERVER            STAGE       ODOO  TOOLS  LAST SEEN  NOTES",
        "down   beta_web-1        staging     18.0         5 min ago",
        "up     acme_web-1        production  19.0  2      just now",
        "up     evil\\u202e_web-1                           just now",
    ] == table
    assert ["beta_web-1", "acme_web-1"] == [each["server_id"] for each in objects[:2]]
    assert objects == ways.client.get("/servers?sort=first_seen").json()["servers"]


def test_list_command_filters_sorts_and_limits_the_servers(ways: Ways) -> None:
    assert ["beta_web-1"] == ways.agree("list", "--quiet", "stage:staging", "state:down")
    assert ["beta_web-1"] == ways.agree("list", "-q", "--limit", "1")
    assert ["acme_web-1"] == ways.agree("list", "-q", "tool:list_orders")
    assert ["acme_web-1"] == ways.agree("list", "-q", "-stage:staging,none", "--sort=-server_id")
    assert [] == ways.agree("list", "nobody")
    assert ways.http("list", "nobody").explained == "No server matches."


def test_list_command_reads_several_pages(ways: Ways, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("database", "over_http"):
        monkeypatch.setattr(f"receiver.commands.backends.{module}._PAGE", 2)

    assert 3 == len(ways.agree("list", "-q"))
    assert 3 == len(ways.agree("list", "-q", "--limit", "3"))
    assert 2 == len(ways.agree("list", "-q", "--limit", "2"))


def test_list_command_notes_what_is_special_about_a_server(
    three_servers: Watched, database_url: str
) -> None:
    one = {"database_uuid": "u-1", "database": "gamma"}
    three_servers.beat("first", **one)
    three_servers.go_on(300)
    three_servers.beat("second", **one)
    three_servers.sweep()
    command = Command({"FLEET_DATABASE_URL": database_url}, three_servers.clock)

    _, (_, line), _ = command("list", "state:superseded")

    assert line.startswith("superseded  first")
    assert line.endswith("now second")


def test_invalid_query_of_the_list_command_is_explained(ways: Ways) -> None:
    wrong = {
        "colour:red": "'colour' is no name that a filter knows",
        '"': "A double quote is not closed",
        "\udcff": "expected text in UTF-8",
    }

    for query, says in wrong.items():
        for command in (ways.database, ways.http):
            status, _, explained = command("list", query)
            assert 2 == status
            assert says in explained


def test_status_command_counts_the_servers_of_each_stage(ways: Ways) -> None:
    status, said, _ = ways.http("status")
    as_json = json.loads(ways.http("status", "--json").said[0])

    assert 5 == status
    assert said[0].startswith(f"{ways.client.base_url}".rstrip("/"))
    assert said[0].endswith(" is healthy.")
    assert [
        "STAGE       UP  NEW  LATE  DOWN",
        "(no stage)  1   0    0     0",
        "production  1   0    0     0",
        "staging     0   0    0     1",
        "all         2   0    0     1",
    ] == said[1:]
    assert {"up": 2, "down": 1} == {
        state: count for state, count in as_json["servers"].items() if count
    }
    assert (0, 0) == (as_json["flapping"], as_json["alarms"])


def test_status_command_on_a_database_says_whether_a_receiver_runs(
    store: SqlStore, three_servers: Watched, database_url: str, clock: Clock
) -> None:
    command = Command({"FLEET_DATABASE_URL": database_url}, three_servers.clock)
    never = command("status")
    store.watch.note_presence(three_servers.now, absent=timedelta(seconds=5))
    runs = command("status", "--json")
    three_servers.clock.advance(11)
    gone = command("status")

    assert 5 == never.status
    assert "is not well: No receiver has ever run on this database." in never.said[0]
    assert json.loads(runs.said[0])["healthy"]
    assert "is not well: No receiver has run on this database since" in gone.said[0]


def test_status_command_reports_an_unhealthy_receiver() -> None:
    metrics = (
        'fleet_servers{state="up",stage=""} 3\n'
        "fleet_servers_flapping 1\nfleet_alarms_open 2\n"
        'fleet_build_info{version="9"} 1\n'
    )
    answers = {
        "/health": JSONResponse({"detail": "The database does not answer."}, 503),
        "/metrics": PlainTextResponse(metrics),
    }
    with answering(lambda request: answers[request.url.path]) as url:
        status, said, _ = Command({"FLEET_URL": url}, Clock())("status")

    assert 5 == status
    assert f"{url} (version 9) is not well: The database does not answer." == said[0]
    assert ["all         3   0    0     0", "1 of them are flapping."] == said[-3:-1]
    assert "2 alarms: odoo-mcp-fleet alarms list" == said[-1]


def test_status_command_without_a_key_prints_only_the_health(ways: Ways) -> None:
    del ways.http.environ["FLEET_KEY"]

    status, said, explained = ways.http("status")
    as_json = json.loads(ways.http("status", "--json").said[0])

    ways.http.environ["FLEET_KEY"] = "hush"
    with_wrong_key = ways.http("status")

    assert 4 == with_wrong_key.status
    assert (0, 1) == (status, len(said))
    assert "A key tells more" in explained
    assert (True, None) == (as_json["healthy"], as_json["servers"])


def test_connect_command_prints_the_file_of_a_client(ways: Ways) -> None:
    (text,) = ways.agree("connect", "--client", "claude-code", "database:acme")

    (server,) = json.loads(text)["mcpServers"].values()
    assert "https://acme.example/mcp/v1" == server["url"]
    steps = ways.http("connect", "--client", "claude-code", "database:acme").explained
    assert steps.startswith(
        "This belongs in .mcp.json, in the folder of your project. To make an Odoo API key:\n"
        "1. Sign in"
    )
    for command in (ways.database, ways.http):
        status, said, explained = command("connect", "--client", "codex", "stage:staging")
        assert (1, []) == (status, said)
        assert "No server that matches reports an endpoint_url" in explained


@pytest.mark.parametrize("way", ["database", "http"])
def test_forget_command_asks_before_it_forgets_servers(
    ways: Ways, three_servers: Watched, way: str
) -> None:
    command: Command = getattr(ways, way)
    assert 2 == command("forget", "stage:staging", "--silent-for", "0d").status

    forget = ("forget", "stage:staging")
    dry = command(*forget, "--dry-run")
    nobody_to_ask = command(*forget)
    command.answer = False
    refused = command(*forget)
    kept = three_servers.ids()
    command.answer = True
    done = command(*forget)

    assert (0, ["beta_web-1"], "1 server would be forgotten.") == dry
    assert 2 == nobody_to_ask.status
    assert "say --yes" in nobody_to_ask.explained
    assert (130, [], "beta_web-1") == refused
    assert ["Forget 1 server?"] * 3 == command.asked
    assert "beta_web-1" in kept
    assert (0, ["beta_web-1"], "beta_web-1\n1 server is forgotten.") == done
    assert "beta_web-1" not in three_servers.ids()


@pytest.mark.parametrize("way", ["database", "http"])
def test_forget_command_forgets_any_server_by_its_id(
    ways: Ways, three_servers: Watched, way: str
) -> None:
    command: Command = getattr(ways, way)
    forget = ("forget", "--server", "acme_web-1", "--yes")

    dry = command(*forget, "--dry-run", "--json")
    done, again = command(*forget), command(*forget)
    long_ago = command("forget", "--silent-for", "36500d", "--yes")

    assert (0, ['{"server_id":"acme_web-1"}']) == dry[:2]
    assert (0, ["acme_web-1"], "1 server is forgotten.") == done
    assert (1, [], "There is no server 'acme_web-1'.") == again
    assert (0, [], "0 servers are forgotten.") == long_ago
    assert "acme_web-1" not in three_servers.ids()


@pytest.mark.parametrize("way", ["database", "http"])
def test_forget_command_prints_what_is_forgotten_before_an_id_that_does_not_exist(
    ways: Ways, three_servers: Watched, way: str
) -> None:
    command: Command = getattr(ways, way)
    first, second = (("--server", each) for each in ("acme_web-1", "nope"))

    nothing = command("forget", *second, *first, "--yes")
    halfway = command("forget", *first, *second, "--yes")

    assert (1, [], "There is no server 'nope'.") == nothing
    assert (1, ["acme_web-1"]) == halfway[:2]
    assert [
        "1 server is forgotten.",
        "It ended there, and others may be left:",
        "There is no server 'nope'.",
    ] == halfway.explained.splitlines()
    assert "acme_web-1" not in three_servers.ids()


def test_forget_command_keeps_a_server_named_by_its_id_when_the_answer_is_no(
    ways: Ways, three_servers: Watched
) -> None:
    ways.database.answer = False

    assert 130 == ways.database("forget", "--server", "acme_web-1").status
    assert "acme_web-1" in three_servers.ids()


def test_list_of_a_fleet_without_servers_says_so(new_sqlite_url: str, clock: Clock) -> None:
    SqlStore(make_url(new_sqlite_url)).close()
    command = Command({"FLEET_DATABASE_URL": new_sqlite_url}, clock)

    assert (0, [], "There are no servers yet.") == command("list")
    assert (0, [], "No server matches.") == command("list", "acme")


def test_forget_command_refuses_missing_and_contradictory_arguments(
    three_servers: Watched, database_url: str
) -> None:
    command = Command({"FLEET_DATABASE_URL": database_url}, three_servers.clock)
    wrong = {
        (): "Say which servers to forget",
        ("state:up",): "Servers that are up are not forgotten by a filter",
        ("--server", "a", "state:down"): "--server stands alone",
        ("--server", "a", "--silent-for", "1d"): "--server stands alone",
    }

    for arguments, says in wrong.items():
        status, _, explained = command("forget", *arguments, "--yes")
        assert 2 == status
        assert says in explained


def test_forget_command_names_many_servers_before_it_asks(
    three_servers: Watched, database_url: str
) -> None:
    three_servers.beat(*(f"many-{n:02}" for n in range(25)))
    three_servers.go_on(300)
    command = Command({"FLEET_DATABASE_URL": database_url}, three_servers.clock)
    command.answer = False

    _, _, explained = command("forget", "many-")

    assert explained.splitlines()[-1] == "and 5 others"
    assert ["Forget 25 servers?"] == command.asked

"""`DELETE /servers`: which requests forget which servers, and what is answered."""

from collections.abc import Iterator
from datetime import timedelta

import httpx
import jsonschema
import pytest
from sqlalchemy import make_url

from keyring import bearer, keep, made
from receiver.app import Tuning, create_app
from receiver.domain.errors import OutcomeUnknown, StoreUnavailable
from receiver.domain.forgetting import FORGETTABLE, Forgotten, Stage
from receiver.store import SqlStore
from receiver.web import openapi
from servers import ANY_PAUSE_SECONDS, Clock, Observed, serve
from watched import Watched

DATABASE = {"database_uuid": "u-1", "database": "acme"}


@pytest.fixture
def fleet(database_url: str, clock: Clock) -> Iterator[Watched]:
    """The servers of the database, which the test writes beside the receiver."""
    store = SqlStore(make_url(database_url))
    fleet = Watched(store)
    fleet.clock = clock
    yield fleet
    store.close()


@pytest.fixture
def app(database_url: str, clock: Clock) -> Observed:
    environ = {"FLEET_DATABASE_URL": database_url}
    tuning = Tuning(absence_seconds=ANY_PAUSE_SECONDS)
    return Observed(create_app(environ=environ, clock=clock, tuning=tuning))


@pytest.fixture
def receiver(database_url: str, app: Observed) -> Iterator[httpx.Client]:
    key, token = made("admin", name="root")
    keep(database_url, key)
    with serve(app) as client:
        client.headers.update(bearer(token))
        yield client


def down(fleet: Watched, *ids: str) -> None:
    fleet.beat(*ids)
    fleet.go_on(300)


def forgotten(answer: httpx.Response) -> tuple[str, list[str], bool]:
    """Status, servers and whether there are more of an answer that matches its schema."""
    content = answer.json()
    schema = openapi.FORGOTTEN
    jsonschema.validate(content, schema, cls=jsonschema.Draft202012Validator)
    assert 200 == answer.status_code
    assert len(content["server_ids"]) == content["count"]
    return content["status"], content["server_ids"], content["more"]


def everybody(receiver: httpx.Client) -> list[str]:
    return [
        server["server_id"]
        for query in ("", "?state=left", "?state=superseded")
        for server in receiver.get(f"/servers{query}").json()["servers"]
    ]


@pytest.mark.both_databases
def test_servers_that_match_are_forgotten(receiver: httpx.Client, fleet: Watched) -> None:
    down(fleet, "a", "b")
    fleet.beat("old", **DATABASE)
    fleet.go_on(300)
    fleet.beat("new", **DATABASE)
    fleet.go_on(60, "new")
    fleet.beat("bye", status="uninstalled")

    assert ("forgotten", ["a"], False) == forgotten(receiver.delete("/servers?q=A&state=down"))
    assert ("forgotten", ["old"], False) == forgotten(receiver.delete("/servers?database=acme"))
    bye = receiver.delete("/servers?query=state:left,superseded+-server:old")
    assert ("forgotten", ["bye"], False) == forgotten(bye)
    assert ["b", "new"] == everybody(receiver)
    newest = receiver.get("/events?limit=1").json()["events"][0]
    assert ("deleted", "bye") == (newest["kind"], newest["server_id"])


def test_servers_that_have_been_silent_for_days_are_forgotten(
    receiver: httpx.Client, fleet: Watched
) -> None:
    down(fleet, "old")
    fleet.clock.advance(timedelta(days=30).total_seconds() - 300)
    assert ("forgotten", [], False) == forgotten(receiver.delete("/servers?silent_for_days=30"))
    down(fleet, "young")

    assert ("forgotten", ["old"], False) == forgotten(
        receiver.delete("/servers?silent_for_days=30")
    )
    assert ["young"] == everybody(receiver)


def test_dry_run_forgets_nothing(receiver: httpx.Client, fleet: Watched) -> None:
    down(fleet, "a", "b", "c")
    query = "/servers?state=down&dry_run=true&limit="

    assert ("dry_run", ["a", "b"], True) == forgotten(receiver.delete(f"{query}2"))
    assert ("dry_run", ["a", "b", "c"], False) == forgotten(receiver.delete(f"{query}3"))
    assert ["a", "b", "c"] == everybody(receiver)


def test_dry_run_counts_a_superseded_server_once(receiver: httpx.Client, fleet: Watched) -> None:
    for each in ("first", "second"):
        fleet.beat(each, **DATABASE)
        fleet.go_on(300)

    for limit in (1, 2):
        asked = f"/servers?database=acme&dry_run=true&limit={limit}"
        found = ("dry_run", ["first", "second"][:limit], limit == 1)
        assert found == forgotten(receiver.delete(asked))


def test_forget_call_ends_at_its_limit_and_says_whether_more_match(
    receiver: httpx.Client, fleet: Watched
) -> None:
    ids = [f"s{n:03}" for n in range(450)]
    down(fleet, *ids)

    assert ("forgotten", ids[:420], True) == forgotten(
        receiver.delete("/servers?state=down&limit=420")
    )
    assert ("forgotten", ids[420:], False) == forgotten(
        receiver.delete("/servers?state=down&limit=30")
    )


@pytest.mark.parametrize("query", ["", "?dry_run=true", "?limit=5", "?dry_run=false&limit=5"])
def test_forget_call_without_a_filter_is_refused(
    query: str, receiver: httpx.Client, fleet: Watched
) -> None:
    down(fleet, "a")

    answer = receiver.delete(f"/servers{query}")

    assert (400, "filter_missing") == (answer.status_code, answer.json()["code"])
    assert (
        "Say which servers to forget: by state=down, silent_for_days=30 or another filter of the "
        "list. With dry_run=true nothing is forgotten, and the answer says what would be."
    ) == answer.json()["detail"]
    assert ["a"] == everybody(receiver)


@pytest.mark.parametrize(
    ("query", "path", "message"),
    [
        ("state=up", "state", "servers that are heard are not forgotten"),
        ("state=node", "state", "a node goes with its database; DELETE /servers/{server_id}"),
        ("query=state:down,up", "query", "state: expected one of superseded, left, down"),
        ("state=gone", "state", "expected one of superseded, left, down"),
        ("state=down&q=", "q", "is empty, which finds every server"),
        ("state=down&q=%00", "q", "without a NUL"),
        ("silent_for_days=0", "silent_for_days", "a whole number of days from 1 to 36500"),
        ("silent_for_days=36501", "silent_for_days", "a whole number of days from 1 to 36500"),
        ("silent_for_days=1.5", "silent_for_days", "a whole number of days from 1 to 36500"),
        ("silent_for_days=", "silent_for_days", "a whole number of days from 1 to 36500"),
        ("state=down&dry_run=1", "dry_run", "expected true or false"),
        ("state=down&limit=1001", "limit", "from 1 to 1000"),
        ("state=down&dryrun=true", "dryrun", "is no parameter here; these are: dry_run, limit"),
        ("state=down&id=a", "id", "is no parameter here"),
        ("state=down&sort=last_seen", "sort", "is no parameter here"),
    ],
)
def test_invalid_parameters_of_a_forget_call_are_refused(
    query: str, path: str, message: str, receiver: httpx.Client, fleet: Watched
) -> None:
    down(fleet, "a")

    answer = receiver.delete(f"/servers?{query}")

    assert (400, "invalid_parameter") == (answer.status_code, answer.json()["code"])
    (error,) = answer.json()["errors"]
    assert path == error["path"]
    assert message in error["message"]
    assert ["a"] == everybody(receiver)


def test_states_of_the_description_are_those_that_can_be_forgotten() -> None:
    described = {each["name"]: each["schema"] for each in openapi.WHICH_TO_FORGET}

    assert [*FORGETTABLE] == described["state"]["items"]["enum"]


# Errors on the way, and the audit log


@pytest.mark.parametrize(
    ("error", "steps", "answered"),
    [
        (StoreUnavailable("away"), 0, (503, [])),
        (StoreUnavailable("away"), 2, (200, ["forgot 2 servers that match"])),
        (OutcomeUnknown("away"), 0, (503, ["forgot 0 servers, and perhaps more, that match"])),
        (OutcomeUnknown("away"), 2, (503, ["forgot 2 servers, and perhaps more, that match"])),
    ],
)
def test_forget_call_interrupted_by_the_database_says_what_was_forgotten(
    error: Exception,
    steps: int,
    answered: tuple[int, list[str]],
    receiver: httpx.Client,
    *,
    app: Observed,
    audit: list[str],
) -> None:
    waiting = [Forgotten([f"s{n}"], Stage("down")) for n in range(steps)]

    def forget(*_: object, **__: object) -> Forgotten:
        if not waiting:
            raise error
        return waiting.pop(0)

    app.services.store.servers.forget = forget  # type: ignore[method-assign]  # simulates an outage
    answer = receiver.delete("/servers?state=down")

    noted = [line.partition("('root') ")[2].partition(" 'state=down'")[0] for line in audit]
    assert answered == (answer.status_code, noted)
    if answer.status_code == 200:
        assert ("forgotten", ["s0", "s1"], True) == forgotten(answer)


def test_dry_run_leaves_no_line_in_the_audit_log(receiver: httpx.Client, audit: list[str]) -> None:
    for query in ("state=down&dry_run=true", "state=down"):
        receiver.delete(f"/servers?{query}").raise_for_status()

    (line,) = audit
    assert line.endswith("('root') forgot 0 servers that match 'state=down', from 127.0.0.1")

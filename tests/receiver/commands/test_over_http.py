"""The backend over HTTP: what it makes of answers, and following events."""

import itertools
import socket
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response

from commanding import Command, Said
from contract import EventKind
from receiver.commands.backends.over_http import HttpBackend
from receiver.commands.context import NotAllowed, Surroundings
from receiver.domain.queries import EventFilter
from servers import Clock
from sinks import closed_port
from two_ways import Ways, answering

DENIED = {"status": 401, "code": "key_wrong", "detail": "This key is \x1b[31mwrong."}


ANSWERS = {
    "/fleet/redirect": RedirectResponse("https://elsewhere.example"),
    "/fleet/denied": JSONResponse(DENIED, 401),
    "/fleet/page": PlainTextResponse("hello"),
    "/fleet/list": JSONResponse([]),
    "/fleet/broken": PlainTextResponse("oh", 500),
    "/fleet/away": JSONResponse({"detail": "The database does not answer."}, 503),
    "/fleet/full": JSONResponse({"detail": "There are too many."}, 409),
    "/fleet/wrong": JSONResponse({"detail": "This is no filter."}, 400),
}


def test_unsuccessful_answers_of_a_receiver_are_explained() -> None:
    with answering(lambda request: ANSWERS[request.url.path.removesuffix("/servers")]) as url:
        said = {path: Command({"FLEET_URL": f"{url}{path}"}, Clock())("list") for path in ANSWERS}
        said["/fleet/denied with a key"] = Command(
            {"FLEET_URL": f"{url}/fleet/denied", "FLEET_KEY": "k"}, Clock()
        )("list")

    expected = {
        "/fleet/redirect": (1, "answers with a redirect. Is the URL right?"),
        "/fleet/denied": (4, "wrong. Put a key into FLEET_KEY, or its file in --key-file."),
        "/fleet/page": (1, "answers as no receiver does. Is the URL right?"),
        "/fleet/list": (1, "answers as no receiver does. Is the URL right?"),
        "/fleet/broken": (3, "/fleet/broken/servers answers 500."),
        "/fleet/away": (3, "The database does not answer."),
        "/fleet/full": (1, "There are too many."),
        "/fleet/wrong": (2, "This is no filter."),
        "/fleet/denied with a key": (4, "This key is \\x1b[31mwrong."),
    }
    assert expected.keys() == said.keys()
    for path, (status, sentence) in expected.items():
        assert status == said[path].status, path
        assert said[path].explained.endswith(sentence), path


def test_command_reports_an_unreachable_receiver() -> None:
    command = Command({"FLEET_URL": f"http://127.0.0.1:{closed_port()}"}, Clock())

    for arguments in (("list",), ("status",)):
        status, _, explained = command(*arguments)
        assert 3 == status
        assert "cannot be reached: " in explained


def test_command_reports_a_receiver_that_answers_too_slowly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("receiver.commands.backends.over_http._ANSWER_SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        said = Command({"FLEET_URL": url}, Clock())("list")

    assert (3, [], f"{url} has not answered in time.") == said


@pytest.mark.parametrize(
    ("options", "environ", "says"),
    [
        ((), {"FLEET_URL": "fleet.example.com"}, "must be such as https://fleet.example.com"),
        ((), {"FLEET_URL": "http://me:hush@host"}, "must be such as https://fleet.example.com"),
        (("--url", "http://[::1"), {}, "must be such as https://fleet.example.com"),
        (("--ca", "/nothing"), {}, "There are no certificates in PEM in '/nothing'"),
        (("--key-file", "/nothing"), {}, "cannot be read from '/nothing': No such file"),
        ((), {"FLEET_KEY": "hush hush"}, "visible ASCII characters only"),
    ],
)
def test_invalid_options_are_explained_without_showing_secrets(
    options: tuple[str, ...], environ: dict[str, str], says: str
) -> None:
    status, _, explained = Command({"FLEET_URL": "http://127.0.0.1:1", **environ}, Clock())(
        "list", *options
    )

    assert 2 == status
    assert says in explained
    assert "hush" not in explained


def test_key_is_read_from_a_file_and_exposure_is_warned_of(tmp_path: Any) -> None:
    (tmp_path / "key").write_text("hush\n")
    (tmp_path / "picture").write_bytes(b"\xff")
    command = Command({}, Clock())
    url = ("--url", "http://fleet.invalid")

    exposed = command("list", *url, "--key-file", str(tmp_path / "key"))
    unread = command("list", *url, "--key-file", str(tmp_path / "picture"))
    nothing = Command({"FLEET_KEY": ""}, Clock())("list", *url)

    assert "goes to http://fleet.invalid over plain http" in exposed.explained
    assert (2, True) == (unread.status, "it holds no key" in unread.explained)
    assert "plain http" not in nothing.explained


@pytest.mark.parametrize("url", ["http://localhost:1", "http://a.localhost:1", "http://[::1]:1"])
def test_key_sent_over_loopback_causes_no_warning(url: str) -> None:
    command = Command({"FLEET_URL": url, "FLEET_KEY": "hush"}, Clock())

    assert "plain http" not in command("list").explained


def test_local_option_opens_the_database_although_a_url_is_set(ways: Ways) -> None:
    environ = {**ways.http.environ, **ways.database.environ, "FLEET_URL": "http://127.0.0.1:1"}
    command = Command(environ, Clock())

    assert 3 == command("list").status
    assert 0 == command("list", "--local").status


def test_missing_database_is_reported_with_what_to_do(tmp_path: Any) -> None:
    environ = {"FLEET_DATABASE_URL": f"sqlite:///{tmp_path}/fleet.db"}

    status, _, explained = Command(environ, Clock())("list")

    assert 2 == status
    assert "name the receiver with --url" in explained


def test_events_are_followed_over_http(ways: Ways) -> None:
    backend = HttpBackend(
        ways.http.environ["FLEET_URL"],
        key=ways.http.environ["FLEET_KEY"],
        authorities=None,
        surroundings=Surroundings(),
    )
    wanted = EventFilter(kinds=frozenset({EventKind.REGISTERED}), server_id="acme\u2028_web-1")
    after = backend.events(EventFilter(), limit=1)[0]["id"]
    with_names = backend.follow(wanted, after=after)
    ways.client.post("/heartbeat", json={"server_id": "acme\u2028_web-1"}).raise_for_status()

    event = next(with_names)

    backend.close()
    assert ("registered", "acme\u2028_web-1") == (event["kind"], event["server_id"])


def test_ended_event_stream_is_resumed_after_the_last_event() -> None:
    heard: list[str | None] = []
    event = b'id: %d\nevent: late\ndata: {"id": %d}\n\n'
    bodies = [
        b"id: 7\nretry: 2000\n\n" + event % (8, 8),
        None,
        b": ping\n\nid: x\n\n" + event % (9, 9),
        JSONResponse(DENIED, 401),
    ]

    def answer(request: Request) -> Response:
        heard.append(request.headers.get("last-event-id"))
        body = bodies[len(heard) - 1]
        if isinstance(body, Response):
            return body
        if body is None:
            return JSONResponse({"detail": "The database does not answer."}, 503)
        return Response(body, media_type="text/event-stream")

    explained: list[str] = []
    slept: list[float] = []
    surroundings = Surroundings(explain=explained.append, sleep=slept.append)
    with answering(answer) as url:
        backend = HttpBackend(url, key=None, authorities=None, surroundings=surroundings)
        followed = backend.follow(EventFilter(), after=None)
        found = [*itertools.islice(followed, 2)]
        with pytest.raises(NotAllowed):
            next(followed)
        backend.close()

    assert [{"id": 8}, {"id": 9}] == found
    assert [None, "8", "8", "9"] == heard
    assert [1, 2, 1] == slept
    assert explained[0].endswith("has ended the stream of events. Trying again in 1 s.")
    assert "The database does not answer. Trying again in 2 s." == explained[1]


def test_dry_run_says_when_more_servers_match_than_a_receiver_lists(ways: Ways) -> None:
    """It names a thousand at most; what is forgotten is forgotten in as many calls as it takes."""
    pages = iter([{"server_ids": ["a"], "more": True}, {"server_ids": ["b"], "more": False}])

    def answer(request: Request) -> Response:
        if "dry_run" in request.query_params:
            return JSONResponse({"server_ids": ["a"], "more": True})
        assert {"limit": "1000", "query": "state:down", "silent_for_days": "30"} == dict(
            request.query_params
        )
        return JSONResponse(next(pages))

    with answering(answer) as url:
        command = Command({"FLEET_URL": url}, Clock())
        dry = command("forget", "state:down", "--dry-run")
        done = command("forget", "state:down", "--silent-for", "30d", "--yes")

    assert (0, ["a"], "1 and more servers would be forgotten.") == dry
    assert (0, ["a", "b"], "2 servers are forgotten.") == done


def test_what_was_done_over_http_before_the_receiver_failed_is_printed() -> None:
    failed = JSONResponse({"detail": "The database does not answer."}, 503)
    forgotten = JSONResponse({"server_ids": ["a"], "more": True})

    def run(*arguments: str) -> Said:
        answers = iter([forgotten, failed])
        with answering(lambda _: next(answers)) as url:
            return Command({"FLEET_URL": url}, Clock())(*arguments)

    two = ("--server", "a", "--server", "b")
    by_filter = run("forget", "state:down", "--yes")
    by_id = run("forget", *two, "--yes")
    handed_over = run("keys", "hand-over", *two, "--to", "abcdefghijkl")

    for said in (by_filter, by_id, handed_over):
        assert (3, ["a"]) == (said.status, said.said)
        assert said.explained.endswith("The database does not answer.")
    assert by_filter == by_id
    assert by_id.explained.startswith("1 server is forgotten.\nIt ended there, and others may be")
    assert handed_over.explained.startswith("1 of 2 servers belong to the key abcdefghijkl now")


def test_receiver_on_this_machine_is_reached_without_a_proxy(
    ways: Ways, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{closed_port()}")
    url = ways.http.environ.pop("FLEET_URL")

    assert 0 == ways.http("list", "--url", url).status

"""Path traversal and odd names: only its exact `server_id` reaches a server."""

from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

import messages
import strategies
from attacks.law import Target, searched

NAMES = [
    *(".", "..", "...", "../register", "../../etc/passwd", "..\\register", "/", "//", "/.", "./.."),
    *("%", "%2e%2e", "%2f", "%00", "%25", "%252e", "%ff", "a%", "a+b", "a b", " ", "a ", " a"),
    *(
        "events",
        "a/events",
        "/events",
        "a/events/events",
        "owner",
        "a/owner",
        "a/events/owner",
        "a/delete",
    ),
    *("stream", "servers", "a/", "/a", "a//b", "a", "A", "a;b=c", "a?b=c", "a#b", "a&b", "a\\b"),
    *("?", "#", "\\", "'", '"', "<script>", "{{7*7}}", "{server_id}", "*", "\u202ea", "\ufffd"),
    # Different Unicode spellings of texts that look alike.
    *("caf\u00e9", "cafe\u0301", "\uff0e\uff0e", "\u212a", "K", "\u00df", "ss", "\u2024\u2024"),
    *("fi", "\ufb01", "stra\u00dfe", "STRASSE", "\u0130", "i\u0307", "\U0001f40d" * 255, "\u2215"),
]


def quoted(name: str) -> str:
    """The name with every byte percent-encoded."""
    return "".join(f"%{byte:02x}" for byte in name.encode())


@pytest.fixture(scope="module")
def named(running: Target) -> Target:
    """The receiver with a server of each name, whose hostname is the index of the name."""
    for number, name in enumerate(NAMES):
        beat = messages.slim(server_id=name, hostname=str(number))
        assert 200 == running.post("/heartbeat", beat).status
    return running


def listed(target: Target) -> set[str]:
    return {*target.servers()}


def test_similar_names_are_different_servers(named: Target, target: Target) -> None:
    assert {*NAMES} <= listed(target)


def test_server_is_found_only_by_its_exact_name(named: Target, target: Target) -> None:
    for number, name in enumerate(NAMES):
        got = target.ask("GET", f"/servers/{quoted(name)}")
        events = target.ask("GET", f"/servers/{quoted(name)}/events")
        page = target.ask("GET", f"/server/{quoted(name)}")

        assert (200, name) == (got.status, got.json()["server_id"])
        assert str(number) == got.json()["hostname"]
        assert {name} == {each["server_id"] for each in events.json()["events"]}
        assert 200 == page.status


def test_delete_removes_only_the_named_server(named: Target, target: Target) -> None:
    for number, name in enumerate(NAMES):
        before = listed(target)

        answer = target.ask("DELETE", f"/servers/{quoted(name)}")

        assert (200, name) == (answer.status, answer.json()["server_id"])
        assert before - {name} == listed(target)
        beat = messages.slim(server_id=name, hostname=str(number))
        assert 200 == target.post("/heartbeat", beat).status


PREFIXES = ["/servers/", "/server/", "/keys/", "/static/", "/", "//"]
pieces = st.sampled_from(
    [
        *("..", ".", "/", "//", "\\", "%2e", "%2E", "%2f", "%5c", "%00", "%ff", "%c0%ae", "%c0%af"),
        *("%252e", "%252f", "%25", "%", "%u002e", "%e0%80%ae", "%0a", "%0d%0a", "~", ";", "a"),
        *("events", "owner", "stream", "register", "heartbeat", "servers", "app.py", "receiver"),
        *("static", "fleet.css", "etc", "passwd", "%ed%a0%80", "%f0%9f%90%8d", "*", ":", "@"),
    ]
)


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT", "POST"])
@pytest.mark.parametrize("prefix", PREFIXES)
@given(path=st.lists(pieces, max_size=8).map("".join))
@searched(12)
def test_random_path_is_answered_or_refused(
    target: Target, prefix: str, method: str, path: str
) -> None:
    before = listed(target)

    answer = target.ask(method, f"{prefix}{path}", None if method == "GET" else b"{}")

    if method != "GET" and answer.status < 400:
        # The path names a server of an earlier test.
        name = answer.json()["server_id"]
        assert ("DELETE", before - {name}) == (method, listed(target))
        assert name in (unquote(path), unquote(path).removeprefix("servers/"))
        target.post("/heartbeat", messages.slim(server_id=name))


@given(name=strategies.server_ids())
@searched(40)
def test_server_of_any_valid_name_is_reachable(target: Target, name: str) -> None:
    made = target.post("/heartbeat", messages.slim(server_id=name, hostname="any"))
    got = target.ask("GET", f"/servers/{quoted(name)}")
    page = target.ask("GET", f"/server/{quoted(name)}")
    gone = target.ask("DELETE", f"/servers/{quoted(name)}")

    assert [200] * 4 == [each.status for each in (made, got, page, gone)]
    assert name == got.json()["server_id"]
    assert name not in listed(target)


@pytest.mark.parametrize("path", ["/servers/", "/server/", "/keys/"])
def test_very_long_name_is_not_found(target: Target, path: str) -> None:
    for name in ("a" * 60_000, "%00" * 20_000, "../" * 20_000, "%2e%2e%2f" * 6000, "/" * 60_000):
        for method in ("GET", "DELETE"):
            assert target.ask(method, path + name).status in (403, 404, 405)


def test_name_of_invalid_utf_8_is_not_found(target: Target) -> None:
    name = "\ufffd"
    target.post("/heartbeat", messages.slim(server_id=name))

    for path in ("%ff", "%c0%80", "%ed%a0%80", "%f0%9f%90"):
        for method in ("GET", "DELETE"):
            assert target.ask(method, f"/servers/{path}").status in (400, 404)
    assert name in listed(target)


SOURCES = [
    *("..%2fapp.py", "..%2f..%2freceiver%2fapp.py", "%2e%2e/app.py", "../app.py", "..\\app.py"),
    *("..%5capp.py", "%2e%2e%2fapp.py", ".%2e/app.py", "%252e%252e/app.py", "%c0%ae%c0%ae/app.py"),
    *("fleet.css/../../app.py", "fleet.css%2f..%2f..%2fapp.py", "..%00/app.py", "../app.py%00.css"),
    *("..%2f" * 9 + "etc%2fpasswd", "../" * 9 + "etc/passwd", "%2fetc%2fpasswd", "/etc/passwd"),
    *("file:///etc/passwd", "", ".", "..", "%00", "~root/.bashrc", "fleet.css%00"),
    *("./../app.py", "....//app.py", "..;/app.py"),
]


@pytest.mark.parametrize("mount", ["/static/", "/static%2f", "//static/", "/static/./"])
def test_only_static_files_of_the_pages_are_served(target: Target, mount: str) -> None:
    for path in SOURCES:
        answer = target.ask("GET", mount + path)

        assert answer.status in (400, 401, 403, 404)
        assert b"import" not in answer.body
        assert b"root:" not in answer.body

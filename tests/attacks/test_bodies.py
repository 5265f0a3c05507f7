"""Every body is accepted or refused with a problem document, and a refusal changes nothing."""

import gzip
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import messages
import strategies
from attacks.law import Target, searched
from contract import Heartbeat, Registration
from receiver.service.decoding import MAX_BATCH_BYTES, MAX_MESSAGE_BYTES, MAX_REGISTRATION_BYTES

ONE = ("/heartbeat", "/register")
POSTS = (*ONE, "/heartbeats")
CALLS = [
    *(("POST", path) for path in (*POSTS, "/keys", "/keys/none/rotate")),
    ("PUT", "/servers/canary/owner"),
]
EVERY_POST = pytest.mark.parametrize("path", POSTS)
EVERY_CALL = pytest.mark.parametrize(("method", "path"), CALLS, ids=[path for _, path in CALLS])

media_types = st.sampled_from(
    [
        b"application/json",
        b"application/json; charset=utf-16",
        b"application/json;",
        b"application/x-www-form-urlencoded",
        b"multipart/form-data; boundary=x",
        b"text/plain",
        b"application/problem+json",
        b"",
        b"\xff\xfe",
        b"application/json, text/plain",
    ]
)
right = st.sampled_from(
    [
        messages.heartbeat(server_id="mutant"),
        messages.registration(server_id="mutant"),
        [messages.slim(server_id="mutant"), messages.slim(server_id="mutant-2")],
        {"name": "mutant", "scope": "agent"},
        {"key_id": None},
    ]
).map(lambda message: json.dumps(message).encode())


def as_posted(path: str, message: bytes) -> bytes:
    """The body for a path: the message, or a batch that holds it."""
    return b"[%b]" % message if path == "/heartbeats" else message


def outcome_of(target: Target, path: str, message: bytes) -> tuple[int, str | None]:
    """Post a message; returns its status, in a batch that of its result, and its error code."""
    answer = target.ask("POST", path, as_posted(path, message))
    said = answer.json()
    if path == "/heartbeats" and answer.status == 200:
        (said,) = said["results"]
        return (200, None) if said["status"] == "ok" else (422, said["code"])
    return answer.status, said.get("code")


@EVERY_CALL
@given(body=st.binary(max_size=300), media_type=media_types)
@searched(15)
def test_random_bytes_are_refused(
    target: Target, method: str, path: str, body: bytes, media_type: bytes
) -> None:
    answer = target.ask(method, path, body, {"Content-Type": media_type})

    assert answer.status >= 400


forms = st.lists(
    st.builds(
        b"%b=%b".__mod__,
        st.tuples(
            st.sampled_from([b"key", b"form", b"next", b"%00", b"%ff", b"", b"key[]"]),
            st.sampled_from([b"", b"%00", b"%ff", b"fleetkey_a_b", b"//elsewhere", b"%0d%0aX:a"])
            | st.binary(max_size=20),
        ),
    ),
    max_size=5,
).map(b"&".join)


@pytest.mark.parametrize("path", ["/sign-in", "/sign-out"])
@given(body=forms | st.binary(max_size=200), media_type=media_types)
@searched(30)
def test_random_form_redirects_to_no_other_site(
    target: Target, path: str, body: bytes, media_type: bytes
) -> None:
    form = media_type if body.startswith(b"\xff") else b"application/x-www-form-urlencoded"

    answer = target.ask(
        "POST", path, body, {"Content-Type": form, "Cookie": b"fleet_session=" + form}
    )

    assert answer.status >= 400 or "elsewhere" not in answer.headers.get("location", "")


@EVERY_CALL
@given(value=strategies.wire_values())
@searched(15)
def test_random_json_is_accepted_or_refused(
    target: Target, method: str, path: str, value: object
) -> None:
    target.ask(method, path, json.dumps(value).encode())


@EVERY_CALL
@given(data=st.data())
@searched(30)
def test_message_with_a_changed_byte_is_accepted_or_refused(
    target: Target, method: str, path: str, data: st.DataObject
) -> None:
    body = bytearray(data.draw(right))
    at = data.draw(st.integers(0, len(body) - 1))
    body[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))

    target.ask(method, path, bytes(body))


@EVERY_POST
@given(data=st.data())
@searched(30)
def test_almost_valid_message_is_accepted_or_refused(
    target: Target, path: str, data: st.DataObject
) -> None:
    kind = Registration if path == "/register" else Heartbeat

    target.ask("POST", path, as_posted(path, data.draw(strategies.bodies(kind))))


def beat(**changed: Any) -> bytes:
    return json.dumps(messages.slim(server_id="odd", **changed)).encode()


def beat_at(time: str) -> bytes:
    return beat(timestamp=time, started_at=time)


def raw_beat(more: bytes) -> bytes:
    """A heartbeat with a raw member that `json.dumps` cannot write."""
    return b'{"server_id": "odd", %b}' % more


TAKEN = (200, None)
NO_JSON = (400, "malformed_json")
NO_MESSAGE = (422, "invalid_message")
ODD: dict[str, tuple[bytes, tuple[int, str | None]]] = {
    "NaN": (raw_beat(b'"heartbeat_interval_seconds": NaN'), NO_JSON),
    "Infinity": (raw_beat(b'"heartbeat_interval_seconds": Infinity'), NO_JSON),
    "-Infinity": (raw_beat(b'"heartbeat_interval_seconds": -Infinity'), NO_JSON),
    "1e400 seconds": (raw_beat(b'"heartbeat_interval_seconds": 1e400'), NO_JSON),
    "1E+2 seconds": (raw_beat(b'"heartbeat_interval_seconds": 1E+2'), TAKEN),
    "-0 seconds": (raw_beat(b'"heartbeat_interval_seconds": -0'), NO_MESSAGE),
    "01 seconds": (raw_beat(b'"heartbeat_interval_seconds": 01'), NO_JSON),
    "0x1 seconds": (raw_beat(b'"heartbeat_interval_seconds": 0x1'), NO_JSON),
    "port 8768.0": (raw_beat(b'"port": 8768.0'), TAKEN),
    "port 8.768E3": (raw_beat(b'"port": 8.768E3'), TAKEN),
    "port -0": (raw_beat(b'"port": -0'), NO_MESSAGE),
    "a port of 5,000 digits": (raw_beat(b'"port": 1' + b"0" * 5000), NO_JSON),
    "a port of 60,000 digits": (raw_beat(b'"port": 1' + b"0" * 60_000), NO_JSON),
    "a fraction of 60,000 digits": (
        raw_beat(b'"heartbeat_interval_seconds": 1.' + b"1" * 60_000),
        TAKEN,
    ),
    "an exponent of 60,000 digits": (
        raw_beat(b'"heartbeat_interval_seconds": 1e-' + b"1" * 60_000),
        NO_MESSAGE,
    ),
    "half a surrogate pair": (raw_beat(rb'"hostname": "\ud800"'), NO_JSON),
    "the pair the wrong way round": (raw_beat(rb'"hostname": "\udc00\ud800"'), NO_JSON),
    "a surrogate in UTF-8": (raw_beat(b'"hostname": "\xed\xa0\x80"'), NO_JSON),
    "a NUL in UTF-8 of two bytes": (raw_beat(b'"hostname": "\xc0\x80"'), NO_JSON),
    "a slash in UTF-8 of two bytes": (raw_beat(b'"hostname": "\xc0\xaf"'), NO_JSON),
    "a code point beyond the last": (raw_beat(b'"hostname": "\xf4\x90\x80\x80"'), NO_JSON),
    "broken UTF-8 where nobody looks": (raw_beat(b'"nobody": "\xff"'), NO_JSON),
    "a NUL as an escape": (raw_beat(rb'"hostname": "\u0000"'), NO_MESSAGE),
    "a NUL as it is": (raw_beat(b'"hostname": "\x00"'), NO_JSON),
    "a NUL after the end": (beat() + b"\0", NO_JSON),
    "a line break in a text": (raw_beat(b'"hostname": "a\nb"'), NO_JSON),
    "a comment": (beat() + b"// odd", NO_JSON),
    "a trailing comma": (raw_beat(b""), NO_JSON),
    "single quotes": (b"{'server_id': 'odd'}", NO_JSON),
    "two values": (beat() + b"{}", NO_JSON),
    "a byte order mark": (b"\xef\xbb\xbf" + beat(), NO_JSON),
    "UTF-16": (beat().decode().encode("utf-16"), NO_JSON),
    "UTF-16 without a mark": (beat().decode().encode("utf-16-le"), NO_JSON),
    "UTF-32": (beat().decode().encode("utf-32-be"), NO_JSON),
    "compressed": (gzip.compress(beat()), NO_JSON),
    "a nest of lists": (b"[" * 60_000, NO_JSON),
    "a nest of objects": (b'{"a":' * 12_000, NO_JSON),
    "a nest where nobody looks": (raw_beat(b'"a": ' + b"[" * 20_000 + b"]" * 20_000), NO_JSON),
    "__proto__": (raw_beat(b'"__proto__": {"port": 0}, "__class__": "x", "self": 1'), TAKEN),
    "10,000 tools": (beat(capabilities=["a"] * 10_000), TAKEN),
    "10,000 tools that are none": (beat(capabilities=[0] * 10_000), NO_MESSAGE),
    "10,000 fields that nobody knows": (
        beat(**{f"x{n}": 0 for n in range(5000)}),
        TAKEN,
    ),
    "text from right to left": (beat(hostname="\u202egnp.exe\u2066"), TAKEN),
    "a name of 5,000 marks": (beat(hostname="z" + "\u0300" * 5000), TAKEN),
    "a hostname of line breaks": (beat(hostname="a\r\nSet-Cookie: a=b\r\n\r\n"), TAKEN),
    "SQL": (beat(hostname="'; DROP TABLE servers; --", database='"%_\\'), TAKEN),
    "a template": (beat(hostname="{{ 7 * 7 }}{% raw %}<script>alert(1)</script>"), TAKEN),
    "the year 10000": (beat_at("10000-01-01T00:00:00Z"), NO_MESSAGE),
    "the year 0": (beat_at("0000-01-01T00:00:00Z"), NO_MESSAGE),
    "a time with 30,000 digits": (beat_at(f"2026-01-31T12:00:00.{'1' * 30_000}Z"), TAKEN),
    "an address of another alphabet": (
        beat(ip_addresses={"primary": "\u0661.0.0.1", "all": []}),
        NO_MESSAGE,
    ),
    "a URL that runs a script": (beat(endpoint_url="javascript:alert(1)"), NO_MESSAGE),
    "a URL with a password": (beat(endpoint_url="http://a:b@c/"), NO_MESSAGE),
    "a URL with a line break": (beat(endpoint_url="http://a/\r\nX: y"), NO_MESSAGE),
}


@pytest.mark.parametrize("odd", ODD)
def test_odd_message_has_the_expected_outcome(target: Target, odd: str) -> None:
    message, wanted = ODD[odd]

    for path in POSTS:
        status, code = outcome_of(target, path, message)

        if path == "/heartbeats" and wanted == NO_JSON:
            # Either the whole batch is invalid JSON, or one of its items is an invalid message.
            assert (status, code) in (NO_JSON, NO_MESSAGE)
        else:
            assert wanted == (200 if status == 201 else status, code)
    if wanted == TAKEN:
        # Delete the large record, which every later check would read again.
        target.ask("DELETE", "/servers/odd")


@EVERY_POST
def test_deeply_nested_body_is_refused(target: Target, path: str) -> None:
    size = MAX_BATCH_BYTES if path == "/heartbeats" else MAX_MESSAGE_BYTES
    for opening in (b"[", b'{"a":', b'[{"a":'):
        body = opening * (size // len(opening))

        assert NO_JSON == (target.ask("POST", path, body).status, "malformed_json")


@pytest.mark.parametrize(
    "item",
    [b"[" * 5000 + b"]" * 5000, b'{"server_id": "\xff"}', b"NaN", b'"\\ud800"'],
    ids=["too deep", "no UTF-8", "NaN", "half a pair"],
)
def test_unreadable_item_of_a_batch_refuses_itself_only(target: Target, item: bytes) -> None:
    answer = target.ask("POST", "/heartbeats", b"[%b, %b]" % (item, beat()))

    refused, accepted = answer.json()["results"]
    assert (200, 1) == (answer.status, answer.json()["accepted"])
    assert ("rejected", "ok") == (refused["status"], accepted["status"])
    assert [""] == [each["path"] for each in refused["errors"]]


NAMES = {
    "255 characters of four bytes": ("\U0001f40d" * 255, True),
    "256 characters": ("a" * 256, False),
    "none": ("", False),
    "a line break": ("a\nb", False),
    "an escape": ("a\x1b[31mb", False),
    "DEL": ("a\x7f", False),
    "a control character beyond ASCII": ("a\x85b", False),
    "from right to left": ("\u202eacme\u2066", True),
    "a zero-width space": ("acme\u200b", True),
    "a line separator": ("a\u2028b", True),
    "a noncharacter": ("\ufffe\uffff", True),
}


@EVERY_POST
@pytest.mark.parametrize("name", NAMES)
def test_name_is_accepted_or_refused_by_every_call(target: Target, path: str, name: str) -> None:
    server_id, is_one = NAMES[name]

    status, _ = outcome_of(target, path, json.dumps({"server_id": server_id}).encode())

    assert is_one == (status < 400)
    assert is_one == (server_id in target.servers())
    target.ask("DELETE", f"/servers/{_quoted(server_id)}")


def _quoted(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode())


TWICE = {
    "the same name": rb'{"server_id": "first", "server_id": "last"}',
    "spelled otherwise": rb'{"server_id": "first", "server\u005fid": "last"}',
    "spelled otherwise at first": rb'{"server\u005fid": "first", "server_id": "last"}',
    "no name at first": rb'{"server_id": 5, "server_id": "last"}',
    "no text at first": rb'{"server_id": ["first"], "server_id": "last"}',
    "null at first": rb'{"server_id": null, "server_id": "last"}',
    "with a field that is read again": (
        rb'{"server_id": "first", "hostname": "a\u0000", "hostname": "b", "server_id": "last"}'
    ),
    "another port too": rb'{"server_id": "first", "port": 1, "server_id": "last", "port": 2}',
}


@EVERY_POST
@pytest.mark.parametrize("twice", TWICE)
def test_the_last_of_two_equal_fields_counts(target: Target, path: str, twice: str) -> None:
    answer = target.ask("POST", path, as_posted(path, TWICE[twice]))

    said = answer.json()
    (said,) = said["results"] if path == "/heartbeats" else (said,)
    assert "last" == said["server_id"]
    listed = target.servers()
    assert "last" in listed
    assert "first" not in listed
    assert listed["last"]["port"] == (2 if "port" in twice else None)
    assert 200 == target.ask("DELETE", "/servers/last").status


@EVERY_POST
@pytest.mark.parametrize(
    "message",
    [
        rb'{"server_id": "last", "server_id": null}',
        rb'{"server_id": "last", "server_id": 5}',
        rb'{"server_id": "last", "server_id": ""}',
        rb'{"server_id": "last", "server\u005fid": "a\u0000"}',
        rb'{"server_id": "last", "Server_Id": "first", "server_id": {}}',
    ],
)
def test_field_whose_last_value_is_invalid_is_refused(
    target: Target, path: str, message: bytes
) -> None:
    before = target.records()

    assert NO_MESSAGE == outcome_of(target, path, message)
    assert before == target.records()


@EVERY_POST
@pytest.mark.parametrize(("first", "last"), [("mine_1", "another"), ("another", "mine_1")])
def test_permission_is_checked_for_the_last_server_id(
    target: Target, path: str, first: str, last: str
) -> None:
    if target.key is None:
        pytest.skip("whoever needs no key may write each server")
    made = target.post("/keys", {"name": "agent", "scope": "agent", "servers": "mine_*"}).json()
    message = b'{"server_id": "%b", "server_id": "%b"}' % (first.encode(), last.encode())
    may = last == "mine_1"

    answer = target.ask(
        "POST", path, as_posted(path, message), {"Authorization": f"Bearer {made['token']}"}
    )

    if path == "/heartbeats":
        assert (200, int(may)) == (answer.status, answer.json()["accepted"])
    else:
        assert may == (answer.status < 400)
    ids = {*target.servers()}
    assert may == ("mine_1" in ids)
    assert "another" not in ids
    target.ask("DELETE", "/servers/mine_1")


@EVERY_POST
def test_body_over_the_limit_is_refused(target: Target, path: str) -> None:
    more = {"/heartbeats": MAX_BATCH_BYTES, "/register": MAX_REGISTRATION_BYTES}
    most = more.get(path, MAX_MESSAGE_BYTES)
    body = as_posted(path, beat())

    assert target.ask("POST", path, body.ljust(most)).status < 300
    for size in (most + 1, 4 * most):
        answer = target.ask("POST", path, body.ljust(size))
        assert (413, "body_too_large") == (answer.status, answer.json()["code"])


@pytest.mark.parametrize(("count", "status"), [(0, 200), (1000, 200), (1001, 422), (500_000, 422)])
@pytest.mark.parametrize("item", [b"1", b'{"server_id":"odd"}'])
def test_batch_over_a_thousand_items_is_refused(
    target: Target, count: int, status: int, item: bytes
) -> None:
    count = min(count, MAX_BATCH_BYTES // (len(item) + 1) - 1)

    answer = target.ask("POST", "/heartbeats", b"[%b]" % b",".join([item] * count))

    assert status == answer.status
    if status == 200:
        assert count == len(answer.json()["results"])


@EVERY_POST
@pytest.mark.parametrize("coding", ["gzip", "br", "identity, gzip", "deflate", "x", "", "IDENTITY"])
def test_content_encoding_is_refused(target: Target, path: str, coding: str) -> None:
    body = as_posted(path, beat())

    answer = target.ask("POST", path, body, {"Content-Encoding": coding})

    assert (200 if coding == "IDENTITY" else 415) == answer.status

"""Request smuggling: a request that parsers could frame differently is one request or refused."""

import json
from typing import Any

import pytest

import messages
from attacks.law import Target

HEAD = b"Host: localhost\r\n%bContent-Type: application/json\r\n"
HIDDEN = "smuggled"


def beat(server_id: str) -> bytes:
    return json.dumps(messages.slim(server_id=server_id)).encode()


def chunked(body: bytes, *, size: bytes | None = None) -> bytes:
    return b"%b\r\n%b\r\n0\r\n\r\n" % (size or b"%x" % len(body), body)


def request(
    target: Target,
    body: bytes,
    *headers: bytes,
    line: bytes = b"POST /heartbeat HTTP/1.1",
    end: bytes = b"\r\n",
    is_last: bool = True,
) -> bytes:
    """The bytes of a request with these raw headers, which lets the connection close after it."""
    said = b"".join(b"%b: %b\r\n" % (_latin(n), _latin(v)) for n, v in target.headers.items())
    if is_last:
        said += b"Connection: %b\r\n" % _latin(target.last)
    head = b"%b\r\n%b" % (line, HEAD % said)
    return head + b"".join(each + end for each in headers) + b"\r\n" + body


def _latin(text: str) -> bytes:
    return text.encode("latin-1")


OUTER, INNER = beat("outer"), beat(HIDDEN)
LENGTH = b"Content-Length: %d" % len(OUTER)
CHUNKED = b"Transfer-Encoding: chunked"

REFUSED: dict[str, tuple[tuple[bytes, ...], bytes]] = {
    "two lengths that differ": ((LENGTH, b"Content-Length: 0"), OUTER),
    "two lengths that differ, the other first": ((b"Content-Length: 0", LENGTH), OUTER),
    "two lengths that are the same": ((LENGTH, LENGTH), OUTER),
    "two lengths in one": ((b"Content-Length: %d, %d" % (len(OUTER), len(OUTER)),), OUTER),
    "a length with a sign": ((b"Content-Length: +%d" % len(OUTER),), OUTER),
    "a length below 0": ((b"Content-Length: -1",), OUTER),
    "a length in hexadecimal": ((b"Content-Length: 0x%x" % len(OUTER),), OUTER),
    "a length with an underscore": ((b"Content-Length: 1_0",), OUTER),
    "a length of letters": ((b"Content-Length: a",), OUTER),
    "an empty length": ((b"Content-Length:",), OUTER),
    "a length beyond 64 bits": ((b"Content-Length: 18446744073709551617",), OUTER),
    "a length of 1,000 digits": ((b"Content-Length: " + b"9" * 1000,), OUTER),
    "a length in other digits": ((b"Content-Length: \xb2",), OUTER),
    "a length and chunks": ((LENGTH, CHUNKED), chunked(OUTER)),
    "chunks and a length": ((CHUNKED, LENGTH), chunked(OUTER)),
    "a length of 0 and chunks": ((b"Content-Length: 0", CHUNKED), chunked(OUTER)),
    "xchunked": ((b"Transfer-Encoding: xchunked",), chunked(OUTER)),
    "chunked, identity": ((b"Transfer-Encoding: chunked, identity",), chunked(OUTER)),
    "identity": ((b"Transfer-Encoding: identity",), chunked(OUTER)),
    "gzip": ((b"Transfer-Encoding: gzip",), chunked(OUTER)),
    "chunked twice": ((CHUNKED, CHUNKED), chunked(OUTER)),
    "chunked, chunked": ((b"Transfer-Encoding: chunked, chunked",), chunked(OUTER)),
    "chunked and identity": ((CHUNKED, b"Transfer-Encoding: identity"), chunked(OUTER)),
    "chunked in quotes": ((b'Transfer-Encoding: "chunked"',), chunked(OUTER)),
    "chunked with a tab behind it": ((b"Transfer-Encoding: chunked \t",), chunked(OUTER)),
    "chunked with a vertical tab": ((b"Transfer-Encoding: \x0bchunked",), chunked(OUTER)),
    "a space before the colon": ((b"Transfer-Encoding : chunked",), chunked(OUTER)),
    "a space before the colon of a length": ((b"Content-Length : %d" % len(OUTER),), OUTER),
    "a folded coding": ((b"Transfer-Encoding:\r\n chunked",), chunked(OUTER)),
    "a folded length": ((b"Content-Length:\r\n %d" % len(OUTER),), OUTER),
    "a folded header": ((b"X-Odd: a\r\n b", LENGTH), OUTER),
    "a header that begins with a space": ((b" X-Odd: a", LENGTH), OUTER),
    "a header without a colon": ((b"X-Odd", LENGTH), OUTER),
    "a header without a name": ((b": a", LENGTH), OUTER),
    "a space in a name": ((b"X Odd: a", LENGTH), OUTER),
    "a NUL in a name": ((b"X\0Odd: a", LENGTH), OUTER),
    "a NUL in a value": ((b"X-Odd: a\0b", LENGTH), OUTER),
    "a carriage return in a value": ((b"X-Odd: a\rb", LENGTH), OUTER),
    "a size with a sign": ((CHUNKED,), chunked(OUTER, size=b"+%x" % len(OUTER))),
    "a size with 0x": ((CHUNKED,), chunked(OUTER, size=b"0x%x" % len(OUTER))),
    "a size below 0": ((CHUNKED,), chunked(OUTER, size=b"-1")),
    "a size beyond 64 bits": ((CHUNKED,), chunked(OUTER, size=b"1" + b"0" * 16)),
    "an empty size": ((CHUNKED,), b"\r\n" + chunked(OUTER)),
    "a chunk that is longer than its size": ((CHUNKED,), chunked(OUTER, size=b"2")),
    "a chunk with a bare line feed": ((CHUNKED,), b"%x\n%b\r\n0\r\n\r\n" % (len(OUTER), OUTER)),
}


def followed(target: Target, body: bytes, *headers: bytes, end: bytes = b"\r\n") -> bytes:
    """A request followed by a hidden one, which a wrongly framing parser would process."""
    outer = request(target, body, *headers, end=end, is_last=False)
    return outer + request(target, INNER, b"Content-Length: %d" % len(INNER))


@pytest.mark.parametrize("refused", REFUSED)
def test_ambiguously_framed_request_is_refused(target: Target, refused: str) -> None:
    headers, body = REFUSED[refused]
    before = target.records()

    answers = target.send(followed(target, body, *headers))

    # The receiver may close the connection without an answer for the bytes of the body.
    assert [400] == [answer.status for answer in answers] or not answers
    assert before == target.records()


WHOLE: dict[str, tuple[tuple[bytes, ...], bytes]] = {
    "a length": ((LENGTH,), OUTER),
    "a length with zeros before it": ((b"Content-Length: 000%d" % len(OUTER),), OUTER),
    "a length in small letters": ((LENGTH.lower(),), OUTER),
    "a length with spaces around it": ((b"Content-Length: \t %d \t" % len(OUTER),), OUTER),
    "a length with an underscore in its name": ((LENGTH, b"Content_Length: 0"), OUTER),
    "chunks": ((CHUNKED,), chunked(OUTER)),
    "chunks in another case": ((b"transfer-encoding: CHUNKED",), chunked(OUTER)),
    "chunks with spaces before": ((b"Transfer-Encoding: \t chunked",), chunked(OUTER)),
    "chunks with an underscore": ((LENGTH, b"Transfer_Encoding: chunked"), OUTER),
    "chunks of one byte": ((CHUNKED,), b"".join(b"1\r\n%c\r\n" % n for n in OUTER) + b"0\r\n\r\n"),
    "a size with zeros before it": ((CHUNKED,), chunked(OUTER, size=b"000%x" % len(OUTER))),
    "a chunk with an extension": ((CHUNKED,), chunked(OUTER, size=b"%x;a=b" % len(OUTER))),
    "a trailer": ((CHUNKED,), chunked(OUTER)[:-2] + b"X-Odd: a\r\n\r\n"),
}


@pytest.mark.parametrize("whole", WHOLE)
def test_request_after_a_well_framed_one_is_answered(target: Target, whole: str) -> None:
    headers, body = WHOLE[whole]
    outer, inner = target.count_of("outer"), target.count_of(HIDDEN)

    answers = target.send(followed(target, body, *headers))

    assert [200, 200] == [answer.status for answer in answers]
    assert ["outer", HIDDEN] == [answer.json()["server_id"] for answer in answers]
    assert (outer + 1, inner + 1) == (target.count_of("outer"), target.count_of(HIDDEN))


PATHS = [
    *("POST /heartbeat", "POST /register", "POST /heartbeats", "GET /health", "GET /servers"),
    *("DELETE /servers/nobody", "GET /", "GET /nowhere", "GET /static/fleet.css", "PATCH /events"),
    *("POST /keys", "PUT /servers/canary/owner", "HEAD /servers", "OPTIONS /servers", "TRACE /"),
]


@pytest.mark.parametrize("is_chunked", [False, True])
@pytest.mark.parametrize("line", PATHS)
def test_request_within_a_body_is_not_answered(
    target: Target, line: str, *, is_chunked: bool
) -> None:
    hidden = request(target, INNER, b"Content-Length: %d" % len(INNER))
    inner = target.count_of(HIDDEN)
    length = CHUNKED if is_chunked else b"Content-Length: %d" % len(hidden)
    body = chunked(hidden) if is_chunked else hidden

    raw = request(target, body, length, line=line.encode() + b" HTTP/1.1")
    (answer,) = target.send(raw, is_page=line == "GET /")

    assert (answer.status < 400) == (line.startswith(("GET", "HEAD")) and "nowhere" not in line)
    assert inner == target.count_of(HIDDEN)


@pytest.mark.parametrize("line", ["POST /heartbeat", "POST /heartbeats", "GET /servers"])
def test_request_within_an_unauthorized_body_is_not_answered(
    target: Target, closed: Target, line: str
) -> None:
    target = closed if target.key is None else target
    hidden = request(target, INNER, b"Content-Length: %d" % len(INNER))
    inner = target.count_of(HIDDEN)
    head = (
        b"%b HTTP/1.1\r\nHost: elsewhere\r\nAuthorization: Bearer wrong\r\n"
        b"Content-Type: application/json\r\nConnection: %b\r\nContent-Length: %d\r\n\r\n"
    )
    last = _latin(target.last)

    (answer,) = target.send(head % (line.encode(), last, len(hidden)) + hidden)

    assert answer.status in (401, 403, 429)
    assert inner == target.count_of(HIDDEN)


@pytest.mark.parametrize("is_chunked", [False, True])
def test_request_at_the_end_of_a_too_large_body_is_not_answered(
    target: Target, *, is_chunked: bool
) -> None:
    hidden = request(target, INNER, b"Content-Length: %d" % len(INNER))
    body = b" " * 70_000 + hidden
    inner = target.count_of(HIDDEN)
    length = CHUNKED if is_chunked else b"Content-Length: %d" % len(body)

    answers = target.send(request(target, chunked(body) if is_chunked else body, length))

    # The receiver closes the connection, perhaps before the client has read the answer.
    assert [413] == [answer.status for answer in answers] or not answers
    assert inner == target.count_of(HIDDEN)


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param((), id="no length"),
        pytest.param((b"Content-Length: 0",), id="0"),
        pytest.param((b"Content-Length: %d" % (len(OUTER) - 1),), id="one too few"),
        pytest.param((LENGTH,), id="the right one"),
    ],
)
def test_bytes_beyond_the_declared_length_are_not_part_of_the_body(
    target: Target, headers: tuple[bytes, ...]
) -> None:
    inner = target.count_of(HIDDEN)

    answers = target.send(followed(target, OUTER + b"{}\r\n\r\n", *headers))

    # The invalid bytes may close the connection before the first request is answered.
    assert {200, 400} >= {answer.status for answer in answers}
    assert inner == target.count_of(HIDDEN)


LINES: dict[str, tuple[bytes, set[int]]] = {
    "small letters": (b"post /heartbeat HTTP/1.1", {400}),
    "mixed letters": (b"Post /heartbeat HTTP/1.1", {400}),
    "a method that nobody knows": (b"FLEET /heartbeat HTTP/1.1", {400}),
    "a method of WebDAV": (b"PROPFIND /servers HTTP/1.1", {405}),
    "PRI of HTTP/2": (b"PRI * HTTP/2.0", {400}),
    "CONNECT": (b"CONNECT localhost:443 HTTP/1.1", {400, 404}),
    "OPTIONS *": (b"OPTIONS * HTTP/1.1", {400, 404}),
    "TRACE": (b"TRACE /heartbeat HTTP/1.1", {405}),
    "another way": (b"POST /servers/../heartbeat HTTP/1.1", {405}),
    "another way, encoded": (b"POST /servers/%2e%2e/heartbeat HTTP/1.1", {405}),
    "another way, encoded slashes": (b"POST /servers%2f..%2fheartbeat HTTP/1.1", {405}),
    "a dot": (b"POST /./heartbeat HTTP/1.1", {404}),
    "two slashes": (b"POST //heartbeat HTTP/1.1", {400, 404}),
    "a slash at the end": (b"POST /heartbeat/ HTTP/1.1", {404}),
    "a backslash": (b"POST \\heartbeat HTTP/1.1", {400, 404}),
    "no slash": (b"POST heartbeat HTTP/1.1", {400, 404}),
    "a semicolon": (b"POST /heartbeat;a=b HTTP/1.1", {404}),
    "a NUL at the end": (b"POST /heartbeat%00 HTTP/1.1", {404}),
    "a space at the end": (b"POST /heartbeat%20 HTTP/1.1", {404}),
    "a line break in it": (b"POST /heartbeat%0d%0aHost:%20a HTTP/1.1", {404}),
    "a name without its page": (b"GET /servers/../register HTTP/1.1", {404}),
    "another version of HTTP": (b"POST /heartbeat HTTP/1.2", {400}),
    "HTTP/9.9": (b"POST /heartbeat HTTP/9.9", {400}),
    "HTTPS": (b"POST /heartbeat HTTPS/1.1", {400}),
    "a tab": (b"POST\t/heartbeat HTTP/1.1", {400}),
    "a space before it": (b" POST /heartbeat HTTP/1.1", {400}),
    "no target": (b"POST HTTP/1.1", {400}),
    "an empty target": (b"POST  HTTP/1.1", {400}),
    "two targets": (b"POST /heartbeat /register HTTP/1.1", {400}),
    "a NUL in it": (b"POST /heart\0beat HTTP/1.1", {400}),
}


@pytest.mark.parametrize("line", LINES)
def test_invalid_request_line_is_refused(target: Target, line: str) -> None:
    first, statuses = LINES[line]
    before = target.records()

    answers = target.send(request(target, OUTER, LENGTH, line=first))

    assert len(answers) == 1
    assert answers[0].status in statuses
    assert before == target.records()


@pytest.mark.parametrize(
    "line",
    [
        b"POST /heartbeat HTTP/1.1",
        b"POST /heartbeat HTTP/1.0",
        # Other protocol names and versions are framed in the same way.
        b"POST /heartbeat",
        b"POST /heartbeat HTTP/2.0",
        b"POST /heartbeat RTSP/1.0",
        b"POST  /heartbeat HTTP/1.1",
        b"POST http://elsewhere/heartbeat HTTP/1.1",
        b"POST /%68eartbeat HTTP/1.1",
        b"POST /heartbeat?a=b HTTP/1.1",
        b"\r\n\r\nPOST /heartbeat HTTP/1.1",
    ],
)
def test_valid_request_line_is_answered(target: Target, line: bytes) -> None:
    before = target.count_of("outer")

    answers = target.send(request(target, OUTER, LENGTH, line=line))

    assert [200] == [answer.status for answer in answers]
    assert before + 1 == target.count_of("outer")


@pytest.mark.parametrize(
    "raw",
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\0" * 100,
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET /health HTTP/1.1\r\n\r\n",
        b"\r\n\r\n\r\n\x00",
        b"()" * 1000 + b"\r\n\r\n",
    ],
)
def test_bytes_that_are_no_request_are_refused(target: Target, raw: bytes) -> None:
    assert [400] == [answer.status for answer in target.send(raw)]


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\n\r\n", b"\r\r\n"])
def test_other_line_endings_are_refused(target: Target, end: bytes) -> None:
    before = target.records()

    answers = target.send(followed(target, OUTER, LENGTH, b"X-Odd: a", end=end))

    assert [400] == [answer.status for answer in answers]
    assert before == target.records()


@pytest.mark.parametrize("protocol", [b"h2c", b"websocket"])
def test_upgrade_to_another_protocol_is_ignored(target: Target, protocol: bytes) -> None:
    outer, inner = target.count_of("outer"), target.count_of(HIDDEN)
    upgrade = (
        b"Connection: Upgrade, HTTP2-Settings",
        b"HTTP2-Settings: AAMAAABkAAQAAP__",
        b"Upgrade: " + protocol,
        LENGTH,
    )

    answers = target.send(followed(target, OUTER, *upgrade))

    assert 101 not in [answer.status for answer in answers]
    taken = [answer for answer in answers if answer.status == 200]
    assert len(taken) == target.count_of("outer") - outer + target.count_of(HIDDEN) - inner


def test_expectation_is_answered_once(target: Target) -> None:
    answers = target.send(request(target, OUTER, LENGTH, b"Expect: 100-continue"))

    assert 200 == answers[-1].status
    assert {100} >= {answer.status for answer in answers[:-1]}


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"X-Odd: " + b"a" * 2**20, id="a line of 1 MiB"),
        pytest.param(b"X" * 2**20 + b": a", id="a name of 1 MiB"),
        pytest.param(b"\r\n".join(b"X-Odd: %d" % n for n in range(10_000)), id="10,000 headers"),
        pytest.param(b"Cookie: " + b"a=b; " * 20_000, id="20,000 cookies"),
    ],
)
def test_large_head_is_refused(target: Target, head: bytes) -> None:
    answers = target.send(request(target, b"", head, line=b"GET /health HTTP/1.1"))

    # Only `Careful` bounds the head. It closes the connection, perhaps before the client has
    # read the answer.
    assert {200 if target.key is None else 431} >= {answer.status for answer in answers}


def test_long_request_target_is_refused(target: Target) -> None:
    answers = target.send(request(target, b"", line=b"GET /%b HTTP/1.1" % (b"a" * 2**20)))

    assert {400 if target.key is None else 431} >= {answer.status for answer in answers}


def get(target: Target, *headers: bytes, version: bytes = b"1.1") -> Any:
    raw = b"GET /servers HTTP/%b\r\n" % version + b"".join(each + b"\r\n" for each in headers)
    (answer,) = target.send(raw + b"Connection: %b\r\n\r\n" % _latin(target.last))
    return answer.status, answer.json().get("code")


def test_repeated_or_malformed_authorization_is_refused(target: Target) -> None:
    if target.key is None:
        pytest.skip("it asks for none")
    right = b"Authorization: Bearer " + target.key.encode()
    wrong = b"Authorization: Bearer wrong"

    for several in ([right, right], [right, wrong], [wrong, right], [b"Authorization:", right]):
        assert (401, "key_missing") == get(target, b"Host: localhost", *several)
    for said in (
        b"Authorization: Basic " + target.key.encode(),
        b"Authorization: " + target.key.encode(),
        b"Authorization: Bearer" + target.key.encode(),
        b"Authorization: Bearer " + target.key.encode() + b", Bearer a",
        b"Authorization: Bearer " + target.key.encode() + b"\xff",
        b"Authorization: Bearer " + target.key.encode()[:-1],
    ):
        assert (401, "key_wrong") == get(target, b"Host: localhost", said)
    assert (200, None) == get(target, b"Host: localhost", right.replace(b" fleet", b"  fleet"))
    for said in (
        b"Proxy-Authorization: Bearer " + target.key.encode(),
        b"Authorization_: Bearer " + target.key.encode(),
        b"Cookie: Authorization=Bearer " + target.key.encode(),
    ):
        assert (401, "key_missing") == get(target, b"Host: localhost", said)


def test_receiver_without_keys_serves_its_own_machine(closed: Target) -> None:
    assert (200, None) == get(closed, b"Host: localhost")


ELSEWHERE = [
    *(b"Host: elsewhere", b"Host: localhost.elsewhere", b"Host: 127.0.0.1.elsewhere"),
    *(b"Host: 0.0.0.0", b"Host: 2130706433", b"Host: [::2]", b"Host: ", b"Host: elsewhere:8765"),
    *(b"Host: \xff", b"Host: localhost@elsewhere", b"Host: elsewhere#localhost"),
    *(b"Forwarded: for=127.0.0.1", b"Via: 1.1 proxy", b"X-Real-IP: 127.0.0.1"),
    *(b"X-Forwarded-For: 127.0.0.1", b"x-forwarded-for: ::1", b"X-FORWARDED-FOR:"),
    *(b"X-Forwarded-For: 127.0.0.1, 127.0.0.1", b"X-Forwarded-For: localhost"),
    *(b"Connection: close", b"Connection: CLOSE", b"Connection: keep-alive,close"),
    *(b"X-Forwarded-Host: localhost", b"X-Forwarded-Proto: https", b"X-Forwarded-For: \xff"),
]


@pytest.mark.parametrize("said", ELSEWHERE)
def test_foreign_or_forwarded_request_without_a_key_is_refused(
    target: Target, closed: Target, said: bytes
) -> None:
    target = closed if target.key is None else target
    wanted = (401, "key_missing") if target.key else (403, "no_keys_yet")

    # Only `Careful` looks whether a request has one Host.
    without_one_host = (400, "host_missing") if target.key else wanted

    if said.startswith(b"Host"):
        assert wanted == get(target, said)
        assert without_one_host == get(target, b"Host: localhost", said)
        assert without_one_host == get(target, said, b"Host: localhost")
    else:
        assert without_one_host == get(target, said)
        assert wanted == get(target, b"Host: localhost", said)
        assert wanted == get(target, said, version=b"1.0")

"""The invariants of every answer to an attack, and the client that checks them."""

import json
import os
import re
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from attrs import field, frozen
from hypothesis import HealthCheck, settings

import messages

__all__ = ["Answer", "Target", "searched", "split_answers"]

Test = TypeVar("Test", bound=Callable[..., None])

MORE = int(os.environ.get("FLEET_ATTACK_EXAMPLES", "1"))
"""A factor for the number of examples. With 1, the examples are the same in every run."""

PATIENCE_SECONDS = 60.0
QUIET_SECONDS = 10.0

_EVERY_STATE = "new,up,late,down,left,superseded,node"
"""The filter that finds the servers in every state, with those that lists leave out."""

_NO_REQUEST = b"\0\r\n\r\n"
"""Bytes that each receiver refuses by `_HTTP_REFUSED`, and then closes the connection."""

_LEAKS = re.compile(
    rb"Traceback \(most recent|\bFile \\?\"/|site-packages|sqlalche|sqlite3\.|psycopg|\[SQL"
    rb"|SELECT .{1,200}FROM |INSERT INTO|DELETE FROM|UPDATE servers",
    re.DOTALL,
)
_PAGES = ("/?", "/timeline", "/server/", "/sign-")
_HTTP_REFUSED = b"Invalid HTTP request received."


@frozen(kw_only=True)
class Answer:
    """
    An HTTP answer.

    Attributes:
        headers: The last value of each header, by lower-case name.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def kind(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0]

    def json(self) -> Any:
        return json.loads(self.body)


@frozen(kw_only=True)
class Target:
    """
    A receiver under attack, and a client that checks each of its answers.

    Attributes:
        key: Token of an admin key; None for a receiver without keys.
        hidden: Texts that no answer may contain.
        is_closed: Whether it serves nobody but direct clients of its own machine.
    """

    host: str
    port: int
    key: str | None = field(repr=False)
    hidden: tuple[bytes, ...] = field(repr=False)
    is_closed: bool = False
    _kept: list[bytes] = field(factory=list, init=False, repr=False, eq=False)
    """A cache of `records()`; empty after a request that may have changed them."""

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def headers(self) -> dict[str, str]:
        """The headers that authorize a request."""
        return {"Authorization": f"Bearer {self.key}"} if self.key else {}

    @property
    def last(self) -> str:
        """The value of Connection with which a last request is let in."""
        return "keep-alive" if self.is_closed else "close"

    def ask(
        self,
        method: str,
        target: str | bytes,
        body: bytes | None = None,
        headers: Mapping[str, str | bytes] | None = None,
    ) -> Answer:
        """
        Send a request with an unescaped target, and check the answer.

        Asserts that a refused request has changed no record.
        """
        if method == "GET":
            return self._answer(method, target, body, headers)
        return self.checked(lambda: self._answer(method, target, body, headers))

    def checked(self, send: Callable[[], Answer]) -> Answer:
        """Send a request by `send`, and assert that it has changed no record if it was refused."""
        before = self._kept[:] or self.records()
        self._kept.clear()
        answer = send()
        if answer.status >= 400:
            self._kept[:] = self.records()
            assert before == self._kept
        return answer

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Assert after the block that nothing within it has changed a record."""
        before = self.records()
        yield
        assert before == self.records()

    def _answer(
        self,
        method: str,
        target: str | bytes,
        body: bytes | None = None,
        headers: Mapping[str, str | bytes] | None = None,
    ) -> Answer:
        said = {"Connection": self.last, **(headers or {})}
        (answer,) = split_answers(self.exchange(self._request(method, target, body, said)))
        self.judge(answer, is_page=_is_page(_bytes(target)))
        return answer

    def _request(
        self,
        method: str,
        target: str | bytes,
        body: bytes | None,
        headers: Mapping[str, str | bytes],
    ) -> bytes:
        said = {"Host": "localhost", **self.headers, **headers}
        if body is not None:
            said = {"Content-Type": "application/json", "Content-Length": str(len(body)), **said}
        raw = b"%b %b HTTP/1.1\r\n" % (_bytes(method), _bytes(target))
        raw += b"".join(b"%b: %b\r\n" % (_bytes(n), _bytes(v)) for n, v in said.items())
        return raw + b"\r\n" + (body or b"")

    def post(self, path: str, message: object) -> Answer:
        return self.ask("POST", path, json.dumps(message).encode())

    def send(self, raw: bytes, *, is_page: bool = False) -> list[Answer]:
        """Send raw bytes, and check all answers until the receiver closes the connection."""
        self._kept.clear()
        answers = split_answers(self.exchange(raw))
        for answer in answers:
            self.judge(answer, is_page=is_page)
        return answers

    def exchange(self, raw: bytes) -> bytes:
        """
        Send raw bytes; returns what comes back until the connection closes or is quiet.

        A receiver that keeps the connection open is sent bytes that are no request after its first
        answer. It closes the connection after whatever it has found in the raw bytes, which takes
        no time, where to see that it is quiet would.
        """
        with socket.create_connection((self.host, self.port), PATIENCE_SECONDS) as connection:
            answer = b""
            with suppress(OSError):  # it has closed the connection, perhaps after an answer
                connection.sendall(raw)
            try:
                while piece := connection.recv(1 << 20):
                    if self.is_closed and not answer and _HTTP_REFUSED not in piece:
                        connection.sendall(_NO_REQUEST)
                    answer += piece
                    connection.settimeout(QUIET_SECONDS)
            except TimeoutError:
                assert answer, "no answer"
            except ConnectionResetError:
                pass
        return _without_farewell(answer) if self.is_closed else answer

    def judge(self, answer: Answer, *, is_page: bool = False) -> None:
        """Assert that an answer is no 500, leaks no internals, and has the right headers."""
        assert answer.status < 500, answer
        everything = answer.body + repr(answer.headers).encode()
        assert _LEAKS.search(everything) is None, answer
        for secret in self.hidden:
            assert secret not in everything, answer
        if answer.status < 400 or (answer.status == 400 and answer.body == _HTTP_REFUSED):
            return
        if is_page and answer.kind == "text/html":
            return
        if answer.kind == "application/json":  # of the Model Context Protocol
            assert {"jsonrpc", "id", "error"} == set(answer.json()), answer
            assert {"code", "message"} <= set(answer.json()["error"])
            return
        assert "application/problem+json" == answer.kind, answer
        problem = answer.json()
        assert {"type", "title", "status", "detail", "code"} <= set(problem)
        assert answer.status == problem["status"]
        assert all(isinstance(problem[name], str) for name in ("title", "detail", "code"))

    def records(self) -> list[bytes]:
        """The stored state: the servers in every state, and the last event."""
        paths = (f"/servers?limit=1000&state={_EVERY_STATE}", "/events?limit=1")
        # In one connection, because most requests to a receiver under attack are these.
        hows = ["keep-alive", self.last]
        requests = [
            self._request("GET", path, None, {"Connection": how})
            for path, how in zip(paths, hows, strict=True)
        ]
        answers = split_answers(self.exchange(b"".join(requests)))
        for answer in answers:
            self.judge(answer)
        parts = [answer.body for answer in answers]
        assert 2 == len(parts)
        assert parts[0].endswith(b'"next_cursor":null}')
        return parts

    def servers(self) -> dict[str, Any]:
        """The records of all listed servers, by `server_id`."""
        listed = self.ask("GET", "/servers?limit=1000").json()["servers"]
        return {each["server_id"]: each for each in listed}

    def count_of(self, server_id: str) -> int:
        """The `heartbeat_count` of a server; 0 for an unknown one."""
        answer = self.ask("GET", f"/servers/{server_id}")
        return int(answer.json()["heartbeat_count"]) if answer.status == 200 else 0

    @contextmanager
    def kept_alive(self) -> Iterator[None]:
        """Assert after the block that the receiver is healthy and accepts a heartbeat."""
        yield
        assert "healthy" == self.ask("GET", "/health").json()["status"]
        self._kept.clear()
        message = json.dumps(messages.slim(server_id="canary")).encode()
        beat = self._answer("POST", "/heartbeat", message)
        assert (200, "canary") == (beat.status, beat.json()["server_id"])


def searched(examples: int) -> Callable[[Test], Test]:
    """A decorator: so many Hypothesis examples, times MORE, and derandomized when MORE is 1."""
    return settings(
        max_examples=examples * MORE,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=[*HealthCheck],
    )


def split_answers(raw: bytes) -> list[Answer]:
    """Split the bytes of a connection into HTTP answers."""
    answers = []
    while raw:
        head, end, rest = raw.partition(b"\r\n\r\n")
        assert end, raw
        first, *lines = head.decode("latin-1").split("\r\n")
        version, status = first.split(" ")[:2]
        assert "HTTP/1.1" == version, raw
        said = [each.partition(":") for each in lines]
        headers = {name.lower(): value.strip() for name, _, value in said}
        is_bare = status.startswith("1")  # an interim answer such as 100 Continue has no body
        length = 0 if is_bare else int(headers.get("content-length", len(rest)))
        answers.append(Answer(status=int(status), headers=headers, body=rest[:length]))
        raw = rest[length:]
    return answers


def _without_farewell(raw: bytes) -> bytes:
    """The answers of a connection without that to `_NO_REQUEST`, which comes after others."""
    others, _, last = raw.rpartition(b"HTTP/1.1 400 ")
    return others if others and last.endswith(_HTTP_REFUSED) else raw


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode()


def _is_page(target: bytes) -> bool:
    path = target.decode("latin-1")
    return path == "/" or path.startswith(_PAGES)

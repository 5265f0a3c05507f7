"""A fleet that is reached by a receiver's HTTP API, with a key."""

import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import Any

import httpx
import orjson
from prometheus_client.parser import text_string_to_metric_families

from receiver.commands.backends.backend import AlertBackend, Forgotten, Json
from receiver.commands.backends.http_alerts import HttpAlerts, segment
from receiver.commands.context import (
    CommandFailed,
    NotAllowed,
    Surroundings,
    Unreachable,
    WrongUse,
    in_steps,
)
from receiver.commands.output import visible
from receiver.domain.agents.client_files import Client
from receiver.domain.filter_text import FilterText
from receiver.domain.queries import EventFilter

__all__ = ["HttpBackend"]

_PAGE = 1000
_SECONDS = 10.0
_ANSWER_SECONDS = 60.0
"""How long an answer may take; a receiver takes up to 30 seconds to try a channel."""

_SILENT_SECONDS = 45.0
"""How long a stream of events may be silent; a receiver sends something each 15 seconds."""

_LONGEST_PAUSE_SECONDS = 30.0
_ONE = "/by-id/servers"
"""The path of calls about one server, whose id is in the query: it may have slashes and dots."""


class HttpBackend:
    """
    A `Backend` of a receiver's HTTP API.

    Args:
        url: The URL of the receiver; raises WrongUse for one that cannot be used.
        key: The key to send; None to send no key.
        authorities: The path of a file with the certificate authorities to trust; None for those
            that httpx trusts by default. Raises WrongUse for a file that cannot be used.
        surroundings: Gives the current time, and prints what goes wrong while events are followed.
    """

    def __init__(
        self, url: str, *, key: str | None, authorities: str | None, surroundings: Surroundings
    ) -> None:
        base = _base_of(url)
        self.where = str(base).rstrip("/")
        self._has_key = key is not None
        self._surroundings = surroundings
        if key is not None and base.scheme == "http" and not _is_loopback(base.host):
            surroundings.explain(
                f"The key goes to {self.where} over plain http, where others can read it: use https"
            )
        headers = {"Accept": "application/json", "User-Agent": "odoo-mcp-fleet"}
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        self._http = httpx.Client(
            base_url=base,
            headers=headers,
            timeout=httpx.Timeout(_SECONDS, read=_ANSWER_SECONDS),
            verify=_trust(authorities),
            # A proxy that the environment names does not lead to this machine.
            trust_env=not _is_loopback(base.host),
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    @property
    def alerts(self) -> AlertBackend:
        return HttpAlerts(self._json)

    def now(self) -> datetime:
        return self._surroundings.clock()

    # Servers

    def status(self) -> Json:
        trouble = None
        try:
            self._json("GET", "/health")
        except Unreachable as error:
            trouble = str(error)
        names = ("version", "servers", "stages", "flapping", "alarms")
        found: Json = dict.fromkeys(names)
        try:
            found |= self._metrics()
        except NotAllowed:
            if self._has_key:
                raise
        return {"healthy": trouble is None, "trouble": trouble, **found}

    def _metrics(self) -> Json:
        """What `GET /metrics` tells of the servers, in one request and without a query."""
        with self._answered():
            answer = self._http.get("/metrics", headers={"Accept": "text/plain"})
        self._check(answer)
        stages: dict[str, dict[str, int]] = {}
        servers: dict[str, int] = {}
        found: Json = {"servers": servers, "stages": stages}
        for family in text_string_to_metric_families(answer.text):
            for sample in family.samples:
                labels = sample.labels
                if sample.name == "fleet_servers":
                    state, count = labels["state"], int(sample.value)
                    stages.setdefault(labels["stage"], {})[state] = count
                    servers[state] = servers.get(state, 0) + count
                elif sample.name == "fleet_build_info":
                    found["version"] = labels["version"]
                elif sample.name in _NUMBERS:
                    found[_NUMBERS[sample.name]] = int(sample.value)
        return found

    def servers(
        self, matching: FilterText, *, order: str, limit: int | None = None
    ) -> Iterator[Json]:
        cursor: str | None = None
        left = limit
        while left is None or left > 0:
            asked = {"query": str(matching), "sort": order, "limit": str(min(_PAGE, left or _PAGE))}
            if cursor is not None:
                asked["cursor"] = cursor
            page = self._json("GET", "/servers", params=asked)
            yield from page["servers"]
            cursor = page["next_cursor"]
            if cursor is None:
                return
            left = None if left is None else left - page["count"]

    def client_file(self, client: Client, matching: FilterText) -> tuple[str, bool]:
        asked = [("client", client.value), *_filters(matching)]
        with self._answered():
            answer = self._http.get("/connections", params=tuple(asked))
        self._check(answer)
        return answer.text, False

    def forget(
        self, matching: FilterText, *, silent_for: timedelta | None, is_dry_run: bool
    ) -> Forgotten:
        asked = [("limit", str(_PAGE)), *_filters(matching)]
        if silent_for is not None:
            asked.append(("silent_for_days", str(silent_for.days)))
        if is_dry_run:
            asked.append(("dry_run", "true"))
        ids: list[str] = []
        with in_steps(ids):
            while True:
                found = self._json("DELETE", "/servers", params=asked)
                ids += found["server_ids"]
                if is_dry_run or not (found["more"] and found["server_ids"]):
                    return Forgotten(ids, is_more=found["more"])

    def forget_server(self, server_id: str) -> None:
        self._json("DELETE", _ONE, params={"id": server_id})

    def annotation(self, server_id: str) -> Json:
        return self._json("GET", f"{_ONE}/labels", params={"id": server_id})

    def relabel(self, server_id: str, asked: Json) -> Json:
        return self._json("PATCH", f"{_ONE}/labels", params={"id": server_id}, json=asked)

    # Events

    def events(self, wanted: EventFilter, *, limit: int) -> list[Json]:
        asked = [*_of_events(wanted)]
        if wanted.since is not None:
            asked.append(("since", wanted.since.isoformat()))
        found: list[Json] = []
        cursor: str | None = None
        while len(found) < limit:
            here = [("limit", str(min(_PAGE, limit - len(found)))), *asked]
            if cursor is not None:
                here.append(("cursor", cursor))
            page = self._json("GET", "/events", params=here)
            found += page["events"]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        return found[::-1]

    def follow(self, wanted: EventFilter, *, after: int | None) -> Iterator[Json]:
        last, pause = after, 1.0
        while True:
            try:
                for number, event in self._stream(wanted, last):
                    last, pause = number, 1.0
                    if event is not None:
                        yield event
                trouble = f"{self.where} has ended the stream of events"
            except Unreachable as error:
                trouble = str(error)
            self._surroundings.explain(f"{trouble.rstrip('.')}. Trying again in {pause:g} s.")
            self._surroundings.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    def _stream(self, wanted: EventFilter, after: int | None) -> Iterator[tuple[int, Json | None]]:
        """The events of one stream, with their numbers; None for a number without an event."""
        headers = {"Accept": "text/event-stream"}
        if after is not None:
            headers["Last-Event-ID"] = str(after)
        with (
            self._answered(),
            self._http.stream(
                "GET",
                "/events/stream",
                params=_of_events(wanted),
                headers=headers,
                timeout=httpx.Timeout(_SECONDS, read=_SILENT_SECONDS),
            ) as answer,
        ):
            if answer.status_code != httpx.codes.OK:
                answer.read()
            self._check(answer)
            number, data = 0, b""
            for line in _lines(answer.iter_bytes()):
                name, _, value = line.partition(b":")
                if name == b"id" and value.strip().isdigit():
                    number = int(value)
                elif name == b"data":
                    data = value.strip()
                elif not line and number:
                    yield number, orjson.loads(data) if data else None
                    data = b""

    # Keys

    def keys(self) -> list[Json]:
        keys: list[Json] = self._json("GET", "/keys")["keys"]
        return keys

    def make_key(self, asked: Json) -> Json:
        return self._json("POST", "/keys", json=asked)

    def revoke_key(self, key_id: str, *, forgets: bool) -> Json:
        asked = {"forget": "true"} if forgets else {}
        return self._json("DELETE", f"/keys/{segment(key_id)}", params=asked)

    def rotate_key(self, key_id: str, expires_at: datetime | None) -> Json:
        if expires_at is not None:
            raise WrongUse("Over HTTP a key that is rotated keeps its time: leave out --expires")
        return self._json("POST", f"/keys/{segment(key_id)}/rotate")

    def hand_over(self, ids: Sequence[str], to: str) -> list[str]:
        handed: list[str] = []
        asked = {"key_id": to}
        with in_steps(handed):
            for server_id in ids:
                try:
                    self._json("PUT", f"{_ONE}/owner", params={"id": server_id}, json=asked)
                except _NotFound:
                    continue
                except WrongUse as error:  # there is no such key, or it may not have the server
                    raise CommandFailed(str(error)) from None
                handed.append(server_id)
        return handed

    def owned(self, key_id: str) -> list[str]:
        raise WrongUse(
            f"Which servers belong to the key {key_id} is told by the database only: run this "
            "where it is, or name the servers"
        )

    # Requests

    def _json(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | Sequence[tuple[str, str]] = (),
        json: object = None,
    ) -> Json:
        """Make a call; returns the object of its answer."""
        query: Any = params if isinstance(params, Mapping) else tuple(params)
        with self._answered():
            answer = self._http.request(method, path, params=query, json=json)
        self._check(answer)
        try:
            found = orjson.loads(answer.content)
        except orjson.JSONDecodeError:
            found = None
        if not isinstance(found, dict):
            raise CommandFailed(f"{self.where} answers as no receiver does. Is the URL right?")
        return found

    @contextmanager
    def _answered(self) -> Iterator[None]:
        """A context that raises Unreachable for errors of httpx."""
        try:
            yield
        except httpx.TimeoutException:
            raise Unreachable(f"{self.where} has not answered in time.") from None
        except httpx.TransportError as error:
            why = visible(str(error)) or type(error).__name__
            raise Unreachable(f"{self.where} cannot be reached: {why}.") from None

    def _check(self, answer: httpx.Response) -> None:
        """Raise for an answer that is no success."""
        status = answer.status_code
        if status < 300:
            return
        if status < 400:
            raise CommandFailed(f"{self.where} answers with a redirect. Is the URL right?")
        says = _problem(answer)
        if status in {401, 403}:
            hint = "" if self._has_key else " Put a key into FLEET_KEY, or its file in --key-file."
            raise NotAllowed(f"{says}{hint}")
        if status == 404:
            raise _NotFound(says)
        if status in {400, 422}:
            raise WrongUse(says, _wrong(answer))
        raise (Unreachable if status >= 500 else CommandFailed)(says)


class _NotFound(CommandFailed):
    """The receiver says that there is no such thing."""


def _problem(answer: httpx.Response) -> str:
    """What a receiver says about a request that it refuses, in one line."""
    with suppress(ValueError, KeyError, TypeError):
        return visible(orjson.loads(answer.content)["detail"])
    return f"{answer.url.copy_with(query=None)} answers {answer.status_code}."


def _wrong(answer: httpx.Response) -> list[str]:
    """The paths of the values that a receiver finds wrong in a request; empty if it names none."""
    with suppress(ValueError, KeyError, TypeError):
        return [each["path"] for each in orjson.loads(answer.content)["errors"]]
    return []


def _lines(chunks: Iterator[bytes]) -> Iterator[bytes]:
    r"""Split bytes at \n alone, because names of servers may hold other ends of lines."""
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines


def _filters(matching: FilterText) -> list[tuple[str, str]]:
    """A filter as query parameters."""
    text = str(matching)
    return [("query", text)] if text else []


def _of_events(wanted: EventFilter) -> tuple[tuple[str, str], ...]:
    kinds = tuple(("kind", kind.value) for kind in sorted(wanted.kinds))
    return kinds if wanted.server_id is None else (*kinds, ("server_id", wanted.server_id))


def _base_of(url: str) -> httpx.URL:
    try:
        base = httpx.URL(url)
    except httpx.InvalidURL:
        base = httpx.URL()
    if base.scheme not in {"http", "https"} or not base.host or base.userinfo or base.query:
        # It may hold a password, so it is not quoted.
        raise WrongUse("The URL of the receiver must be such as https://fleet.example.com")
    return base


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _trust(authorities: str | None) -> ssl.SSLContext | bool:
    if authorities is None:
        return True
    try:
        return ssl.create_default_context(cafile=authorities)
    except (OSError, ssl.SSLError):
        raise WrongUse(f"There are no certificates in PEM in {authorities!r}") from None


_NUMBERS = {"fleet_servers_flapping": "flapping", "fleet_alarms_open": "alarms"}

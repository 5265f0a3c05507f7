"""
A stateful Hypothesis test that compares the SQL store with a plain dict.

Hypothesis calls both in random order, and both must give the same results.
The dict has its own implementation of the merge rules: it shares no code with the
contract and the receiver, but the digest of tools.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from itertools import zip_longest
from typing import Any

import pytest
from attrs import asdict
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Engine

from contract import (
    Heartbeat,
    Registration,
    ServerPayload,
    ServerRecord,
    State,
    Tool,
    tools_digest,
)
from receiver.domain.outcomes import Incoming
from receiver.domain.queries import ALL_SERVERS, Filter, Place
from receiver.store import SqlStore
from strategies import (
    heartbeats,
    moments,
    payloads,
    registrations,
    seconds,
    share_of_examples,
    texts,
)
from watched import assert_tallied, hear, kept_in

# Few ids, so that random messages hit the same server; sorted by code point.
IDS = ["B", "a", "a/'b\"%", "é", "\uffee", "\U0001f40d"]

ABSENT = dict.fromkeys(
    [
        "hostname",
        "ip_addresses",
        "port",
        "transport",
        "version",
        "odoo_version",
        "database",
        "capabilities",
        "odoo_stage",
        "database_uuid",
        "endpoint_url",
        "heartbeat_interval_seconds",
        "started_at",
        "status",
        "timestamp",
        "uptime_seconds",
        "registered_at",
        "superseded_by",
        "twin_of",
        "sequence",
        "tools_digest",
        "node_of",
        "labels",
    ]
)
FILTERS = {
    "stage": "odoo_stage",
    "database": "database",
    "version": "version",
    "odoo_version": "odoo_version",
    "capability": "capabilities",
}

TABLES = (
    "servers",
    "liveness",
    "profiles",
    "tallies",
    "search_texts",
    "catalogues",
    "toolsets",
)
"""The tables that have nothing without servers, but for the inverted index."""

SLIM = Heartbeat(server_id="a")
Message = Heartbeat | Registration
Plain = dict[str, Any]

ids = st.sampled_from(IDS)
messages = heartbeats(ids) | registrations(ids)
pauses = st.timedeltas(timedelta(milliseconds=1), timedelta(days=1))
store_numbers = st.integers(0, 5)


class Fleet:
    """A model of the servers as a dict."""

    def __init__(self) -> None:
        self.servers: dict[str, Plain] = {}
        self.tools: dict[str, tuple[str, tuple[Tool, ...]]] = {}
        """By `server_id`: the tools that a server described last, and with which digest."""

    def hear(self, message: Message, now: datetime) -> tuple[Plain, bool]:
        """Merge a message; returns the server, and whether the server is new."""
        said = {name: value for name, value in plain(message).items() if value is not None}
        if isinstance(message, Registration) and message.tools is not None:
            digest = said.setdefault("tools_digest", tools_digest(message.tools))
            self.tools[message.server_id] = (digest, message.tools)
        is_new = message.server_id not in self.servers
        new: Plain = {
            **ABSENT,
            "first_seen": now,
            "heartbeat_count": 0,
            "node_count": 0,
            "state": State.NEW,
            "state_since": now,
        }
        before = self.servers.get(message.server_id, new)
        after = {**before, **said, "last_seen": now}
        if isinstance(message, Heartbeat):
            after["heartbeat_count"] += 1
        else:
            after["registered_at"] = now
        state = State.UP if after["heartbeat_count"] else State.NEW
        if isinstance(message, Heartbeat) and message.status == "uninstalled":
            state = State.LEFT
        if before["state"] is not state:
            after |= {"state": state, "state_since": now}
        self.servers[message.server_id] = after
        return after, is_new

    def matching(self, wanted: dict[str, str]) -> list[Plain]:
        """The servers that match every filter, sorted by id."""
        return [
            server
            for _, server in sorted(self.servers.items())
            if server["state"] is not State.LEFT
            and all(value in values(server, name) for name, value in wanted.items())
        ]


def values(server: Plain, filtered_by: str) -> list[str]:
    """The values by which a filter finds a server: none, one, or many."""
    value = server[FILTERS[filtered_by]]
    if value is None:
        return [""] if filtered_by == "stage" else []
    return [*value] if filtered_by == "capability" else [value]


def plain(thing: Message | ServerRecord) -> Plain:
    # Random sequence numbers go back and forth, and servers leave and return at random times, which
    # other tests are about.
    unasked = {"conflict_since", "flapping_since", "tools"}
    return asdict(thing, filter=lambda field, _: field.name not in unasked)


def plains(records: list[ServerRecord]) -> list[Plain]:
    return [*map(plain, records)]


def types(server: Plain) -> dict[str, type]:
    """The type of every field, since `1 == 1.0` would hide a wrong type."""
    return {name: type(value) for name, value in server.items()}


def repeating(record: ServerRecord) -> Heartbeat:
    """A heartbeat with all that the record says."""
    return Heartbeat(**{name: getattr(record, name) for name in asdict(SLIM)})


class StoresAndADict(RuleBasedStateMachine):
    """
    Calls one of several stores of the same database at each step.

    Args:
        engine: An engine of the database; its servers are deleted.
        cache_bytes: How many bytes of rows each store caches; one number per store.
    """

    def __init__(self, engine: Engine, *, cache_bytes: list[int]) -> None:
        super().__init__()
        self.engine = engine
        self.cache_bytes = cache_bytes
        self.fleet = Fleet()
        self.stores = [*map(self.open, cache_bytes)]
        self.now = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
        self.checks = 0
        tables = (*TABLES, "facets")
        self.run(*(f"DELETE FROM {name}" for name in tables))
        if engine.dialect.name == "sqlite":
            self.run("INSERT INTO toolset_words (toolset_words) VALUES ('delete-all')")

    # Rules

    @rule(message=messages, n=store_numbers, data=st.data())
    def apply_one(self, message: Message, n: int, data: st.DataObject) -> None:
        self.apply([message], n, data)

    @rule(server_id=ids, n=store_numbers, data=st.data())
    def apply_slim_heartbeat(self, server_id: str, n: int, data: st.DataObject) -> None:
        self.apply([Heartbeat(server_id=server_id, status="healthy")], n, data)

    @rule(payload=payloads(ids), sent=moments(), uptime=seconds(), n=store_numbers, data=st.data())
    def apply_full_heartbeat(
        self, payload: ServerPayload, sent: datetime, uptime: float, n: int, data: st.DataObject
    ) -> None:
        beat = Heartbeat.from_payload(payload, timestamp=sent, uptime_seconds=uptime)
        self.apply([beat], n, data)

    @rule(batch=st.lists(messages, min_size=2, max_size=6), n=store_numbers, data=st.data())
    def apply_batch(self, batch: list[Message], n: int, data: st.DataObject) -> None:
        self.apply(batch, n, data)

    @rule(chosen=st.lists(ids, min_size=1, max_size=4), n=store_numbers, data=st.data())
    def apply_heartbeats_that_repeat(self, chosen: list[str], n: int, data: st.DataObject) -> None:
        """They repeat what the store knows, which another store may have changed meanwhile."""
        found = [self.store(n).servers.known(each) for each in chosen]
        known = [record for record in found if record is not None]
        if known:
            self.apply([repeating(each) for each in known], n, data, known)

    @rule(server_id=ids, n=store_numbers)
    def delete(self, server_id: str, n: int) -> None:
        was_there = self.fleet.servers.pop(server_id, None) is not None
        self.fleet.tools.pop(server_id, None)

        assert was_there == self.store(n).servers.delete(server_id, self.now)

    @rule(n=store_numbers)
    def delete_all(self, n: int) -> None:
        for server_id in self.fleet.servers:
            assert self.store(n).servers.delete(server_id, self.now)
        self.fleet.servers.clear()
        self.fleet.tools.clear()

        tables = (*TABLES, "facets")
        assert [0] * len(tables) == self.run(*(f"SELECT count(*) FROM {name}" for name in tables))

    @rule(server_id=ids | texts(), n=store_numbers)
    def get(self, server_id: str, n: int) -> None:
        record = self.store(n).servers.get(server_id)

        assert self.fleet.servers.get(server_id) == (None if record is None else plain(record))

    @rule(server_id=ids, n=store_numbers)
    def get_tools(self, server_id: str, n: int) -> None:
        server = self.fleet.servers.get(server_id)
        digest, tools = self.fleet.tools.get(server_id, (None, None))

        found = self.store(n).servers.tools(server_id)

        assert (server is None) == (found is None)
        if server is not None and found is not None:
            # Whoever sent the same tools first has given them their order.
            assert (tools and {*tools}) == (found.tools and {*found.tools})
            assert found.is_current == (digest is not None and digest == server["tools_digest"])

    @rule(data=st.data(), limit=st.integers(1, 3), n=store_numbers)
    def list_some(self, data: st.DataObject, limit: int, n: int) -> None:
        wanted = self.draw_filter(data)
        expected = self.fleet.matching(wanted)
        matching = Filter(**{name: (text,) for name, text in wanted.items()})  # type: ignore[arg-type]  # of `without`

        pages = [kept_in(self.store(n), matching, limit=limit)]
        while len(pages[-1]) == limit:
            last = Place(pages[-1][-1].server_id)
            pages.append(kept_in(self.store(n), matching, after=last, limit=limit))

        assert expected == [server for page in pages for server in plains(page)]
        assert len(expected) == self.store(n).servers.count(matching)

    @rule(after=ids | texts(), limit=st.integers(1, 3), n=store_numbers)
    def list_from_anywhere(self, after: str, limit: int, n: int) -> None:
        expected = [server for server in self.fleet.matching({}) if server["server_id"] > after]

        page = kept_in(self.store(n), ALL_SERVERS, after=Place(after), limit=limit)

        assert expected[:limit] == plains(page)

    @rule(n=store_numbers)
    def reopen(self, n: int) -> None:
        n %= len(self.stores)
        self.stores[n].close()
        self.stores[n] = self.open(self.cache_bytes[n])

    # Invariants

    @invariant()
    def all_servers_are_equal(self) -> None:
        self.checks += 1  # through each store in turn
        kept = plains(kept_in(self.store(self.checks), limit=len(IDS) + 1))

        expected = self.fleet.matching({})
        assert expected == kept
        assert [*map(types, expected)] == [*map(types, kept)]
        (catalogues,) = self.run("SELECT count(*) FROM catalogues")
        assert len({(digest, frozenset(tools)) for digest, tools in self.fleet.tools.values()}) == (
            catalogues
        )

    @invariant()
    def all_servers_are_counted(self) -> None:
        store = self.store(self.checks)
        expected = self.fleet.matching({})
        counts = store.servers.breakdown(ALL_SERVERS).count(ALL_SERVERS)

        assert len(expected) == counts.total
        assert Counter(server["odoo_stage"] or "" for server in expected) == counts.values["stage"]
        assert_tallied(store)

    def teardown(self) -> None:
        for store in self.stores:
            store.close()

    # Helpers

    def apply(
        self,
        batch: Sequence[Message],
        n: int,
        data: st.DataObject,
        repeated: Sequence[ServerRecord | None] = (),
    ) -> None:
        incoming = [
            Incoming(message, self.moment(data), None, record)
            for message, record in zip_longest(batch, repeated)
        ]

        applied = hear(self.store(n), incoming)

        for each, result in zip(incoming, applied, strict=True):
            outcome = plain(result.record), result.created
            assert self.fleet.hear(each.message, each.received_at) == outcome

    def moment(self, data: st.DataObject) -> datetime:
        """Any time if there is one store; several stores share a clock that only advances."""
        if len(self.stores) == 1:
            return data.draw(moments()).astimezone(timezone.utc)
        self.now += data.draw(pauses)
        return self.now

    def draw_filter(self, data: st.DataObject) -> dict[str, str]:
        """Filters by values of one server, or by a value that no server has."""
        server = data.draw(st.sampled_from([*self.fleet.servers.values()] or [ABSENT]))
        names = data.draw(st.lists(st.sampled_from([*FILTERS]), unique=True))
        return {
            name: data.draw(st.sampled_from([*values(server, name), "unknown"])) for name in names
        }

    def store(self, n: int) -> SqlStore:
        return self.stores[n % len(self.stores)]

    def open(self, cache_bytes: int) -> SqlStore:
        return SqlStore(self.engine.url, cache_bytes=cache_bytes)

    def run(self, *statements: str) -> list[Any]:
        """Run SQL on a connection of its own; the first value of each result, or None."""
        with self.engine.begin() as connection:
            results = [connection.exec_driver_sql(statement) for statement in statements]
            return [result.scalar() if result.returns_rows else None for result in results]


def compare_with_a_dict(engine: Engine, *, cache_bytes: list[int]) -> None:
    run_state_machine_as_test(
        # Typed as a class, but Hypothesis only calls it without arguments.
        lambda: StoresAndADict(engine, cache_bytes=cache_bytes),  # type: ignore[arg-type]
        settings=settings(max_examples=share_of_examples(0.5), stateful_step_count=40),
    )


@pytest.mark.hypothesis
def test_store_agrees_with_a_dict_after_random_calls(engine: Engine) -> None:
    compare_with_a_dict(engine, cache_bytes=[2**29])


@pytest.mark.hypothesis
def test_two_stores_of_one_database_agree_with_a_dict_after_random_calls(engine: Engine) -> None:
    """The second store caches only the rows of its last transaction."""
    compare_with_a_dict(engine, cache_bytes=[2**29, 1])

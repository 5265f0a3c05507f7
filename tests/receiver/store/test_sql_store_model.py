"""
Stores do what a plain dict does.

Whatever is asked of them, in any order, a dict is asked too, and they must agree.
The dict knows the rules of the specification by itself: it shares no code with the
contract and the receiver.
"""

from contextlib import ExitStack
from datetime import datetime, timedelta, timezone
from typing import Any

from attrs import asdict
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import create_engine, make_url

from contract import Heartbeat, Registration, ServerPayload, ServerRecord, State
from receiver.domain.outcomes import Incoming
from receiver.domain.queries import ALL_SERVERS, Filter, Place
from receiver.store import SqlStore
from strategies import heartbeats, moments, payloads, registrations, seconds, texts
from watched import hear

# Few, so that what is drawn meets; out of order as people sort, in order by code point.
IDS = ["B", "a", "a/'b\"%", "é", "\uffee", "\U0001f40d"]

NEVER_HEARD = dict.fromkeys(
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
    ]
)
FILTERS = {
    "stage": "odoo_stage",
    "database": "database",
    "version": "version",
    "odoo_version": "odoo_version",
    "capability": "capabilities",
}

Message = Heartbeat | Registration
Plain = dict[str, Any]

ids = st.sampled_from(IDS)
messages = heartbeats(ids) | registrations(ids)
pauses = st.timedeltas(timedelta(milliseconds=1), timedelta(days=1))
which = st.integers(0, 5)


class Fleet:
    """The dict."""

    def __init__(self) -> None:
        self.servers: dict[str, Plain] = {}

    def hear(self, message: Message, now: datetime) -> tuple[Plain, bool]:
        """What is known of a server after a message, and whether it is new."""
        said = {name: value for name, value in plain(message).items() if value is not None}
        is_new = message.server_id not in self.servers
        new: Plain = {
            **NEVER_HEARD,
            "first_seen": now,
            "heartbeat_count": 0,
            "state": State.NEW,
            "state_since": now,
        }
        before = self.servers.get(message.server_id, new)
        after = {**before, **said, "last_seen": now}
        if isinstance(message, Heartbeat):
            after["heartbeat_count"] += 1
        else:
            after["registered_at"] = now
        if after["heartbeat_count"] and before["state"] is State.NEW:
            after |= {"state": State.UP, "state_since": now}
        self.servers[message.server_id] = after
        return after, is_new

    def those(self, wanted: dict[str, str]) -> list[Plain]:
        """Who has everything that is wanted, in the order of their ids."""
        return [
            server
            for _, server in sorted(self.servers.items())
            if all(value in values(server, name) for name, value in wanted.items())
        ]


def values(server: Plain, filtered_by: str) -> list[str]:
    """By what a filter finds a server: one value, or none, or many."""
    value = server[FILTERS[filtered_by]]
    if value is None:
        return [""] if filtered_by == "stage" else []
    return [*value] if filtered_by == "capability" else [value]


def plain(thing: Message | ServerRecord) -> Plain:
    return asdict(thing)


def plains(records: list[ServerRecord]) -> list[Plain]:
    return [*map(plain, records)]


def types(server: Plain) -> dict[str, type]:
    """An int is not a float, however equal they are."""
    return {name: type(value) for name, value in server.items()}


class StoresBesideADict(RuleBasedStateMachine):
    """
    Asks several stores of one database, now this one and now that one.

    Args:
        url: Of a database; what is in it is deleted.
        remembered: How many rows each of the stores remembers.
    """

    def __init__(self, url: str, *, remembered: list[int]) -> None:
        super().__init__()
        self.url = url
        self.remembered = remembered
        self.fleet = Fleet()
        self.stores = [*map(self.open, remembered)]
        self.now = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
        self.looks = 0
        self.run("DELETE FROM facets", "DELETE FROM servers")

    # What is asked

    @rule(message=messages, n=which, data=st.data())
    def hear_one(self, message: Message, n: int, data: st.DataObject) -> None:
        self.apply([message], n, data)

    @rule(server_id=ids, n=which, data=st.data())
    def hear_a_slim_heartbeat(self, server_id: str, n: int, data: st.DataObject) -> None:
        self.apply([Heartbeat(server_id=server_id, status="healthy")], n, data)

    @rule(payload=payloads(ids), sent=moments(), uptime=seconds(), n=which, data=st.data())
    def hear_a_full_heartbeat(
        self, payload: ServerPayload, sent: datetime, uptime: float, n: int, data: st.DataObject
    ) -> None:
        beat = Heartbeat.from_payload(payload, timestamp=sent, uptime_seconds=uptime)
        self.apply([beat], n, data)

    @rule(batch=st.lists(messages, min_size=2, max_size=6), n=which, data=st.data())
    def hear_many(self, batch: list[Message], n: int, data: st.DataObject) -> None:
        self.apply(batch, n, data)

    @rule(server_id=ids, n=which)
    def delete(self, server_id: str, n: int) -> None:
        was_there = self.fleet.servers.pop(server_id, None) is not None

        assert was_there == self.store(n).servers.delete(server_id, self.now)

    @rule(n=which)
    def delete_all(self, n: int) -> None:
        for server_id in self.fleet.servers:
            assert self.store(n).servers.delete(server_id, self.now)
        self.fleet.servers.clear()

        left = self.run("SELECT count(*) FROM servers", "SELECT count(*) FROM facets")
        assert [0, 0] == left

    @rule(server_id=ids | texts(), n=which)
    def get(self, server_id: str, n: int) -> None:
        record = self.store(n).servers.get(server_id)

        assert self.fleet.servers.get(server_id) == (None if record is None else plain(record))

    @rule(data=st.data(), limit=st.integers(1, 3), n=which)
    def list_some(self, data: st.DataObject, limit: int, n: int) -> None:
        wanted = self.draw_filter(data)
        expected = self.fleet.those(wanted)
        matching = Filter(**wanted)

        pages = [self.store(n).servers.page(matching, after=None, limit=limit)]
        while len(pages[-1]) == limit:
            last = Place(pages[-1][-1].server_id)
            pages.append(self.store(n).servers.page(matching, after=last, limit=limit))

        assert expected == [server for page in pages for server in plains(page)]
        assert len(expected) == self.store(n).servers.count(matching)

    @rule(after=ids | texts(), limit=st.integers(1, 3), n=which)
    def list_from_anywhere(self, after: str, limit: int, n: int) -> None:
        expected = [server for server in self.fleet.those({}) if server["server_id"] > after]

        page = self.store(n).servers.page(ALL_SERVERS, after=Place(after), limit=limit)

        assert expected[:limit] == plains(page)

    @rule(n=which)
    def reopen(self, n: int) -> None:
        n %= len(self.stores)
        self.stores[n].close()
        self.stores[n] = self.open(self.remembered[n])

    # What is so at any time

    @invariant()
    def the_whole_fleet_is_there(self) -> None:
        self.looks += 1  # through this store and that
        kept = plains(
            self.store(self.looks).servers.page(ALL_SERVERS, after=None, limit=len(IDS) + 1)
        )

        expected = self.fleet.those({})
        assert expected == kept
        assert [*map(types, expected)] == [*map(types, kept)]

    def teardown(self) -> None:
        for store in self.stores:
            store.close()

    # How

    def apply(self, batch: list[Message], n: int, data: st.DataObject) -> None:
        incoming = [Incoming(message, self.moment(data)) for message in batch]

        applied = hear(self.store(n), incoming)

        for each, told in zip(incoming, applied, strict=True):
            outcome = plain(told.record), told.created
            assert self.fleet.hear(each.message, each.received_at) == outcome

    def moment(self, data: st.DataObject) -> datetime:
        """The clock of one receiver may be anywhere; several agree on the time."""
        if len(self.stores) == 1:
            return data.draw(moments()).astimezone(timezone.utc)
        self.now += data.draw(pauses)
        return self.now

    def draw_filter(self, data: st.DataObject) -> dict[str, str]:
        """Some of what somebody is, if there is anybody; at times nobody is like that."""
        somebody = data.draw(st.sampled_from([*self.fleet.servers.values()] or [NEVER_HEARD]))
        names = data.draw(st.lists(st.sampled_from([*FILTERS]), unique=True))
        return {
            name: data.draw(st.sampled_from([*values(somebody, name), "of nobody"]))
            for name in names
        }

    def store(self, n: int) -> SqlStore:
        return self.stores[n % len(self.stores)]

    def open(self, remembered: int) -> SqlStore:
        return SqlStore(make_url(self.url), cached_rows=remembered)

    def run(self, *statements: str) -> list[Any]:
        """Past the stores; the first value that each statement finds, if it finds any."""
        with ExitStack() as stack:
            engine = create_engine(self.url)
            stack.callback(engine.dispose)
            connection = stack.enter_context(engine.begin())
            results = [connection.exec_driver_sql(statement) for statement in statements]
            return [result.scalar() if result.returns_rows else None for result in results]


def hold_beside_a_dict(url: str, *, remembered: list[int]) -> None:
    run_state_machine_as_test(
        # It calls what it is given, so that this need not be a class, as its type says.
        lambda: StoresBesideADict(url, remembered=remembered),  # type: ignore[arg-type]
        settings=settings(max_examples=25, stateful_step_count=40),
    )


def test_a_store_does_what_a_dict_does(database_url: str) -> None:
    hold_beside_a_dict(database_url, remembered=[100_000])


def test_two_stores_do_what_one_dict_does(database_url: str) -> None:
    """One of them forgets nearly everything."""
    hold_beside_a_dict(database_url, remembered=[100_000, 1])

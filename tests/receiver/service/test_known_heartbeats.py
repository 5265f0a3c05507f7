"""Heartbeats whose bytes are known are read as the contract reads them, and faster."""

import json
from contextlib import suppress
from datetime import datetime, timezone
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from contract import FleetError, Heartbeat, MalformedJSON, ServerRecord, dumps, loads, merge, parse
from reading import finished, message, outcome, typed
from receiver.service.decoding import Known, known
from receiver.service.decoding.reader import Reader
from strategies import almost_values, heartbeats, share_of_examples

READER = Reader(Heartbeat)
NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
UNNUMBERED = {
    "server_id": "acme_web-1",
    "hostname": "web-1",
    "ip_addresses": {"primary": "10.0.0.1", "all": ["10.0.0.1"]},
    "port": 8768,
    "capabilities": ["create", "search"],
    "heartbeat_interval_seconds": 60.0,
    "status": "healthy",
    "timestamp": "2026-01-31T12:00:00Z",
    "uptime_seconds": 5.5,
}
NUMBERED = {
    **{name: UNNUMBERED[name] for name in list(UNNUMBERED)[:-3]},
    "sequence": 41,
    "tools_digest": "sha256:1",
    **{name: UNNUMBERED[name] for name in list(UNNUMBERED)[-3:]},
    "started_at": "2026-01-31T11:00:00Z",
}


class Fleet:
    """A reader, and the records of the servers that it has read heartbeats of."""

    def __init__(self, *, max_bytes: int = 2**20) -> None:
        self.records: dict[str, ServerRecord] = {}
        self.known = Known(self.records.get, max_bytes=max_bytes)

    def hear(self, *bodies: bytes, times: int = 6) -> None:
        """Read and merge heartbeats, each so often; after six times its bytes are known."""
        for body in bodies:
            for _ in range(times):
                with suppress(FleetError):  # some are invalid
                    heartbeat, _ = READER.read(body, self.known)
                    before = self.records.get(heartbeat.server_id)
                    after = merge(before, heartbeat, received_at=NOON)
                    self.records[heartbeat.server_id] = after

    def assert_reads(self, body: bytes) -> None:
        """Assert that a body is read as the contract reads it, alone and in a batch."""
        expected = outcome(lambda: loads(body, Heartbeat))
        assert expected == outcome(lambda: message(READER.read(body, self.known))), body
        if is_json(body):  # other bytes may end the batch, or may be two items of it
            items = READER.read_list(b"[%b]" % body, at_most=1, longest=65536, known=self.known)
            assert expected == outcome(lambda: message(next(iter(finished(items))))), body


def is_json(body: bytes) -> bool:
    try:
        parse(body)
    except MalformedJSON:
        return False
    return True


def json_of(*changed: dict[str, Any], spaces: bool = False) -> bytes:
    said: dict[str, Any] = {}
    for each in changed:
        said |= each
    return json.dumps(said, separators=None if spaces else (",", ":")).encode()


@pytest.mark.parametrize("spaces", [False, True])
@pytest.mark.parametrize("said", [NUMBERED, UNNUMBERED], ids=["numbered", "unnumbered"])
def test_next_heartbeat_of_a_server_is_known(said: dict[str, Any], *, spaces: bool) -> None:
    fleet = Fleet()
    fleet.hear(json_of(said, spaces=spaces))
    later = {"timestamp": "2026-01-31T12:01:00.25Z", "uptime_seconds": 65}
    body = json_of(said, later, {"sequence": 42} if "sequence" in said else {}, spaces=spaces)

    found = fleet.known.heartbeat(body)

    assert found is not None
    heartbeat, record = found
    assert typed(loads(body, Heartbeat)) == typed(heartbeat)
    assert record is fleet.records["acme_web-1"]
    fleet.assert_reads(body)


@given(first=heartbeats(), later=heartbeats())
def test_heartbeat_of_the_client_is_known(first: Heartbeat, later: Heartbeat) -> None:
    moving = ("sequence", "timestamp", "uptime_seconds")
    full = evolve(first, **{name: getattr(later, name) for name in moving})
    fleet = Fleet()
    fleet.hear(dumps(first))

    has_times = first.timestamp is not None and first.uptime_seconds is not None
    is_like = all(
        (getattr(first, each) is None) == (getattr(full, each) is None) for each in moving
    )
    if has_times and is_like and later.timestamp and later.uptime_seconds is not None:
        assert fleet.known.heartbeat(dumps(full)) is not None
    fleet.assert_reads(dumps(full))


# What could be taken for members that change, or hide them. All are read after all others.
PLAIN = json_of(NUMBERED)
TIMES = b'"timestamp":"2026-01-31T12:00:00Z","uptime_seconds":5.5'
ESCAPED = json_of(UNNUMBERED).replace(b'"timestamp"', b'"sequence":41,"timestamp"')
ESCAPED = ESCAPED.replace(b'"server_id"', b'"sequ\\u0065nce":40,"server_id"')
TRAPS = [
    PLAIN,
    json_of(UNNUMBERED),
    json_of(NUMBERED, {"timestamp": "2026-01-31T13:00:00+01:00"}),
    json_of(NUMBERED, {"timestamp": "2026-01-31T12:00:00"}),
    json_of(NUMBERED, {"timestamp": None}),
    json_of(NUMBERED, {"uptime_seconds": None}),
    json_of(NUMBERED, {"uptime_seconds": -1}),
    json_of(NUMBERED, {"uptime_seconds": True}),
    json_of(NUMBERED, {"uptime_seconds": 2**70}),
    json_of(NUMBERED, {"sequence": 0}),
    json_of(NUMBERED, {"sequence": 2**64}),
    json_of(NUMBERED, {"sequence": 4.0}),
    json_of(NUMBERED, {"sequence": "4"}),
    json_of(NUMBERED, {"hostname": "web-2"}),
    json_of(NUMBERED, {"hostname": '"sequence":7,"timestamp":"x"'}),
    json_of(NUMBERED, {"more": {"sequence": 3, "timestamp": "x", "uptime_seconds": 3}}),
    PLAIN[:-1],
    PLAIN + b"}",
    PLAIN + b" ",
    b" " + PLAIN,
    PLAIN.replace(TIMES, TIMES + b"," + TIMES.replace(b"5.5", b"6.5")),
    PLAIN.replace(TIMES, TIMES + b',"sequence":9'),
    PLAIN.replace(TIMES, TIMES + b',"hostname":"web-3"'),
    PLAIN.replace(TIMES, b'"sequence":9,' + TIMES),
    PLAIN.replace(TIMES, b'"uptime_seconds":9,' + TIMES),
    PLAIN.replace(TIMES, b'"uptime_seconds":9,' + TIMES.partition(b",")[0]),
    PLAIN.replace(TIMES, TIMES.partition(b",")[0]),
    PLAIN.replace(TIMES, TIMES.partition(b",")[2]),
    PLAIN.replace(TIMES, TIMES + b"},{" + TIMES),
    PLAIN.replace(TIMES, TIMES.replace(b"Z", b"\xff")),
    PLAIN.replace(TIMES, TIMES.replace(b"5.5", b"NaN")),
    PLAIN.replace(TIMES, TIMES.replace(b"5.5", b"05.5")),
    PLAIN.replace(b"healthy", b"\xff"),
    PLAIN.replace(b"healthy", b"\\u0000"),
    ESCAPED,
    ESCAPED.replace(b'"sequence":41,', b""),
    # The last of two members with one name counts; these have values that the samples have, too.
    PLAIN.replace(b'"sequence":41', b'"sequence":41,"sequence":7'),
    PLAIN.replace(b'"sequence":41', b'"sequence":43,"sequence":7'),
    PLAIN.replace(b'"sequence":41', b'"sequence":43,"sequence":9'),
    PLAIN.replace(TIMES, TIMES + b',"t\\u0069mestamp":"2001-02-03T00:00:00Z"'),
    PLAIN.replace(TIMES, TIMES + b',"\\u0075ptime_seconds":8.5'),
    PLAIN.replace(TIMES, TIMES.replace(b"5.5", b"6.5") + b',"\\u0075ptime_seconds":8.5'),
    PLAIN.replace(b'"started_at"', b'"x\\"sequence":2,"started_at"'),
    PLAIN.replace(b'"server_id"', b'"x\\"sequence":2,"server_id"'),
    PLAIN.replace(b'"server_id"', b'"x\\"sequence":7,"server_id"').replace(b":41", b":7"),
    PLAIN.replace(b'"sequence":41', b'"sequence":41,"uptime_seconds":3'),
    PLAIN.replace(b'"sequence":41', b'"sequence":41,"port":1'),
    PLAIN.replace(b'"sequence":41', b'"sequence":[41]'),
    PLAIN.replace(b'"sequence":41', b'"sequence":4,"timestamp":"2026-01-31T12:00:00Z"'),
    PLAIN.replace(b'"sequence":41,', b""),
    PLAIN.replace(b'"sequence":41', b'"sequence" : 41'),
    PLAIN.replace(b'"sequence"', b'"sequ\\u0065nce"'),
    PLAIN.replace(b'"sequence":41', b'"sequ\\u0065nce":40,"sequence":41'),
    PLAIN.replace(b'"started_at"', b'"sequ\\u0065nce":40,"started_at"'),
    PLAIN.replace(b'"started_at"', b'"uptime_s\\u0065conds":40,"started_at"'),
    PLAIN.replace(b'"server_id"', b'"uptime_s\\u0065conds":40,"server_id"'),
    PLAIN.replace(b'"tools_digest"', b'"uptime_s\\u0065conds":40,"tools_digest"'),
]


@pytest.mark.parametrize("learnt", range(len(TRAPS)))
def test_heartbeat_is_read_as_the_contract_does_whatever_is_known(learnt: int) -> None:
    for body in TRAPS:
        fleet = Fleet()
        fleet.hear(TRAPS[learnt])
        fleet.assert_reads(body)


def test_heartbeats_of_the_same_server_in_two_spellings_are_both_known() -> None:
    fleet = Fleet()
    spellings = [json_of(NUMBERED), json_of(NUMBERED, spaces=True)]
    fleet.hear(*spellings)

    assert all(fleet.known.heartbeat(body) for body in spellings)


@settings(max_examples=share_of_examples(3))
@given(data=st.data())
def test_changed_bytes_are_read_as_the_contract_does(data: st.DataObject) -> None:
    learnt = json_of(data.draw(st.sampled_from([NUMBERED, UNNUMBERED])))
    fleet = Fleet()
    fleet.hear(learnt)
    assert fleet.known.heartbeat(learnt) is not None
    names = data.draw(st.lists(st.sampled_from([*NUMBERED]), max_size=2))
    said = json.loads(learnt) | {name: data.draw(almost_values(name)) for name in names}
    body = json_of(said)
    for _ in range(data.draw(st.integers(0, 2))):
        start = data.draw(st.integers(0, len(body)))
        end = data.draw(st.integers(start, min(len(body), start + 8)))
        pieces = st.sampled_from(
            [b"", b",", b'"', b"}", b"{", b"1", b"\\", b" ", body[start:end] * 2]
        )
        body = body[:start] + data.draw(pieces) + body[end:]

    fleet.assert_reads(body)


def test_record_that_says_something_else_now_is_not_repeated() -> None:
    fleet = Fleet()
    body = json_of(NUMBERED)
    fleet.hear(body)
    assert fleet.known.heartbeat(body) is not None
    fleet.records["acme_web-1"] = evolve(fleet.records["acme_web-1"], version="2.0")

    assert fleet.known.heartbeat(body) is None
    _, repeated = READER.read(body, fleet.known)
    assert repeated is None
    fleet.records.clear()
    assert fleet.known.heartbeat(body) is None


def with_length(number: int, length: int) -> bytes:
    """A heartbeat of one of many servers, with so many bytes."""
    said = NUMBERED | {"server_id": f"s{number}"}
    return json_of(said, {"more": "x" * (length - len(json_of(said, {"more": ""})))})


def test_few_heartbeats_are_known_at_once() -> None:
    fleet = Fleet(max_bytes=10_000)
    bodies = [with_length(number, 1600) for number in range(8)]
    fleet.hear(*bodies)
    known = [fleet.known.heartbeat(body) is not None for body in bodies]

    assert [True] * 4 + [False] * 4 == known
    fleet.hear(bodies[7], times=100)
    assert fleet.known.heartbeat(bodies[7]) is not None, "all that was kept was dropped"
    assert fleet.known.heartbeat(bodies[0]) is None


def test_names_of_tools_count_for_what_they_take_in_memory() -> None:
    fleet = Fleet(max_bytes=100_000)
    names = [f"tool{number}" for number in range(900)]
    bodies = [json_of(NUMBERED, {"server_id": f"s{n}", "capabilities": names}) for n in range(3)]
    fleet.hear(*bodies)

    assert [True, False, False] == [fleet.known.heartbeat(each) is not None for each in bodies]


def test_bytes_after_the_times_that_change_now_and_then_are_known_again() -> None:
    fleet = Fleet()
    fleet.hear(with_length(1, 1000))
    for length, times in ((1100, 17), (1200, 65), (1300, 257), (1400, 257)):
        fleet.hear(with_length(1, length), times=times - 1)
        assert fleet.known.heartbeat(with_length(1, length)) is None
        fleet.hear(with_length(1, length), times=1)
        assert fleet.known.heartbeat(with_length(1, length)) is not None


HIDDEN = PLAIN.replace(b'"started_at"', b'"sequ\\u0065nce":40,"started_at"')


@pytest.mark.parametrize(
    "bodies",
    [[json_of(NUMBERED, {"load": load}) for load in range(1000)], [HIDDEN] * 1000],
    ids=["always another tail", "another number counts"],
)
def test_bytes_that_cannot_be_known_are_hardly_looked_at(
    monkeypatch: pytest.MonkeyPatch, bodies: list[bytes]
) -> None:
    looked = 0
    is_understood = known._is_understood  # noqa: SLF001 - it takes most of the time

    def look(*arguments: Any) -> bool:
        nonlocal looked
        looked += 1
        return is_understood(*arguments)

    monkeypatch.setattr(known, "_is_understood", look)
    Fleet().hear(*bodies, times=1)

    assert 1 <= looked < 10


def test_bytes_that_come_only_once_are_not_kept() -> None:
    fleet = Fleet()
    body = json_of({"load": 0.1}, NUMBERED)
    fleet.hear(body)

    for load in range(50):
        READER.read(json_of({"load": load}, NUMBERED), fleet.known)

    assert fleet.known.heartbeat(body) is not None
    assert not any(fleet.known.heartbeat(json_of({"load": n}, NUMBERED)) for n in range(50))


def test_value_that_todays_rules_refuse_is_never_known() -> None:
    fleet = Fleet()
    body = json_of(NUMBERED)
    fleet.hear(body, times=1)
    old = fleet.records["acme_web-1"]
    port: Any = 70_000
    object.__setattr__(old, "port", port)
    refused = json_of(NUMBERED, {"port": port})
    for _ in range(8):
        heartbeat, repeated = READER.read(refused, fleet.known)
        assert (port, old) == (heartbeat.port, repeated)

    assert fleet.known.heartbeat(refused) is None

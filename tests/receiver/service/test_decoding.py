"""The fast JSON reader gives the same messages and errors as the reader of the contract."""

import json
from collections.abc import Callable
from datetime import datetime, timezone
from functools import partial
from time import process_time
from typing import Any, TypeVar

import pytest
from attrs import evolve, fields
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from contract import (
    MOVING,
    Heartbeat,
    InvalidMessage,
    MalformedJSON,
    Problem,
    Registration,
    loads,
    merge,
    parse,
    structure,
)
from reading import finished, message, outcome, typed
from receiver.service.decoding import MAX_BATCH_BYTES, Known
from receiver.service.decoding.json_items import cut, is_too_deep
from receiver.service.decoding.reader import Items, Reader
from strategies import (
    almost_valid,
    almost_values,
    bodies,
    built_once,
    share_of_examples,
    wire_messages,
    wire_values,
)

Kind = type[Heartbeat] | type[Registration]

T = TypeVar("T")
KINDS: list[Kind] = [Heartbeat, Registration]
READERS: dict[Kind, Reader[Any]] = {kind: Reader(kind) for kind in KINDS}


def read_list(kind: Kind, body: bytes, *, at_most: int, longest: int) -> Items[Any]:
    return finished(READERS[kind].read_list(body, at_most=at_most, longest=longest))


both_kinds = pytest.mark.parametrize("kind", KINDS)


def assert_same_outcome(kind: Kind, body: bytes) -> None:
    expected = outcome(lambda: loads(body, kind))
    assert expected == outcome(lambda: message(READERS[kind].read(body))), body[:1000]


@both_kinds
@settings(max_examples=share_of_examples(5))
@given(data=st.data())
def test_reader_reads_as_the_contract_does(kind: Kind, data: st.DataObject) -> None:
    assert_same_outcome(kind, data.draw(bodies(kind)))


NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
WIRE_NAMES = [field.name for field in fields(Heartbeat)]


def assert_known_record_changes_nothing(said: dict[str, Any], next_body: bytes) -> None:
    """Reading gives the same, whether the record that the message `said` left is known or not."""
    record = merge(None, structure(said, Heartbeat), received_at=NOON)
    known = Known({record.server_id: record}.get)
    reader = READERS[Heartbeat]
    expected = outcome(lambda: loads(next_body, Heartbeat))

    assert expected == outcome(lambda: message(reader.read(next_body, known))), next_body[:1000]
    items = reader.read_list(b"[%b]" % next_body, at_most=1, longest=65536, known=known)
    assert expected == outcome(lambda: message(next(iter(finished(items)))))


@settings(max_examples=share_of_examples(5))
@given(data=st.data())
def test_known_record_does_not_change_what_is_read(data: st.DataObject) -> None:
    said = data.draw(wire_messages(Heartbeat))
    names = data.draw(st.lists(st.sampled_from(WIRE_NAMES), max_size=2))
    following = said | {name: data.draw(almost_values(name)) for name in names}

    assert_known_record_changes_nothing(said, json.dumps(following).encode())


FULL_HEARTBEAT: dict[str, Any] = {
    "server_id": "a",
    "hostname": "h",
    "ip_addresses": {"primary": "10.0.0.1", "all": ["10.0.0.1"]},
    "port": 1,
    "capabilities": ["x", "y"],
    "heartbeat_interval_seconds": 1.0,
    "started_at": "2026-01-31T12:00:00Z",
    "timestamp": "2026-01-31T12:00:00Z",
    "sequence": 1,
    "uptime_seconds": 1.0,
}


@pytest.mark.parametrize("name", WIRE_NAMES)
@pytest.mark.parametrize(
    "value",
    [
        *(1, 1.0, True, "1", -1, 0, -0.0, None, "", "h", ["h"], ["x", "y", "x"], ["y", "x"]),
        *("2026-01-31T13:00:00+01:00", "2026-01-31T12:00:00+00:00", "2026-01-31T12:00:00"),
        {"primary": "10.0.0.1", "all": ["10.0.0.1", "10.0.0.1"]},
        {"primary": "10.0.0.1", "all": ["10.0.0.1"], "more": 1},
    ],
    ids=str,
)
def test_value_that_only_equals_the_known_one_is_read_as_the_contract_does(
    name: str, value: object
) -> None:
    following = json.dumps(FULL_HEARTBEAT | {name: value}).encode()

    assert_known_record_changes_nothing(FULL_HEARTBEAT, following)


@pytest.mark.parametrize("names", [("x", "x"), ("n" * 201,), tuple(map(str, range(1001)))])
def test_names_of_tools_in_an_old_record_are_checked_again(names: tuple[str, ...]) -> None:
    body = json.dumps({"server_id": "a", "capabilities": names}).encode()
    now = merge(None, Heartbeat(server_id="a"), received_at=NOON)
    record = evolve(now, capabilities=names)

    expected = outcome(lambda: loads(body, Heartbeat))
    found = outcome(lambda: message(READERS[Heartbeat].read(body, Known({"a": record}.get))))
    assert expected == found


def test_what_a_known_record_says_is_not_checked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    body = json.dumps(FULL_HEARTBEAT).encode()
    expected = loads(body, Heartbeat)
    record = merge(None, expected, received_at=NOON)
    reader = Reader(Heartbeat)

    monkeypatch.delattr("receiver.service.decoding.reader.loads")
    monkeypatch.delattr(reader, "_check")

    found, repeated = reader.read(body, Known({"a": record}.get))
    assert typed(expected) == typed(found)
    assert record is repeated


@pytest.mark.parametrize("name", [name for name in WIRE_NAMES if name != "server_id"])
def test_record_is_repeated_only_by_a_message_with_the_same_description(name: str) -> None:
    record = merge(None, structure(FULL_HEARTBEAT, Heartbeat), received_at=NOON)
    without = {key: value for key, value in FULL_HEARTBEAT.items() if key != name}
    is_same = name in MOVING or name not in FULL_HEARTBEAT

    _, repeated = READERS[Heartbeat].read(json.dumps(without).encode(), Known({"a": record}.get))
    _, unknown = READERS[Heartbeat].read(json.dumps(FULL_HEARTBEAT).encode())

    assert (record if is_same else None, None) == (repeated, unknown)


@both_kinds
@pytest.mark.parametrize("ascii_only", [True, False])
@pytest.mark.parametrize("character", [chr(n) for n in (0, 1, 9, 10, 31, 127, 133, 0xD800, 0xFFFF)])
def test_reader_reads_every_character_as_the_contract_does(
    kind: Kind, character: str, *, ascii_only: bool
) -> None:
    text = f"a{character}b"
    for field in fields(kind):
        for value in (text, [text], {"primary": text, "all": [text]}):
            message = {"server_id": "a", field.name: value, text: text}
            spelled = json.dumps(message, ensure_ascii=ascii_only)
            assert_same_outcome(kind, spelled.encode(errors="surrogatepass"))


@built_once
def wire_lists(kind: Kind) -> st.SearchStrategy[list[Any]]:
    return st.lists(wire_messages(kind) | almost_valid(kind) | wire_values(), max_size=4)


@both_kinds
@given(data=st.data())
def test_list_items_are_read_as_single_messages_are(kind: Kind, data: st.DataObject) -> None:
    values = data.draw(wire_lists(kind))
    body = json.dumps(values, ensure_ascii=data.draw(st.booleans())).encode()

    texts = [
        json.dumps(value, ensure_ascii=False).encode(errors="surrogatepass") for value in values
    ]
    if values and not any(map(is_json, texts)):
        with pytest.raises(MalformedJSON):
            read_list(kind, body, at_most=4, longest=65536)
        return
    found = read_list(kind, body, at_most=4, longest=65536)

    expected = [
        outcome(partial(structure, value, kind)) if is_json(text) else "no JSON"
        for value, text in zip(values, texts, strict=True)
    ]
    assert expected == [
        outcome(partial(message, each)) if is_json(text) else no_json(each)
        for each, text in zip(found, texts, strict=True)
    ]


def is_json(text: bytes) -> bool:
    try:
        parse(text)
    except MalformedJSON:
        return False
    return True


def no_json(each: object) -> str:
    """How an item was refused."""
    assert isinstance(each, InvalidMessage)
    assert str(each).startswith("not valid JSON: ")
    return "no JSON"


SEARCH = '{"name": "search"}'
FULL = (
    '{"name": "confirm_order", "title": "Confirm", "description": "Confirms an order.",'
    ' "annotations": {"readOnlyHint": false, "destructiveHint": true, "cost": 5},'
    ' "input_schema_digest": "sha256:0a", "provider": "sale", "endpoint_path": "/mcp?db=a",'
    ' "icons": [{}]}'
)


TOOLS: dict[str, list[str]] = {
    "other JSON": ["null", "[]", "{}", '""', '"search"', "5", "true", '{"name": "search"}'],
    "tools": [f"[{SEARCH}]", f"[{FULL}, {SEARCH}]", f"[{SEARCH}, {FULL}, {SEARCH}]"],
    "no tools": ["[{}]", "[5]", "[null]", "[[]]", '["search"]', "[[[]]]", f"[[{SEARCH}]]"],
    "name": [
        f'[{{"name": {name}}}]' for name in ("null", '""', "5", json.dumps("t" * 201), r'"\u0000"')
    ],
    **{
        field: [
            f'[{{"name": "search", "{field}": {value}}}]'
            for value in (
                *("null", '""', '"/"', '"//"', '"a b"', r'"/\n"', r'"\u0000"', "5", "true", "[]"),
                *("{}", '["readOnlyHint"]', '"readOnlyHint"', '{"readOnlyHint": null}'),
                *(json.dumps("/" + "t" * length) for length in (99, 100, 199, 200, 3999, 4000)),
                *(f'{{"openWorldHint": {hint}}}' for hint in ("true", "1", "1.0", '"no"', "[]")),
            )
        ]
        for field in (
            *("title", "description", "input_schema_digest", "provider", "endpoint_path"),
            *("annotations", "of_another_version"),
        )
    },
    "many of the same": ["[" + ", ".join([SEARCH, FULL] * 600) + "]"],
    "as many as there may be, and one more": [
        json.dumps([{name: f"tool_{n}"} for n in range(count)])
        for name in ("name", "title")
        for count in (1000, 1001)
    ],
}


@pytest.mark.parametrize("texts", TOOLS.values(), ids=TOOLS)
@both_kinds
def test_reader_reads_tools_as_the_contract_does(kind: Kind, texts: list[str]) -> None:
    for text in texts:
        assert_same_outcome(kind, f'{{"server_id": "a", "tools": {text}}}'.encode())


@pytest.mark.parametrize(
    "digest", ["null", '""', '"0a"', '"0 a"', '"0a\\n"', json.dumps("d" * 101), "5"]
)
@both_kinds
def test_reader_reads_a_digest_as_the_contract_does(kind: Kind, digest: str) -> None:
    assert_same_outcome(kind, f'{{"server_id": "a", "tools_digest": {digest}}}'.encode())


@pytest.mark.parametrize("count", [0, 1, 64, 65, 1000, 1001])
@pytest.mark.parametrize("last", ["last", "tool-0", "", "a" * 200, "a" * 201, "\x00", 5])
def test_lists_of_names_are_read_as_the_contract_does_each_time(count: int, last: object) -> None:
    names = [*(f"tool-{number}" for number in range(count)), last]
    body = json.dumps({"server_id": "a", "capabilities": names}).encode()

    for _ in range(2):
        assert_same_outcome(Heartbeat, body)


def test_tools_are_read_the_fast_way(monkeypatch: pytest.MonkeyPatch) -> None:
    body = f'{{"server_id": "a", "tools": [{SEARCH}, {FULL}], "tools_digest": "0a"}}'.encode()
    expected = loads(body, Registration)

    monkeypatch.delattr("receiver.service.decoding.reader.loads")

    assert typed(expected) == typed(message(READERS[Registration].read(body)))


def test_tool_that_is_named_twice_is_read_once() -> None:
    found, _ = READERS[Heartbeat].read(b'{"server_id": "a", "capabilities": ["x", "y", "x"]}')

    assert ("x", "y") == found.capabilities


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"{}", "expected a list of heartbeats"),
        (b"5", "expected a list of heartbeats"),
        (b'[{"server_id": "a"}, {"server_id": "b"}]', "expected at most 1 heartbeats, got 2"),
        (b'[{"a": "\\u0000"}, {"server_id": "b"}]', "expected at most 1 heartbeats, got 2"),
    ],
)
def test_body_that_is_no_list_or_a_long_one_is_refused(body: bytes, problem: str) -> None:
    with pytest.raises(InvalidMessage, match=f"^{problem}$"):
        read_list(Heartbeat, body, at_most=1, longest=65536)


def test_deeply_nested_list_is_read_or_refused() -> None:
    deep = b'[{"server_id": "a", "of_another_version": %b%b}]' % (b"[" * 1000, b"]" * 1000)

    (item,) = read_list(Heartbeat, deep, at_most=1, longest=65536)
    found = outcome(lambda: message(item))

    refused = InvalidMessage, (Problem("", "is nested too deeply"),)
    assert found in (refused, typed(Heartbeat(server_id="a")))


GOOD = b'{"server_id": "b"}'
UNREADABLE = {
    "too deep": (b"[" * 5000 + b"]" * 5000, "is nested too deeply"),
    "too deep by objects": (b'{"a":' * 5000 + b"1" + b"}" * 5000, "is nested too deeply"),
    "just too deep": (b"[" * 1025 + b"]" * 1025, "is nested too deeply"),
    "deep with brackets in texts": (
        b'{"a":"[\\"]}"' + b',"b":[1]' * 2 + b"}",
        "server_id: is required",
    ),
    "no UTF-8": (b'{"server_id": "\xff"}', "not valid JSON: "),
    "no UTF-8 in an unknown field": (b'{"server_id": "a", "x": "\xff"}', "not valid JSON: "),
    "half a pair": (b'{"server_id": "\\ud800"}', "not valid JSON: "),
    "a bad escape": (b'{"server_id": "\\x"}', "not valid JSON: "),
    "a control character": (b'{"server_id": "\n"}', "not valid JSON: "),
    "NaN": (b'{"server_id": "a", "uptime_seconds": NaN}', "not valid JSON: "),
    "a number with a zero": (b'{"server_id": "a", "port": 08}', "not valid JSON: "),
    "a trailing comma": (b'{"server_id": "a",}', "not valid JSON: "),
    "other brackets": (b'{"server_id": "a"]', "not valid JSON: "),
    "a huge number": (b'{"server_id": "a", "port": 1e999}', "not valid JSON: "),
    "no value": (b"nonsense", "not valid JSON: "),
}


@pytest.mark.parametrize("item", UNREADABLE)
def test_unreadable_item_refuses_itself_only(item: str) -> None:
    text, reason = UNREADABLE[item]

    first, refused, last = read_list(
        Heartbeat, b" [%b,\n%b , %b] " % (GOOD, text, GOOD), at_most=3, longest=65536
    )

    assert isinstance(refused, InvalidMessage)
    assert [""] == [each.path for each in refused.problems] or "server_id: is required" == reason
    assert str(refused).startswith(reason)
    assert (Heartbeat(server_id="b"), None) == first == last


@pytest.mark.parametrize("depth", [1024, 1025])
def test_item_is_as_deep_as_the_contract_reads(depth: int) -> None:
    text = b"[" * depth + b"]" * depth

    assert is_json(text) == (not is_too_deep(text))


def test_only_item_that_is_too_deep_refuses_itself_only() -> None:
    deep = b"[%b]" % (b"[" * 100_000 + b"]" * 100_000)

    (refused,) = read_list(Heartbeat, deep, at_most=1, longest=MAX_BATCH_BYTES)

    assert "is nested too deeply" == str(refused)


def test_cut_list_may_not_be_too_long_either() -> None:
    with pytest.raises(InvalidMessage, match=r"^expected at most 1 heartbeats, got 2$"):
        read_list(Heartbeat, b"[%b, NaN]" % GOOD, at_most=1, longest=65536)


NO_LIST = {
    "only items that are no JSON": b'["\xff", NaN]',
    "an item of nothing": b"[%b,]" % GOOD,
    "an item of nothing between": b"[%b, ,%b]" % (GOOD, GOOD),
    "more after the list": b"[%b], 1]" % GOOD,
    "no end": b"[%b, [[]" % GOOD,
    "no end of a text": b'[%b, "]' % GOOD,
    "an escaped end of a text": b'[%b, "\\"]' % GOOD,
    "an escape at the end": b'[%b, "\\]' % GOOD,
    "no beginning": b"%b]" % GOOD,
    "nothing": b"",
    "too deep, but no list": b'{"a":' * 5000 + b"1" + b"}" * 5000,
}


@pytest.mark.parametrize("body", NO_LIST.values(), ids=NO_LIST)
def test_body_that_cannot_be_cut_into_items_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedJSON):
        read_list(Heartbeat, body, at_most=9, longest=65536)


@given(st.lists(wire_values(), min_size=1))
def test_json_list_is_cut_into_its_items(values: list[object]) -> None:
    texts = [json.dumps(value).encode() for value in values]

    assert texts == finished(cut(b" [ %b ]\n" % b" ,\t".join(texts)))


HOSTILE = {
    "texts that are not closed": b'["',
    "escaped quotes": b'\\"',
    "escapes": b"\\",
    "empty lists": b"[],",
    "commas": b"[1,",
}


@pytest.mark.parametrize("part", HOSTILE.values(), ids=HOSTILE)
def test_json_list_is_cut_in_one_pass(part: bytes) -> None:
    """Five seconds of CPU time are far more than one pass takes, and far less than many do."""
    body = b'["%b]' % (part * (MAX_BATCH_BYTES // 4 // len(part)))
    began = process_time()

    finished(cut(body))
    is_too_deep(body)

    assert process_time() - began < 5


@pytest.mark.parametrize("body", [b"[1,]", b'["\xff"]'])
def test_malformed_json_list_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedJSON):
        read_list(Heartbeat, body, at_most=1, longest=65536)


@pytest.mark.parametrize("number", ["1e999", "1" * 400])
def test_huge_number_in_an_unknown_field_is_ignored(number: str) -> None:
    body = b'{"server_id": "a", "of_another_version": %b}' % number.encode()

    assert (Heartbeat(server_id="a"), None) == READERS[Heartbeat].read(body)
    with pytest.raises(MalformedJSON):
        loads(body, Heartbeat)


@pytest.mark.hypothesis
@both_kinds
@pytest.mark.parametrize(
    "wanted",
    [
        pytest.param(lambda found: found[0] in KINDS, id="a message"),
        pytest.param(lambda found: found[0] is MalformedJSON, id="no JSON"),
        pytest.param(lambda found: found[0] is InvalidMessage, id="no message"),
        pytest.param(
            lambda found: found[0] is InvalidMessage and len(found[1]) > 1, id="many problems"
        ),
    ],
)
def test_bodies_strategy_draws_every_kind_of_body(
    kind: Kind, wanted: Callable[[Any], bool]
) -> None:
    find(
        bodies(kind),
        lambda body: wanted(outcome(lambda: loads(body, kind))),
        settings=settings(
            max_examples=2000, database=None, derandomize=True, phases=[Phase.generate]
        ),
    )


def test_item_that_is_too_long_is_refused_alone() -> None:
    """The size limit of a single message also holds in a batch."""
    long = b'{"server_id": "a", "hostname": "%b"}' % (b"x" * 100)
    short = b'{"server_id": "b"}'

    refused, read = read_list(Heartbeat, b"[%b, %b]" % (long, short), at_most=2, longest=99)

    assert isinstance(refused, InvalidMessage)
    assert "has more than 99 bytes" == str(refused)
    assert (Heartbeat(server_id="b"), None) == read

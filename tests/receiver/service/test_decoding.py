"""The fast JSON reader gives the same messages and errors as the reader of the contract."""

import json
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any

import pytest
from attrs import fields, has
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from contract import (
    FleetError,
    Heartbeat,
    InvalidMessage,
    MalformedJSON,
    Problem,
    Registration,
    loads,
    parse,
    structure,
)
from receiver.service.decoding import Reader
from strategies import almost_valid, bodies, share_of_examples, wire_messages, wire_values

Kind = type[Heartbeat] | type[Registration]

KINDS: list[Kind] = [Heartbeat, Registration]
READERS: dict[Kind, Reader[Any]] = {kind: Reader(kind) for kind in KINDS}

both_kinds = pytest.mark.parametrize("kind", KINDS)


def assert_same_outcome(kind: Kind, body: bytes) -> None:
    assert outcome(lambda: loads(body, kind)) == outcome(lambda: READERS[kind].read(body))


def outcome(make: Callable[[], object]) -> object:
    """A comparable form of the object that `make` returns, or of its error."""
    try:
        made = make()
    except InvalidMessage as error:
        return InvalidMessage, error.problems
    except FleetError as error:
        return type(error), str(error)
    return typed(made)


def typed(value: Any) -> object:
    """A value with the types of all its parts, since `1 == 1.0` would hide a wrong type."""
    if has(type(value)):
        parts = {field.name: getattr(value, field.name) for field in fields(type(value))}
        return type(value), {name: typed(part) for name, part in parts.items()}
    if isinstance(value, tuple):
        return tuple, [typed(item) for item in value]
    if isinstance(value, datetime):
        return type(value), value.tzinfo, value.replace(tzinfo=None), value.fold
    return type(value), repr(value)


@both_kinds
@settings(max_examples=share_of_examples(5))
@given(data=st.data())
def test_reader_reads_as_the_contract_does(kind: Kind, data: st.DataObject) -> None:
    assert_same_outcome(kind, data.draw(bodies(kind)))


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


@both_kinds
@given(data=st.data())
def test_list_items_are_read_as_single_messages_are(kind: Kind, data: st.DataObject) -> None:
    one = wire_messages(kind) | almost_valid(kind) | wire_values()
    values = data.draw(st.lists(one, max_size=4))
    body = json.dumps(values, ensure_ascii=data.draw(st.booleans())).encode()

    try:
        parse(body)
    except MalformedJSON:
        with pytest.raises(MalformedJSON):
            READERS[kind].read_list(body, at_most=4, longest=65536)
        return
    found = READERS[kind].read_list(body, at_most=4, longest=65536)

    expected = [outcome(partial(structure, value, kind)) for value in values]
    assert expected == [outcome(partial(raised, each)) for each in found]


def raised(each: object) -> object:
    if isinstance(each, InvalidMessage):
        raise each
    return each


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
        READERS[Heartbeat].read_list(body, at_most=1, longest=65536)


def test_deeply_nested_list_is_read_or_refused() -> None:
    deep = b'[{"server_id": "a", "of_another_version": %b%b}]' % (b"[" * 1000, b"]" * 1000)

    found = outcome(lambda: READERS[Heartbeat].read_list(deep, at_most=1, longest=65536)[0])

    refused = InvalidMessage, (Problem("", "is nested too deeply"),)
    assert found in (refused, typed(Heartbeat(server_id="a")))


@pytest.mark.parametrize("body", [b"[1,]", b'["\xff"]', b"[" * 100_000 + b"]" * 100_000])
def test_malformed_json_list_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedJSON):
        READERS[Heartbeat].read_list(body, at_most=1, longest=65536)


@pytest.mark.parametrize("number", ["1e999", "1" * 400])
def test_huge_number_in_an_unknown_field_is_ignored(number: str) -> None:
    body = b'{"server_id": "a", "of_another_version": %b}' % number.encode()

    assert Heartbeat(server_id="a") == READERS[Heartbeat].read(body)
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
def test_bodies_strategy_draws_every_sort(kind: Kind, wanted: Callable[[Any], bool]) -> None:
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

    refused, read = READERS[Heartbeat].read_list(b"[%b, %b]" % (long, short), at_most=2, longest=99)

    assert isinstance(refused, InvalidMessage)
    assert "has more than 99 bytes" == str(refused)
    assert Heartbeat(server_id="b") == read

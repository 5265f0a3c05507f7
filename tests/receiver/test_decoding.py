"""The quick way from JSON to a message finds what the contract finds, right or wrong."""

import json
from collections.abc import Callable
from datetime import datetime
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
    Registration,
    loads,
    structure,
)
from receiver.decoding import Reader
from strategies import almost_valid, bodies, wire_messages, wire_values

Kind = type[Heartbeat] | type[Registration]

KINDS: list[Kind] = [Heartbeat, Registration]
READERS: dict[Kind, Reader[Any]] = {kind: Reader(kind) for kind in KINDS}

both_kinds = pytest.mark.parametrize("kind", KINDS)


def assert_read_alike(kind: Kind, body: bytes) -> None:
    assert outcome(lambda: loads(body, kind)) == outcome(lambda: READERS[kind].read(body))


def outcome(make: Callable[[], object]) -> object:
    """All that can be told of an object, or of the error that tells why there is none."""
    try:
        made = make()
    except InvalidMessage as error:
        return InvalidMessage, error.problems
    except FleetError as error:
        return type(error), str(error)
    return anatomy(made)


def anatomy(value: Any) -> object:
    """A value with its types all the way down: an int is not a float, however equal."""
    if has(type(value)):
        parts = {field.name: getattr(value, field.name) for field in fields(type(value))}
        return type(value), {name: anatomy(part) for name, part in parts.items()}
    if isinstance(value, tuple):
        return tuple, [anatomy(item) for item in value]
    if isinstance(value, datetime):
        return type(value), value.tzinfo, value.replace(tzinfo=None), value.fold
    return type(value), repr(value)


@both_kinds
@settings(max_examples=300)
@given(data=st.data())
def test_reader_reads_as_the_contract_does(kind: Kind, data: st.DataObject) -> None:
    assert_read_alike(kind, data.draw(bodies(kind)))


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
            assert_read_alike(kind, spelled.encode(errors="surrogatepass"))


@both_kinds
@given(data=st.data())
def test_what_may_hold_a_nul_is_read_by_the_contract(kind: Kind, data: st.DataObject) -> None:
    value = data.draw(wire_messages(kind) | almost_valid(kind) | wire_values())

    expected = outcome(lambda: structure(value, kind))

    assert expected == outcome(lambda: READERS[kind].of(value, plain=False))


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
def test_bodies_are_of_every_sort(kind: Kind, wanted: Callable[[Any], bool]) -> None:
    find(
        bodies(kind),
        lambda body: wanted(outcome(lambda: loads(body, kind))),
        settings=settings(
            max_examples=2000, database=None, derandomize=True, phases=[Phase.generate]
        ),
    )

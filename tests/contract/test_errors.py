"""Every error of the contract derives from FleetError, and has a code and a sentence."""

import pickle
from collections.abc import Callable

import pytest

from contract import FleetError, InvalidMessage, MalformedJSON, Problem, WrongServer

ERRORS = [
    (FleetError("what happened"), "fleet_error", "what happened"),
    (MalformedJSON("not valid JSON"), "malformed_json", "not valid JSON"),
    (
        InvalidMessage([Problem("port", "is required"), Problem("", "expected an object, got 5")]),
        "invalid_message",
        "port: is required; expected an object, got 5",
    ),
    (
        WrongServer(record_id="prod_a", message_id="prod_b"),
        "wrong_server",
        "a message from 'prod_b' cannot change the record of 'prod_a'",
    ),
]


@pytest.mark.parametrize(("error", "code", "sentence"), ERRORS)
def test_an_error_has_a_code_and_a_sentence(error: FleetError, code: str, sentence: str) -> None:
    assert isinstance(error, FleetError)
    assert (code, sentence) == (error.code, str(error))


def test_every_kind_of_error_has_its_own_code() -> None:
    kinds: list[type[FleetError]] = [FleetError, InvalidMessage, MalformedJSON, WrongServer]

    assert len(kinds) == len({kind.code for kind in kinds})


def test_an_invalid_message_keeps_its_problems_in_order() -> None:
    problems = (Problem("port", "is required"), Problem("hostname", "is required"))

    assert problems == InvalidMessage(iter(problems)).problems


@pytest.mark.parametrize(
    "error",
    [InvalidMessage([Problem("a", "b"), Problem("", "c")]), WrongServer("prod_a", "prod_b")],
)
def test_an_error_can_be_pickled(error: FleetError) -> None:
    copy = pickle.loads(pickle.dumps(error))

    assert (type(error), str(error), vars(error)) == (type(copy), str(copy), vars(copy))


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        (
            lambda: InvalidMessage(Problem(name, "is required") for name in ["port"]),
            "port: is required",
        ),
        (
            lambda: WrongServer(record_id="prod_a", message_id="prod_b"),
            "a message from 'prod_b' cannot change the record of 'prod_a'",
        ),
    ],
)
def test_an_error_crosses_processes_however_it_was_made(
    made: Callable[[], FleetError], sentence: str
) -> None:
    assert sentence == str(pickle.loads(pickle.dumps(made())))

"""The answers of a receiver have the wire form that senders have always read."""

import json
from typing import Any

import pytest
from attrs import fields
from attrs.exceptions import FrozenInstanceError
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from contract import (
    HeartbeatAnswer,
    Problem,
    RegistrationAnswer,
    RejectedAnswer,
    Want,
    dumps,
    json_schema,
    loads,
    structure,
    unstructure,
)
from strategies import intervals, server_ids, texts
from wire import problems

REGISTERED = RegistrationAnswer(status="registered", server_id="prod_web-1")
TAKEN = HeartbeatAnswer(status="ok", server_id="prod_web-1", heartbeat_count=8)
ASKING = HeartbeatAnswer(
    status="ok",
    server_id="prod_web-1",
    heartbeat_count=8,
    wants=("registration",),
    next_heartbeat_seconds=300.0,
)
REJECTED = RejectedAnswer(
    status="rejected",
    code="invalid_message",
    errors=(Problem("port", "is required"), Problem("", "expected an object, got 5")),
)
FORMS: list[tuple[Any, dict[str, Any]]] = [
    (REGISTERED, {"status": "registered", "server_id": "prod_web-1"}),
    (TAKEN, {"status": "ok", "server_id": "prod_web-1", "heartbeat_count": 8}),
    (
        ASKING,
        {
            "status": "ok",
            "server_id": "prod_web-1",
            "heartbeat_count": 8,
            "wants": ["registration"],
            "next_heartbeat_seconds": 300.0,
        },
    ),
    (
        HeartbeatAnswer(status="ok", server_id="prod_web-1", heartbeat_count=8, wants=()),
        {"status": "ok", "server_id": "prod_web-1", "heartbeat_count": 8, "wants": []},
    ),
    (
        REJECTED,
        {
            "status": "rejected",
            "code": "invalid_message",
            "errors": [
                {"path": "port", "message": "is required"},
                {"path": "", "message": "expected an object, got 5"},
            ],
        },
    ),
]
WIRE = {type(answer): wire for answer, wire in reversed(FORMS)}
STATUS = {RegistrationAnswer: "registered", HeartbeatAnswer: "ok", RejectedAnswer: "rejected"}
any_answer = pytest.mark.parametrize("kind", STATUS)
any_form = pytest.mark.parametrize(("answer", "wire"), FORMS)

answers = (
    st.builds(RegistrationAnswer, status=st.just("registered"), server_id=server_ids())
    | st.builds(
        HeartbeatAnswer,
        status=st.just("ok"),
        server_id=server_ids(),
        heartbeat_count=st.integers(0, 2**63),
        wants=st.sampled_from([None, (), ("registration",), ("more", "registration")]),
        next_heartbeat_seconds=st.none() | intervals().map(float),
    )
    | st.builds(
        RejectedAnswer,
        status=st.just("rejected"),
        code=texts(),
        errors=st.lists(st.builds(Problem, texts(), texts()), max_size=2).map(tuple),
    )
)


@any_form
def test_an_answer_is_encoded_to_its_wire_form(answer: object, wire: dict[str, Any]) -> None:
    assert json.dumps(wire, separators=(",", ":")).encode() == dumps(answer)


@any_form
def test_an_answer_is_read_from_its_wire_form(answer: object, wire: dict[str, Any]) -> None:
    assert answer == structure(wire, type(answer))


@given(answers)
def test_an_answer_is_the_same_after_a_round_trip(answer: object) -> None:
    assert answer == loads(dumps(answer), type(answer))
    assert answer == structure(unstructure(answer), type(answer))


@given(answers)
def test_an_answer_matches_its_schema(answer: object) -> None:
    Draft202012Validator(json_schema(type(answer))).validate(json.loads(dumps(answer)))


@any_answer
@pytest.mark.parametrize("status", ["", "OK", "ok ", "Registered", "rejected\n", None, True, 5, []])
def test_an_answer_with_another_status_word_is_refused(kind: Any, status: object) -> None:
    wire = WIRE[kind] | {"status": status}
    (problem,) = problems(wire, kind)

    assert problem.startswith(f"status: expected the word {STATUS[kind]}, got ")
    assert not Draft202012Validator(json_schema(kind)).is_valid(wire)


@any_answer
def test_an_answer_with_the_status_of_another_answer_is_refused(kind: Any) -> None:
    for status in {*STATUS.values()} - {STATUS[kind]}:
        assert [f'status: expected the word {STATUS[kind]}, got "{status}"'] == problems(
            WIRE[kind] | {"status": status}, kind
        )


@any_answer
def test_an_answer_keeps_its_status(kind: Any) -> None:
    assert STATUS[kind] == structure(WIRE[kind], kind).status


@any_answer
def test_every_field_of_an_answer_is_required_but_the_wishes(kind: Any) -> None:
    required = [f.name for f in fields(kind) if f.name not in {"wants", "next_heartbeat_seconds"}]

    assert required == json_schema(kind)["required"]
    assert [f"{name}: is required" for name in required] == problems({}, kind)


@any_answer
def test_unknown_members_of_an_answer_are_ignored(kind: Any) -> None:
    assert structure(WIRE[kind], kind) == structure(WIRE[kind] | {"of_another_version": 5}, kind)


@pytest.mark.parametrize("name", ["wants", "next_heartbeat_seconds"])
def test_null_in_the_wishes_of_an_answer_is_read_as_no_wish(name: str) -> None:
    assert TAKEN == structure(unstructure(TAKEN) | {name: None}, HeartbeatAnswer)


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("server_id", "", "1 to 255 characters, none of them a control character"),
        ("heartbeat_count", -1, "a whole number, 0 or more"),
        ("heartbeat_count", True, "a whole number, 0 or more"),
        ("wants", "registration", "a list"),
        ("next_heartbeat_seconds", 0, "a number of seconds above 0"),
        ("next_heartbeat_seconds", "60", "a number of seconds above 0"),
    ],
)
def test_an_invalid_value_in_the_answer_to_a_heartbeat_is_refused(
    name: str, value: object, problem: str
) -> None:
    (told,) = problems(unstructure(TAKEN) | {name: value}, HeartbeatAnswer)

    assert told.startswith(f"{name}: expected {problem}, got ")


@pytest.mark.parametrize("want", [None, 5, True, [], {}, "\0"])
def test_a_wish_that_is_no_text_is_refused(want: object) -> None:
    (told,) = problems(unstructure(TAKEN) | {"wants": ["registration", want]}, HeartbeatAnswer)

    assert told.startswith("wants[1]: expected text, got ")


def test_a_wish_of_a_later_receiver_is_read() -> None:
    answer = structure(unstructure(TAKEN) | {"wants": ["registration", "tea"]}, HeartbeatAnswer)

    assert ("registration", "tea") == answer.wants


def test_every_problem_of_a_rejection_is_told_with_its_path() -> None:
    wire = {"status": "ok", "code": 5, "errors": [{"path": "port"}, 5, {"path": 5, "message": ""}]}

    assert [
        'status: expected the word rejected, got "ok"',
        "code: expected text, got 5",
        "errors[0].message: is required",
        "errors[1]: expected an object, got 5",
        "errors[2].path: expected text, got 5",
    ] == problems(wire, RejectedAnswer)


def test_a_registration_is_the_only_wish_of_a_receiver() -> None:
    assert {"REGISTRATION": "registration"} == {want.name: want.value for want in Want}


def test_a_wish_equals_its_text() -> None:
    (want,) = structure(unstructure(ASKING), HeartbeatAnswer).wants or ()

    assert Want.REGISTRATION == want


@any_answer
def test_every_part_of_an_answer_is_given_by_its_name(kind: Any) -> None:
    with pytest.raises(TypeError, match="positional argument"):
        kind(*WIRE[kind].values())


@pytest.mark.parametrize("answer", [REGISTERED, TAKEN, REJECTED])
def test_an_answer_is_immutable(answer: Any) -> None:
    with pytest.raises(FrozenInstanceError):
        answer.status = "ok"

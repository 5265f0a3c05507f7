"""The codec reports every problem, with its path and in words."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract import Heartbeat, InvalidMessage, Problem, ServerPayload, structure
from contract.fields import Text
from strategies import REQUIRED
from wire import KINDS, PAYLOAD, SERVER, almost_valid_of_any_kind, outcome, problems
from wrong_values import TOOL


def test_an_error_quotes_the_invalid_value() -> None:
    wire = SERVER | {"ip_addresses": {"primary": "10.0.0", "all": []}}

    assert ['ip_addresses.primary: expected an IP address, got "10.0.0"'] == problems(
        wire, Heartbeat
    )


def test_an_error_lists_every_problem() -> None:
    wire = {
        "server_id": "",
        "hostname": 5,
        "ip_addresses": {"all": ["10.0.0.5", "10.0.0", None]},
        "port": "8768",
        "capabilities": ["search", None, "unlink", 5],
        "endpoint_url": "odoo.example",
        "heartbeat_interval_seconds": 0,
        "status": True,
        "timestamp": "2026-01-31T12:00:00",
        "uptime_seconds": -0.5,
    }

    assert [
        'server_id: expected 1 to 255 characters, none of them a control character, got ""',
        "hostname: expected text, got 5",
        "ip_addresses.primary: is required",
        'ip_addresses.all[1]: expected an IP address, got "10.0.0"',
        "ip_addresses.all[2]: expected an IP address, got null",
        'port: expected a port from 1 to 65535, got "8768"',
        f"capabilities[1]: expected {TOOL}, got null",
        f"capabilities[3]: expected {TOOL}, got 5",
        'endpoint_url: expected an http or https URL, got "odoo.example"',
        "heartbeat_interval_seconds: expected a number of seconds above 0, got 0",
        "status: expected text, got true",
        'timestamp: expected an ISO 8601 time with an offset, got "2026-01-31T12:00:00"',
        "uptime_seconds: expected a number of seconds, 0 or more, got -0.5",
    ] == problems(wire, Heartbeat)


def test_a_problem_is_a_path_and_a_message() -> None:
    with pytest.raises(InvalidMessage) as raised:
        structure(SERVER | {"port": True}, Heartbeat)

    assert (Problem("port", "expected a port from 1 to 65535, got true"),) == raised.value.problems


@pytest.mark.parametrize("kind", KINDS)
def test_every_missing_field_is_reported(kind: type) -> None:
    assert [f"{name}: is required" for name in REQUIRED[kind]] == problems({}, kind)


@given(st.dictionaries(st.sampled_from([*PAYLOAD]), st.just({"no": "value"})))
def test_every_invalid_field_is_reported(wrong: dict[str, Any]) -> None:
    paths = [path for path in PAYLOAD if path in wrong]
    wire = PAYLOAD | wrong

    try:
        structure(wire, ServerPayload)
    except InvalidMessage as error:
        told = dict.fromkeys(problem.path.split(".")[0] for problem in error.problems)
    else:
        told = {}

    assert paths == [*told]


@given(almost_valid_of_any_kind)
def test_every_problem_has_path_and_message(told: tuple[type, Any]) -> None:
    kind, wire = told

    refusal = outcome(lambda: structure(wire, kind))

    if isinstance(refusal, InvalidMessage):
        assert all(problem.message for problem in refusal.problems)
        assert str(refusal).isprintable()
        assert refusal.problems


def test_problems_of_a_bare_list_have_its_indexes() -> None:
    with pytest.raises(InvalidMessage, match=r"\[1\]: expected text, got 5"):
        structure(["a", 5], tuple[Text, ...])


def test_a_missing_nested_field_is_reported_with_its_path() -> None:
    assert ["ip_addresses.primary: is required", "ip_addresses.all: is required"] == problems(
        SERVER | {"ip_addresses": {}}, Heartbeat
    )


@pytest.mark.parametrize(
    ("value", "kind", "told"),
    [
        ([], Heartbeat, "expected an object, got a list"),
        ({}, tuple[Text, ...], "expected a list, got an object"),
        (5, Text, "expected text, got 5"),
    ],
)
def test_a_problem_of_the_whole_value_has_no_path(value: object, kind: Any, told: str) -> None:
    assert [told] == problems(value, kind)


@pytest.mark.parametrize(
    ("url", "quoted"),
    [
        ("https://user:S3cret@host:99999", "https://***@host:99999"),
        ("https://S3cret@", "https://***@"),
        ("//a:S3cret@b", "//***@b"),
        ("ftp://S3cret@h/x@y", "ftp://***@h/x@y"),
    ],
)
def test_a_problem_does_not_quote_the_password_of_a_url(url: str, quoted: str) -> None:
    with pytest.raises(InvalidMessage) as refused:
        structure({"server_id": "a", "endpoint_url": url}, Heartbeat)

    assert f"endpoint_url: expected an http or https URL, got {json.dumps(quoted)}" == str(
        refused.value
    )

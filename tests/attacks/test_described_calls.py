"""Schemathesis calls every operation of the OpenAPI document, with generated arguments."""

from collections.abc import Iterator
from typing import Any

import pytest
import requests
import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from attacks.law import PATIENCE_SECONDS, Answer, Target, searched
from receiver.web.api import routes
from receiver.web.openapi import document

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]

# The event streams are left out, because they never end; test_queries.py has tests of one.
schema = schemathesis.openapi.from_dict(document(routes())).exclude(
    path=["/events/stream", "/events/news"]
)


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    """The connections to the receiver, because most of a call's time would go into a new one."""
    with requests.Session() as session:
        yield session


@pytest.fixture
def unchanged(running: Target) -> Iterator[Target]:
    """The receiver; asserts after the test that none of its requests has changed a record."""
    with running.unchanged():
        yield running


def call(case: schemathesis.Case[Any], target: Target, session: requests.Session) -> Answer:
    """Make a call, and check that its answer is as described."""
    told: dict[str, Any] = {"headers": target.headers, "timeout": PATIENCE_SECONDS}
    response = case.call(base_url=target.url, session=session, **told)
    case.validate_response(response, checks=CHECKS)
    answer = Answer(
        status=response.status_code,
        headers={name.lower(): values[0] for name, values in response.headers.items()},
        body=response.content,
    )
    target.judge(answer)
    return answer


@schema.include(method="GET").parametrize()
@searched(10)
def test_answers_to_get_are_as_described(
    case: schemathesis.Case[Any], unchanged: Target, session: requests.Session
) -> None:
    call(case, unchanged, session)


@schema.exclude(method="GET").parametrize()
@searched(10)
def test_answers_to_changes_are_as_described(
    case: schemathesis.Case[Any], running: Target, session: requests.Session
) -> None:
    running.checked(lambda: call(case, running, session))

"""Schemathesis calls every operation of the OpenAPI document, with generated arguments."""

from typing import Any

import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from attacks.law import Answer, Target, searched
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


@schema.parametrize()
@searched(10)
def test_answers_are_as_described(case: schemathesis.Case[Any], running: Target) -> None:
    def send() -> Answer:
        response = case.call(base_url=running.url, headers=running.headers)
        case.validate_response(response, checks=CHECKS)
        answer = Answer(
            status=response.status_code,
            headers={name.lower(): values[0] for name, values in response.headers.items()},
            body=response.content,
        )
        running.judge(answer)
        return answer

    running.checked(case.method, send)

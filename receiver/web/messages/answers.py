"""The answers to registrations and heartbeats, and their descriptions for the OpenAPI document."""

from typing import Any

from contract import (
    InvalidMessage,
    Problem,
    RegistrationAnswer,
    RejectedAnswer,
    Want,
    unstructure,
)
from receiver.domain.errors import OutcomeUnknown, Refusal
from receiver.domain.outcomes import Applied, Outcome
from receiver.service.decoding import MAX_BATCH_SIZE
from receiver.web import openapi
from receiver.web.openapi import answer, operation, ref
from receiver.web.problems import refusal

__all__ = ["HEARTBEAT", "HEARTBEATS", "REGISTER", "Answer", "heartbeat", "heartbeats", "register"]

Answer = tuple[int, object]
"""The status of an answer, and the value to be encoded as its JSON body."""

_OF_POSTED = (400, 401, 403, 408, 413, 415, 422, 429, 503)
REGISTER = operation(
    "register",
    "A server has started",
    request_body=openapi.body(ref("Registration")),
    answers={
        200: answer("A known server", ref("Registered")),
        201: answer("A new server", ref("Registered")),
    },
    problems=_OF_POSTED,
)


def register(outcome: Outcome, _: float) -> Answer:
    """The status and JSON value of the answer to a registration, after the commit."""
    applied = _applied(outcome)

    answer = RegistrationAnswer(status="registered", server_id=applied.record.server_id)
    return 201 if applied.created else 200, unstructure(answer)


HEARTBEAT = operation(
    "heartbeat",
    "A server is alive",
    request_body=openapi.body(ref("Heartbeat")),
    answers={200: answer("Merged and committed", ref("Counted"))},
    problems=_OF_POSTED,
)


def heartbeat(outcome: Outcome, waited_seconds: float) -> Answer:
    """The status and JSON value of the answer to a heartbeat, after the commit."""
    return 200, _counted(_applied(outcome), waited_seconds)


HEARTBEATS = operation(
    "heartbeats",
    "Many servers are alive",
    description="Each item is read as a Heartbeat; one that is none, or is no valid JSON, "
    "refuses itself only. Many changes are committed in several parts, in the order of the list. "
    "Items of a part that was not written are rejected as store_unavailable, overloaded, "
    "internal_error or outcome_unknown: send these again, without those that are accepted.",
    # The schema allows any item: for one that is no Heartbeat, the answer contains an error.
    request_body=openapi.body({**openapi.listed({}), "maxItems": MAX_BATCH_SIZE}),
    answers={
        200: answer(
            "What became of each, in order; those accepted are committed",
            openapi.object_of(
                accepted=openapi.COUNT,
                rejected=openapi.COUNT,
                results=openapi.listed({"oneOf": [ref("Counted"), ref("Rejected")]}),
            ),
        )
    },
    problems=_OF_POSTED,
)


def heartbeats(outcome: Outcome, waited_seconds: float) -> Answer:
    """The status and JSON value of the answer to a batch, after the commit of its valid items."""
    accepted = sum(isinstance(each, Applied) for each in outcome)

    return 200, {
        "accepted": accepted,
        "rejected": len(outcome) - accepted,
        "results": [_result(each, waited_seconds) for each in outcome],
    }


def _applied(outcome: Outcome) -> Applied:
    """The result of the only message of a body. Raises the Refusal if the message was refused."""
    (only,) = outcome
    if isinstance(only, Refusal):
        raise only
    assert isinstance(only, Applied)  # decoding raises InvalidMessage for a single message
    return only


def _counted(applied: Applied, waited_seconds: float) -> dict[str, Any]:
    """A `HeartbeatAnswer` as JSON; made directly, since the class takes four times as long."""
    record = applied.record
    counted: dict[str, Any] = {
        "status": "ok",
        "server_id": record.server_id,
        "heartbeat_count": record.heartbeat_count,
    }
    if applied.lacks_tools:
        counted["wants"] = [Want.REGISTRATION.value]
    pause = applied.next_heartbeat_seconds(waited_seconds)
    if pause is not None:
        counted["next_heartbeat_seconds"] = pause
    return counted


def _result(of: Applied | Exception, waited_seconds: float) -> object:
    if isinstance(of, Applied):
        return _counted(of, waited_seconds)
    refused = refusal(of)
    if isinstance(of, Refusal):
        problems = [Problem("server_id", str(of))]
    elif isinstance(of, InvalidMessage):
        problems = [*of.problems]
    else:
        problems = [Problem("", _NOT_WRITTEN.get(refused.code, _LEFT))]
    return unstructure(RejectedAnswer(status="rejected", code=refused.code, errors=tuple(problems)))


_LEFT = "This was not written, and others of the batch were: send it again without those."
_NOT_WRITTEN = {
    OutcomeUnknown.code: "It is not known whether this counts. Others of the batch do: send it "
    "again without those."
}
